"""Cameras as they travel from a front to its workers: JSON, with passwords, complete in themselves."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretStr, ValidationError

from streamer.config import CameraConfig, Config, ModelConfig
from streamer.errors import ConfigError

log = logging.getLogger(__name__)

# what a worker has of its own, or what concerns the front alone
_FRONTS = (
    "cameras", "bus", "journal", "metrics", "web", "ui", "picture", "duration", "model", "models", "events",
)  # fmt: skip


def camera_json(config: Config, camera: CameraConfig) -> dict[str, Any]:
    """A camera with all that it inherits."""
    whole = camera.model_copy(
        update={
            "model": None,
            "models": config.models_of(camera),
            "events": camera.events or config.events,
            "privacy": config.privacy_of(camera),
            "follow": config.follow_of(camera),
        }
    )
    told: dict[str, Any] = _plain(whole.model_dump())
    return told


def models_json(config: Config) -> list[dict[str, Any]]:
    """Models that cameras use, once for each of their settings: workers load them before they must."""
    cameras = [camera for camera in config.cameras if camera.enabled]
    models = dict.fromkeys(model for camera in cameras for model in config.models_of(camera))
    names = config.model_names
    return [{"name": names[model.id], "model": _plain(model.model_dump())} for model in models]


def models_of(told: Sequence[Mapping[str, Any]]) -> list[tuple[str, ModelConfig]]:
    """Their names in messages, and what to load. One that is not understood is left out: a camera that uses
    it is not understood either, and says so.
    """
    found = []
    for one in told:
        try:
            found.append((str(one["name"]), ModelConfig.model_validate(one["model"])))
        except ValidationError as error:
            log.warning("model %s of the front is not understood: %s", one["name"], _first(error))
    return found


def common_json(config: Config) -> dict[str, Any]:
    """What all cameras of a worker share."""
    told: dict[str, Any] = _plain(config.model_dump(exclude=set(_FRONTS)))
    return told


def camera_of(told: Mapping[str, Any]) -> CameraConfig:
    """Raises ConfigError where it is not understood: the front is of another version."""
    try:
        return CameraConfig.model_validate(told)
    except ValidationError as error:
        raise ConfigError(f"the front's camera is not understood: {_first(error)}") from error


def common_of(told: Mapping[str, Any], own: Mapping[str, Any]) -> Config:
    """A worker's configuration without cameras; `own` is what it has of its own. Raises ConfigError."""
    try:
        return Config.model_validate({**told, **own})
    except ValidationError as error:
        raise ConfigError(f"the front's configuration is not understood: {_first(error)}") from error


def fingerprint(told: Mapping[str, Any]) -> str:
    """Equal for equal definitions."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _first(error: ValidationError) -> str:
    one = error.errors()[0]
    return f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
