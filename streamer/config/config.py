"""The whole configuration, and what cameras and models inherit from the common sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, model_validator

from streamer.config.follow_section import FollowConfig
from streamer.config.model_names import model_names
from streamer.config.section_parts import PathText, Positive, Section, wrong
from streamer.config.sections import (
    DEMO,
    BusConfig,
    CameraConfig,
    CaptureConfig,
    EventsConfig,
    JournalConfig,
    MetricsConfig,
    ModelConfig,
    Pace,
    Pictures,
    PreviewConfig,
    PrivacyConfig,
    RecordingConfig,
    Ui,
    UncertainConfig,
    WebConfig,
)

# What is said of one checkpoint says nothing of another, which has its own. Words (`labels`) are a wish that
# a stronger layer that changes the checkpoint keeps; beside another model they are that model's alone.
OF_CHECKPOINT = ("interval", "frames", "temperature")


class Config(Section):
    """Everything `run` needs."""

    model_config = ConfigDict(title="streamer's configuration")

    cameras: tuple[CameraConfig, ...] = ()
    model: ModelConfig = ModelConfig()
    models: tuple[ModelConfig, ...] = ()  # several on every camera that does not say its own
    events: EventsConfig = EventsConfig()
    language: str | None = None  # of labels' display names: en, tr, ar; None = as the model calls them
    label_set: PathText | None = None  # a file of names, groups and ignored labels of one's own
    capture: CaptureConfig = CaptureConfig()
    bus: BusConfig = BusConfig()
    journal: JournalConfig = JournalConfig()
    metrics: MetricsConfig = MetricsConfig()
    uncertain: UncertainConfig = UncertainConfig()
    recording: RecordingConfig = RecordingConfig()
    follow: FollowConfig = FollowConfig()
    preview: PreviewConfig | None = None  # None = no picture leaves the program
    pictures: Pictures | None = None  # the choice for both; None = as recording and preview say
    web: WebConfig = WebConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    ui: Ui = Ui.AUTO
    picture: bool = False  # the screen shows the cameras' pictures
    pace: Pace = Pace.REALTIME
    loop: bool = False  # play files again from the start
    duration: Positive | None = None  # seconds; None = until stopped

    @model_validator(mode="before")
    @classmethod
    def _cameras_inherit(cls, data: Any) -> Any:
        """What cameras and `models` say is only what differs from the common sections."""
        if not isinstance(data, Mapping):
            return data
        merged = {**data, **_models(data, data), **_pictures(data)}
        if isinstance(data.get("cameras"), (list, tuple)):
            merged["cameras"] = [_inherit(camera, data) for camera in data["cameras"]]
        return merged

    def models_of(self, camera: CameraConfig) -> tuple[ModelConfig, ...]:
        """The models that a camera runs, its main one first."""
        if camera.models or camera.model is not None:
            return camera.models or (camera.model or self.model,)
        return self.models or (self.model,)

    def privacy_of(self, camera: CameraConfig) -> PrivacyConfig:
        """What a camera's pictures do not show."""
        return camera.privacy or self.privacy

    def follow_of(self, camera: CameraConfig) -> FollowConfig:
        """How a camera follows people."""
        return camera.follow or self.follow

    @property
    def model_names(self) -> dict[str, str]:
        """Model id -> its name in messages, different for each checkpoint."""
        own = [model for camera in self.cameras for model in (*camera.models, *self.models_of(camera))]
        return model_names(model.id for model in (*own, *self.models, self.model))

    @model_validator(mode="after")
    def _models_differ(self) -> Config:
        names_of = self.model_names
        lists = [(("models",), self.models)]
        lists += [(("cameras", i, "models"), camera.models) for i, camera in enumerate(self.cameras)]  # type: ignore[misc]
        for path, models in lists:
            names = [names_of[model.id] for model in models]
            for index, name in enumerate(names):
                if name in names[:index]:
                    text = f"{name} stands twice; predictions are told apart by their model's name"
                    raise wrong((*path, index, "id"), text)
        return self

    @model_validator(mode="after")
    def _privacy_hides_what_it_names(self) -> Config:
        """Somebody who names what is to be hidden must not find it shown."""
        places: list[tuple[tuple[str | int, ...], PrivacyConfig]] = [(("privacy",), self.privacy)]
        places += [
            (("cameras", index, "privacy"), self.privacy_of(camera))
            for index, camera in enumerate(self.cameras)
        ]
        for path, privacy in places:
            if "people" in privacy.blur and path[0] == "cameras":
                camera = self.cameras[int(path[1])]
                if not self.follow_of(camera).follows:
                    text = f"people are hidden who are followed, and {camera.name} follows nobody: add follow"
                    raise wrong(path if camera.privacy is not None else ("privacy", "blur"), text)
            if privacy.regions and "regions" not in privacy.blur:
                raise wrong((*path, "blur"), "regions are named but not blurred: add regions to blur")
        if "regions" in self.privacy.blur and not any(privacy.regions for _, privacy in places):
            raise wrong(("privacy", "regions"), "blur names regions: say which, here or at a camera")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Config:
        names = [camera.name for camera in self.cameras]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise wrong(("cameras", index, "name"), f"two cameras are called {name}; names must differ")
        if self.capture.retry_max < self.capture.retry_min:
            raise wrong(("capture", "retry_max"), "must not be below retry_min")
        return self


def _pictures(data: Mapping[str, Any]) -> dict[str, Any]:
    """What the choice about pictures makes of `recording` and `preview`."""
    choice, recording = data.get("pictures"), _plain(data.get("recording", {}))
    if choice not in tuple(Pictures) or not isinstance(recording, Mapping):
        return {}
    if choice == Pictures.KEEP:
        kept = {"snapshots": True, "clips": True, **recording}
    else:
        kept = {**recording, "snapshots": False, "clips": False}
    live = None if choice == Pictures.OFF else data.get("preview") or {}
    return {"recording": kept, "preview": live}


def _plain(value: Any) -> Any:
    return value.model_dump(exclude_unset=True) if isinstance(value, Section) else value


def _inherit(camera: Any, common: Mapping[str, Any]) -> Any:
    camera = _plain(camera)
    if not isinstance(camera, Mapping):
        return camera
    merged = dict(camera)
    for section in ("events", "model", "privacy", "follow"):
        own, shared = _plain(camera.get(section)), _plain(common.get(section))
        if not isinstance(own, Mapping) or not isinstance(shared, Mapping):
            continue
        merged[section] = _MERGED.get(section, _flat)(own, shared)
    return {**merged, **_models(merged, common)}


def _events(own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the common events, key by key, within the rule of a label too."""
    merged = {**shared, **own}
    rules, common = _plain_rules(own), _plain_rules(shared)
    if rules is not None and common is not None:
        merged["thresholds"] = {**common, **rules}
        for label in rules.keys() & common.keys():
            if isinstance(rules[label], Mapping) and isinstance(common[label], Mapping):
                merged["thresholds"][label] = {**common[label], **rules[label]}
    return merged


def _plain_rules(events: Mapping[str, Any]) -> dict[str, Any] | None:
    rules = events.get("thresholds")
    return {label: _plain(rule) for label, rule in rules.items()} if isinstance(rules, Mapping) else None


def _model(own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the common model, and the rest of it."""
    if own.get("id", DEMO) != shared.get("id", DEMO) and "id" in own:
        shared = {key: value for key, value in shared.items() if key not in (*OF_CHECKPOINT, "labels")}
    return {**shared, **own}


def _flat(own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """What differs, key by key."""
    return {**shared, **own}


_MERGED = {"events": _events, "model": _model}


def _models(section: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """`models:` of a section; each says only what differs from the common `model`."""
    models, shared = section.get("models"), _plain(common.get("model"))
    if not isinstance(models, (list, tuple)) or not isinstance(shared, Mapping):
        return {}
    plain = map(_plain, models)
    return {"models": [_model(one, shared) if isinstance(one, Mapping) else one for one in plain]}
