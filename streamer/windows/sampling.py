"""Which frame fills which position of a window: the nearest in time.

A window that ends at `end` takes, for k = T-1 .. 0, the frame nearest to `end - k * interval`.

How far the nearest frame may be. Half an interval; for a camera slower than that, half its own period plus
half as much again for jitter (`PERIODS` = 0.75 periods). The period is local: the median of three
neighbouring gaps that include the one the position lies in. So one long gap is a hole and makes the window
incomplete, while two gaps of about the same length in a row are a slow camera, from then on: a camera that
goes from 30 to 5 frames/s at night is followed after two frames.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from streamer.types import Frame

PERIODS = 0.75  # half a period, and half as much again for jitter
HAIR = 1e-6  # seconds: what adding up floating point times may cost


@dataclass(frozen=True, slots=True)
class Hole:
    """Why a window cannot be had: no frame within `reach` seconds before the one at `after`."""

    after: float  # time of the first frame after the hole
    reach: float  # seconds that a position next to that frame may be away from it


def frame_time(frame: Frame) -> float:
    return frame.time


def period(frames: Sequence[Frame], newest: int) -> float:
    """Seconds between frames around `newest`: the median of three gaps, the lesser of two, 0 = unknown."""
    oldest = max(0, newest - 3)
    gaps = [frames[i + 1].time - frames[i].time for i in range(oldest, newest)]
    if len(gaps) < 2:
        return 0.0
    return median(gaps) if len(gaps) == 3 else min(gaps)


def choose(
    frames: Sequence[Frame], newest: int, end: float, count: int, interval: float
) -> tuple[Frame, ...] | Hole:
    """The `count` frames nearest to `end`, `end - interval`, ..., oldest first, or the hole that prevents it.

    `frames` are of one epoch with growing times; none after index `newest` is used. Of two equally near
    frames the older one counts. O(count x log(len(frames))).
    """
    chosen: list[Frame] = []
    for k in range(count):
        wanted = end - k * interval
        after = bisect_left(frames, wanted, hi=newest + 1, key=frame_time)
        near = min(after, newest)
        # The hair makes ties go one way: a camera at the interval's own rate must not stand twice and be left
        # out in turns when the positions lie half way between its frames.
        if after > 0 and (
            after > newest or wanted - frames[after - 1].time <= frames[after].time - wanted + HAIR
        ):
            near = after - 1
        away = abs(frames[near].time - wanted)
        reach = interval / 2
        if away > reach + HAIR:
            last = min(after + 2, newest)
            reach = max(reach, PERIODS * max(period(frames, i) for i in range(min(after, last), last + 1)))
            if away > reach + HAIR:
                return Hole(frames[min(after, newest)].time, reach)
        chosen.append(frames[near])
    return tuple(reversed(chosen))
