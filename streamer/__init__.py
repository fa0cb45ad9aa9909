"""streamer: real-time action recognition on live video.

Importing this package imports no torch, OpenCV, ZeroMQ or Rich; names below load their module on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamer.system.lazy_imports import lazy_names

__version__ = "0.1.0"

if TYPE_CHECKING:  # for editors and type checkers; at run time `lazy_names` loads them
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
    from streamer.pipeline.results import RunResult
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
    "RunResult",
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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "streamer.config": ("Config", "load_config"),
        "streamer.pipeline.pipeline": ("Pipeline",),
        "streamer.pipeline.results": ("RunResult",),
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
    },
)
