"""Which settings an archive's results depend on, and what a result made with other ones is told apart by."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streamer.config import BusConfig, CameraConfig, Config, JournalConfig, ModelConfig, Pace

# what a run has beside recognition: its defaults, which are off, hold here
_ELSEWHERE = (
    "cameras", "bus", "journal", "metrics", "uncertain", "recording", "preview", "pictures", "web", "privacy",
    "ui", "pace", "loop", "duration",
)  # fmt: skip
_WHOLE = 4 << 20  # bytes; files up to this are digested whole, of larger ones so much of each end
_UNKNOWN = "unknown"  # a checkpoint that is not on this machine yet


def for_archive(config: Config) -> Config:
    """The settings under which each recording is played: nothing is published, recorded or served, nothing is
    skipped. What else the configuration says of models, events and capture stays.
    """
    off = {name: Config.model_fields[name].get_default() for name in _ELSEWHERE}
    return config.model_copy(
        update={
            **off,
            "model": _placed(config.model),
            "models": tuple(map(_placed, config.models)),
            "capture": config.capture.model_copy(update={"give_up": True}),
            "bus": BusConfig(bind="", requests=""),
            "journal": JournalConfig(path=""),
            "pace": Pace.FAST,
        }
    )


def for_recording(config: Config, source: str, camera: str) -> Config:
    """The configuration of one recording's run."""
    return config.model_copy(update={"cameras": (CameraConfig(name=camera, source=source),)})


def models_of(config: Config) -> tuple[ModelConfig, ...]:
    """The models that each recording is played through."""
    return config.models or (config.model,)


def as_json(config: Config) -> dict[str, Any]:
    """For another process; there `Config.model_validate` reads it."""
    dumped: dict[str, Any] = config.model_dump(mode="json")
    return dumped


def described(config: Config) -> dict[str, Any]:
    """What a result depends on: the settings that are not the defaults, and which weights there are."""
    settings: dict[str, Any] = config.model_dump(mode="json", exclude=set(_ELSEWHERE), exclude_defaults=True)
    settings.get("capture", {}).pop("give_up", None)
    if not settings.get("capture"):
        settings.pop("capture", None)
    settings["weights"] = {model.id: checkpoint_digest(model.id) for model in models_of(config)}
    return settings


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs between two `described` settings, as "model.id was 'demo' and is 'mine'"."""
    before, now = dict(_leaves(one)), dict(_leaves(other))
    found = []
    for key in sorted(before.keys() | now.keys()):
        was, is_ = before.get(key), now.get(key)
        if was == is_ or (key.startswith("weights.") and _UNKNOWN in (was, is_)):
            continue
        if key.startswith("weights."):
            if was is not None and is_ is not None:
                found.append(f"the checkpoint {key.removeprefix('weights.')} has changed")
            continue
        told = ["the default" if value is None else repr(value) for value in (was, is_)]
        found.append(f"{key} was {told[0]} and is {told[1]}")
    return found


def pinned(config: Config, computed: Mapping[str, Mapping[str, str]]) -> Config:
    """With engine and precision as they were chosen once: two machines could choose differently, and their
    scores would differ in the third digit.

    `computed`: model id -> engine, precision, device, as a player says.
    """

    def pin(model: ModelConfig) -> ModelConfig:
        chosen = computed.get(model.id)
        if chosen is None or chosen["device"] != "cpu" or "auto" not in (model.engine, model.precision):
            return model
        return model.model_copy(update={"engine": chosen["engine"], "precision": chosen["precision"]})

    return config.model_copy(update={"model": pin(config.model), "models": tuple(map(pin, config.models))})


def checkpoint_digest(model_id: str) -> str:
    """A short name for a checkpoint's files as they are on this machine; "unknown" where they are not."""
    digest = hashlib.sha256()
    files = list(_checkpoint_files(model_id))
    for file in files:
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_WHOLE))
            if file.stat().st_size > _WHOLE:
                stream.seek(-min(_WHOLE, file.stat().st_size - _WHOLE), os.SEEK_END)
                digest.update(stream.read())
    return digest.hexdigest()[:16] if files else _UNKNOWN


def _checkpoint_files(model_id: str) -> Iterator[Path]:
    from streamer.demo.assets import checkpoint_path
    from streamer.recognition.checkpoints.checkpoint_files import CONFIG, cached_folder, weights_files

    folder: Path | None = Path(model_id).expanduser()
    if model_id == "demo":
        folder = checkpoint_path()
    elif folder is None or not folder.is_dir():
        folder = cached_folder(model_id)
    if folder is None:
        return
    yield from sorted(file for file in folder.glob("*.json") if file.name != CONFIG)
    yield from (file for file in (folder / CONFIG, *weights_files(folder)) if file.is_file())


def _placed(model: ModelConfig) -> ModelConfig:
    """A folder is named in full: another process may stand elsewhere."""
    folder = Path(model.id).expanduser()
    return model.model_copy(update={"id": str(folder.resolve())}) if folder.is_dir() else model


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, json.loads(json.dumps(value))
