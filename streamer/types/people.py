"""Who is followed on a camera, and where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Square: TypeAlias = tuple[int, int, int, int]  # left, top, width, height of a part of a picture; pixels
Box: TypeAlias = tuple[float, float, float, float]  # left, top, width, height; parts of the picture's size


@dataclass(frozen=True, slots=True)
class Track:
    """Somebody who is followed, at one moment. Boxes may reach beyond the picture a little."""

    id: int  # from 1, of one camera; never used again in a run
    box: Box


@dataclass(frozen=True, slots=True)
class Tracks:
    """Everybody who is followed on a camera when one of its frames was taken.

    Published for each frame that a following camera keeps, on the camera's own thread and before that frame's
    picture is handed to whoever records or shows it: so the newest `Tracks` belong to the picture in hand.
    """

    camera: str
    time: float  # the frame's, on the camera's time line, seconds
    epoch: int
    tracks: tuple[Track, ...]  # oldest first
    left_out: Mapping[str, int] = field(default_factory=dict)  # cause -> people who were not followed so far
    others: tuple[Box, ...] = ()  # of people who are not followed, or not yet
    looked: float | None = None  # time of the newest frame in which people were looked for; None: none so far


def whole_of(box: Box, part: Box) -> Box:
    """A box in parts of a `part` of the picture (itself in parts of the picture), in parts of the picture."""
    left, top, width, height = part
    return left + box[0] * width, top + box[1] * height, box[2] * width, box[3] * height
