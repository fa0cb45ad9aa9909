"""streamer: real-time action recognition on live video.

Importing this package imports no torch, OpenCV, ZeroMQ or Rich; names below load their module on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # for editors and type checkers; at run time `__getattr__` loads them
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
    from streamer.pipeline.pipeline import Pipeline
    from streamer.recognition.recognizer import load_recognizer
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

__all__ = [
    "BusError",
    "Camera",
    "CameraState",
    "CameraStatus",
    "Config",
    "ConfigError",
    "DatasetError",
    "Event",
    "Frame",
    "LabelScore",
    "ModelError",
    "ModelLoadError",
    "ModelSpec",
    "Phase",
    "Pipeline",
    "Prediction",
    "Publisher",
    "SourceError",
    "SourceLostError",
    "SourceOpenError",
    "Stats",
    "StreamerError",
    "Subscriber",
    "Window",
    "WindowShapeError",
    "__version__",
    "load_config",
    "load_recognizer",
]

_NAMES_OF = {
    "streamer.config": ("Config", "load_config"),
    "streamer.pipeline.pipeline": ("Pipeline",),
    "streamer.bus": ("Publisher", "Subscriber"),
    "streamer.capture": ("Camera",),
    "streamer.recognition.recognizer": ("load_recognizer",),
    "streamer.types": (
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
    ),
    "streamer.errors": (
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
    ),
}
_HOME = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'streamer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
