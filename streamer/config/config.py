"""The configuration: one pydantic model per section, and `load_config(path, overrides)`.

Precedence, weakest first: the defaults in `sections.py`, the file, `STREAMER_*` environment variables
(`STREAMER_BUS__BIND`), the command line. `configs/cameras.yaml` documents every key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from streamer.config.sections import (
    BusConfig,
    CameraConfig,
    CaptureConfig,
    EventsConfig,
    JournalConfig,
    MetricsConfig,
    ModelConfig,
    Pace,
    Positive,
    PreviewConfig,
    RecordingConfig,
    Section,
    Ui,
    UncertainConfig,
    wrong,
)

if TYPE_CHECKING:
    from streamer.config.file import Option


class Config(Section):
    """Everything `run` needs."""

    cameras: tuple[CameraConfig, ...] = ()
    model: ModelConfig = ModelConfig()
    models: tuple[ModelConfig, ...] = ()  # several on every camera that does not say its own
    events: EventsConfig = EventsConfig()
    language: str | None = None  # of labels' display names: en, tr, ar; None = as the model calls them
    label_set: str | None = None  # a file of names, groups and ignored labels of one's own
    capture: CaptureConfig = CaptureConfig()
    bus: BusConfig = BusConfig()
    journal: JournalConfig = JournalConfig()
    metrics: MetricsConfig = MetricsConfig()
    uncertain: UncertainConfig = UncertainConfig()
    recording: RecordingConfig = RecordingConfig()
    preview: PreviewConfig | None = None  # None = no picture leaves the program
    ui: Ui = Ui.AUTO
    pace: Pace = Pace.REALTIME
    loop: bool = False  # play files again from the start
    duration: Positive | None = None  # seconds; None = until stopped

    @model_validator(mode="before")
    @classmethod
    def _cameras_inherit(cls, data: Any) -> Any:
        """A camera's `events` and `model` say only what differs from the common ones."""
        if not isinstance(data, Mapping) or not isinstance(data.get("cameras"), (list, tuple)):
            return data
        cameras = [_inherit(camera, data) for camera in data["cameras"]]
        return {**data, "cameras": cameras, **_models(data, data)}

    def models_of(self, camera: CameraConfig) -> tuple[ModelConfig, ...]:
        """The models that a camera runs, its main one first."""
        if camera.models or camera.model is not None:
            return camera.models or (camera.model or self.model,)
        return self.models or (self.model,)

    @model_validator(mode="after")
    def _models_differ(self) -> Config:
        lists = [(("models",), self.models)]
        lists += [(("cameras", i, "models"), camera.models) for i, camera in enumerate(self.cameras)]  # type: ignore[misc]
        for path, models in lists:
            ids = [model.id for model in models]
            for index, name in enumerate(ids):
                if name in ids[:index]:
                    text = f"{name} stands twice; predictions are told apart by their model's name"
                    raise wrong((*path, index, "id"), text)
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


def _plain(value: Any) -> Any:
    return value.model_dump(exclude_unset=True) if isinstance(value, Section) else value


def _inherit(camera: Any, common: Mapping[str, Any]) -> Any:
    camera = _plain(camera)
    if not isinstance(camera, Mapping):
        return camera
    merged = dict(camera)
    for section in ("events", "model"):
        own, shared = _plain(camera.get(section)), _plain(common.get(section))
        if not isinstance(own, Mapping) or not isinstance(shared, Mapping):
            continue
        merged[section] = {**shared, **own}
        if section == "model":
            merged[section] = _model(own, shared)
    return {**merged, **_models(merged, common)}


def _model(own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the common model, and the rest of it."""
    merged = {**shared, **own}
    if "id" in own and own["id"] != shared.get("id", "demo"):
        # these belong to the checkpoint: another one has its own
        merged.update({key: own.get(key) for key in ("interval", "frames", "labels")})
    return merged


def _models(section: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """`models:` of a section; each says only what differs from the common `model`."""
    models, shared = section.get("models"), _plain(common.get("model"))
    if not isinstance(models, (list, tuple)) or not isinstance(shared, Mapping):
        return {}
    plain = map(_plain, models)
    return {"models": [_model(one, shared) if isinstance(one, Mapping) else one for one in plain]}


def load_config(
    path: Path | str | None = None,
    overrides: Mapping[str, Any] | Sequence[str | Option] = (),
    env: Mapping[str, str] | None = None,
) -> Config:
    """The configuration from a file, the environment and overrides, the later the stronger.

    Args:
        path: a YAML file; relative paths in it are relative to its folder. None: no file.
        overrides: `{"events.enter": 0.6}` or `["events.enter=0.6"]`; list items by index or camera name.
        env: None means `os.environ`; only `STREAMER_*` and the variables that cameras name are read.

    Raises:
        ConfigError: everything that is wrong, one line each: file, line, key, value and what is allowed.
    """
    from streamer.config.file import load  # PyYAML, only where a configuration is loaded

    return load(path, overrides, env)
