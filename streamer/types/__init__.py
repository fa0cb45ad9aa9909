"""The values that travel through the program, in the order they are made."""

from streamer.types.people import Box, Track, Tracks, whole_of
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
    Belief,
    CameraStats,
    Histogram,
    InferenceStats,
    ModelStats,
    Outage,
    PersonStats,
    PublisherState,
    RecordingStats,
    Stats,
    UncertainStats,
)
from streamer.types.video import CameraState, CameraStatus, Frame, Step, Window

__all__ = [
    "Belief",
    "Box",
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
    "Outage",
    "PersonStats",
    "Phase",
    "Prediction",
    "PublisherState",
    "RecordingStats",
    "Scores",
    "Stats",
    "Step",
    "Track",
    "Tracks",
    "UncertainStats",
    "Window",
    "whole_of",
]
