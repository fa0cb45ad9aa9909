"""The configuration: one pydantic model per section, and `load_config(path, overrides)`."""

from streamer.config.config import Config
from streamer.config.config_loading import load_config
from streamer.config.follow_section import FollowConfig
from streamer.config.precedence import Option
from streamer.config.section_parts import Positive, Score, Seconds, Section
from streamer.config.sections import (
    BusConfig,
    CameraConfig,
    CaptureConfig,
    EventsConfig,
    JournalConfig,
    LabelRule,
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

__all__ = [
    "BusConfig",
    "CameraConfig",
    "CaptureConfig",
    "Config",
    "EventsConfig",
    "FollowConfig",
    "JournalConfig",
    "LabelRule",
    "MetricsConfig",
    "ModelConfig",
    "Option",
    "Pace",
    "Pictures",
    "Positive",
    "PreviewConfig",
    "PrivacyConfig",
    "RecordingConfig",
    "Score",
    "Seconds",
    "Section",
    "Ui",
    "UncertainConfig",
    "WebConfig",
    "load_config",
]
