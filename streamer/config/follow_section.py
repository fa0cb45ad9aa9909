"""How a camera follows people."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

from pydantic import Field, field_validator

from streamer.config.section_parts import CheckpointText, Score, Section, Spacing, wrong

MOVING = "moving"  # the detector that needs no weights


class FollowConfig(Section):
    """Following people, each with windows and events of their own; nobody is followed without a detector."""

    detector: CheckpointText = (
        ""  # "moving" needs no weights; or a checkpoint that finds objects; "" = nobody
    )
    # of a checkpoint, which are followed
    classes: Annotated[tuple[str, ...], Field(min_length=1)] = ("person",)
    every: Spacing | None = None  # seconds between two detections; None = as the detector needs it
    max: Annotated[int, Field(ge=1, le=100)] = 8  # people of a camera, the first ones to come
    min_size: Score = 0.04  # of the picture's height; smaller people are not followed
    margin: Annotated[float, Field(ge=1.0, le=4.0)] = 1.3  # of the square around them
    lost_after: Annotated[float, Field(ge=0.1, le=600.0)] = 2.0  # seconds without being seen that end a track
    # megabytes of whole pictures kept for the windows of a camera's people
    memory_mb: Annotated[float, Field(ge=8.0, le=65_536.0)] = 256.0
    whole: bool = True  # the whole picture too

    @field_validator("detector")
    @classmethod
    def _is_no_slip(cls, detector: str) -> str:
        if detector != MOVING and get_close_matches(detector.lower(), [MOVING], cutoff=0.7):
            raise wrong((), f'did you mean {MOVING}? Or give a folder, a Hub id, or "" to follow nobody')
        return detector

    @property
    def follows(self) -> bool:
        return bool(self.detector)
