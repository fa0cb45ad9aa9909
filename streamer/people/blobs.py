"""What hangs together where a picture is not as usual, and which of it is one person.

Somebody who is there from the first picture is part of the background at first, and comes in parts: a head,
an arm. Where they were is not as usual either, once they have gone. Such a place has edges around it in the
background and none in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.people.detection import Detection, overlap
from streamer.types import Box, Track

ACTIVE = 0.08  # of a detection's pixels, which move
NOT_ACTIVE = 0.3  # the score of what does not move, or lies
LEAST_PIXELS = 24  # of a detection
LEAST_FILL = 0.2  # of its box
FLATTEST = 1.5  # width by height of what may begin a track; who lies down stays followed
LEFT_BEHIND = 0.8  # edges around a blob by those of the background there: with fewer, nobody is there
INSIDE = 0.9  # of a blob, in a track's box: it is of that person
SMALL = 0.6  # of a blob's height: what is less high and close to it may be a part of the same person
GAP = 0.15  # of the higher one's height, between two parts of a person
SHAPE = 0.2, 1.2  # width by height of a person, with arms spread


@dataclass(frozen=True, slots=True)
class Blob:
    """Pixels of a reduced picture that hang together, or are taken for one person."""

    left: int
    top: int
    right: int
    bottom: int
    area: int
    active: int  # of its pixels, which move

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def filled(self) -> bool:
        return self.area >= LEAST_FILL * self.width * self.height

    def joined(self, other: Blob) -> Blob:
        """Both as one."""
        return Blob(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
            self.area + other.area,
            self.active + other.active,
        )


def blobs(
    mask: NDArray[Any], moved: NDArray[Any], grey: NDArray[Any], background: NDArray[Any]
) -> tuple[list[Blob], NDArray[Any]]:
    """The blobs of a mask, uint8 (h, w), without those that show where somebody was; and bool (h, w): where
    these are.

    `moved`, bool (h, w), is what moves; `grey` and `background` are the picture and what it is like usually,
    uint8 (h, w).
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    active = np.bincount(labels[moved], minlength=count)
    around = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, _NEXT) > 0
    whose = cv2.dilate(labels.astype(np.uint16), _NEXT)[around]
    here = np.bincount(whose, _edges(grey)[around], minlength=count)
    usually = np.bincount(whose, _edges(background)[around], minlength=count)
    empty = (here < LEFT_BEHIND * usually) & (active < ACTIVE * np.bincount(labels.ravel(), minlength=count))
    empty[0] = False
    found = []
    for number in range(1, count):
        left, top, width, height, area = map(int, stats[number])
        if area >= LEAST_PIXELS and not empty[number]:
            found.append(Blob(left, top, left + width, top + height, area, int(active[number])))
    return found, empty[labels]


def left_behind(mask: NDArray[Any], grey: NDArray[Any], background: NDArray[Any]) -> bool:
    """Whether the part of a mask, uint8 (h, w), shows where somebody was."""
    around = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, _NEXT)
    return cv2.mean(_edges(grey), around)[0] < LEFT_BEHIND * cv2.mean(_edges(background), around)[0]


def detections(found: Sequence[Blob], followed: Sequence[Track], shape: tuple[int, ...]) -> list[Detection]:
    """Blobs of a picture of `shape` (h, w), those that are one person taken together."""
    height, width = shape
    told = []
    for one in _close_together(_of_one_track(found, followed, width, height)):
        if one.filled:
            stands = one.width <= FLATTEST * one.height
            score = 0.9 if stands and one.active >= ACTIVE * one.area else NOT_ACTIVE
            told.append(Detection(_box(one, width, height), score))
    return told


_NEXT = np.ones((3, 3), np.uint8)


def _edges(grey: NDArray[Any]) -> NDArray[Any]:
    """float32 (h, w): how steep a grey picture is."""
    steep: NDArray[Any] = cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    return steep


def _box(one: Blob, width: int, height: int) -> Box:
    return one.left / width, one.top / height, one.width / width, one.height / height


def _of_one_track(found: Sequence[Blob], followed: Sequence[Track], width: int, height: int) -> list[Blob]:
    """What lies in the box of one who is followed, and of nobody else, is one blob."""
    theirs: dict[int, Blob] = {}
    rest = []
    for one in sorted(found, key=lambda blob: -blob.area):
        box = _box(one, width, height)
        around = [track for track in followed if overlap(track.box, box) >= INSIDE * box[2] * box[3]]
        within = [track for track in followed if overlap(track.box, box) > 0.5 * track.box[2] * track.box[3]]
        if not around or len(within) > 1:
            rest.append(one)
            continue
        whose = max(around, key=lambda track: overlap(track.box, box)).id
        theirs[whose] = theirs[whose].joined(one) if whose in theirs else one
    return [*theirs.values(), *rest]


def _close_together(found: Sequence[Blob]) -> list[Blob]:
    """What is small and close to something higher is a part of it, where both have a person's shape."""
    left = sorted(found, key=lambda blob: -blob.area)
    done = []
    while left:
        one = left.pop(0)
        while (other := next((other for other in left if _belong(one, other)), None)) is not None:
            left.remove(other)
            one = one.joined(other)
        done.append(one)
    return done


def _belong(one: Blob, other: Blob) -> bool:
    high = max(one.height, other.height)
    across = max(one.left, other.left) - min(one.right, other.right)
    down = max(one.top, other.top) - min(one.bottom, other.bottom)
    if min(one.height, other.height) > SMALL * high or max(across, down) > GAP * high:
        return False
    both = one.joined(other)
    return SHAPE[0] * both.height <= both.width <= SHAPE[1] * both.height and both.filled
