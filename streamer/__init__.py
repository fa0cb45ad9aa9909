"""streamer: real-time action recognition on live video.

Importing this package imports no torch, OpenCV, ZeroMQ or Rich; names below load their module on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Config": "streamer.config",
    "load_config": "streamer.config",
    "Pipeline": "streamer.pipeline",
    "Publisher": "streamer.bus",
    "Subscriber": "streamer.bus",
    "Camera": "streamer.capture",
    "load_recognizer": "streamer.recognition",
    **{
        name: "streamer.types"
        for name in (
            "CameraState",
            "CameraStatus",
            "Event",
            "Frame",
            "LabelScore",
            "ModelSpec",
            "Phase",
            "Prediction",
            "Stats",
            "Window",
        )
    },
    **{
        name: "streamer.errors"
        for name in (
            "BusError",
            "ConfigError",
            "DatasetError",
            "ModelError",
            "ModelLoadError",
            "SourceError",
            "SourceLostError",
            "SourceOpenError",
            "StreamerError",
            "WindowShapeError",
        )
    },
}
__all__ = ["__version__", *sorted(_HOME)]

if TYPE_CHECKING:
    from streamer.bus import Publisher, Subscriber
    from streamer.capture import Camera
    from streamer.config import Config, load_config
    from streamer.errors import (
        BusError,
        ConfigError,
        DatasetError,
        ModelError,
        ModelLoadError,
        SourceError,
        SourceLostError,
        SourceOpenError,
        StreamerError,
        WindowShapeError,
    )
    from streamer.pipeline import Pipeline
    from streamer.recognition import load_recognizer
    from streamer.types import (
        CameraState,
        CameraStatus,
        Event,
        Frame,
        LabelScore,
        ModelSpec,
        Phase,
        Prediction,
        Stats,
        Window,
    )


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'streamer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
