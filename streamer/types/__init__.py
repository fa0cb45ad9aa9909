"""The values that travel through the program, in the order they are made."""

from streamer.types.predictions import (
    Event,
    LabelScore,
    LaneResult,
    ModelSpec,
    Moment,
    Phase,
    Prediction,
    Scores,
)
from streamer.types.stats import (
    CameraStats,
    Histogram,
    InferenceStats,
    ModelStats,
    PublisherState,
    RecordingStats,
    Stats,
    UncertainStats,
)
from streamer.types.video import CameraState, CameraStatus, Frame, Step, Window

__all__ = [
    "CameraState",
    "CameraStats",
    "CameraStatus",
    "Event",
    "Frame",
    "Histogram",
    "InferenceStats",
    "LabelScore",
    "LaneResult",
    "ModelSpec",
    "ModelStats",
    "Moment",
    "Phase",
    "Prediction",
    "PublisherState",
    "RecordingStats",
    "Scores",
    "Stats",
    "Step",
    "UncertainStats",
    "Window",
]
