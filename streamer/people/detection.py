"""What a detector gives, and what it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from streamer.types import Box, Track

CAME = 1.5  # times their size, which somebody has moved who is no part of anybody
SURE = 0.5  # a score from which a detection may begin a track


@dataclass(frozen=True, slots=True)
class Detection:
    """Somebody, or something, found in one picture."""

    box: Box
    score: float  # in [0, 1]; below `SURE` it only goes on with a track that is there


class Detector(Protocol):
    """Finds people in pictures. One camera's, and used by one thread at a time."""

    every: float  # seconds between two pictures that it is given, where the settings do not say

    def detect(self, image: NDArray[Any], time: float, followed: Sequence[Track]) -> list[Detection]:
        """Everybody in a picture, uint8 BGR (H, W, 3), taken at `time` (seconds, growing).

        `followed`: where those who are followed are expected in it.

        Raises:
            ModelError: a detector that is a model failed.
        """

    def reset(self) -> None:
        """The next picture has nothing to do with those before."""


def overlap(one: Box, other: Box) -> float:
    """Area that two boxes share."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def likeness(one: Box, other: Box) -> float:
    """Intersection over union, in [0, 1]."""
    shared = overlap(one, other)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared) if shared > 0.0 else 0.0


def travelled(one: Box, other: Box) -> float:
    """Between the middles of two boxes, in widths or heights of the other, whichever is more."""
    across = abs(one[0] + one[2] / 2 - other[0] - other[2] / 2) / other[2]
    down = abs(one[1] + one[3] / 2 - other[1] - other[3] / 2) / other[3]
    return max(across, down)


def widened(box: Box, by: float) -> Box:
    """A box with a rim of `by` times its size on each side."""
    left, top, width, height = box
    return left - by * width, top - by * height, width * (1 + 2 * by), height * (1 + 2 * by)
