"""Whatever moves: a detector that needs no weights.

A background model of the camera (MOG2: Zivkovic, "Improved adaptive Gaussian mixture model for background
subtraction", 2004) says which pixels of the reduced picture are not as usual; what hangs together there is a
detection. It is a sure one only while it moves: where somebody stood from the beginning and left, the
picture is not as usual either, and no track may begin on the empty place, which soon counts as usual.

Who stops becomes part of the background after some time. They stay followed for as long as the picture
there does not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.people.appearance import Appearances
from streamer.people.blobs import NOT_ACTIVE, blobs, detections, left_behind
from streamer.people.detection import CAME, Detection, likeness, overlap, travelled
from streamer.types import Box, Track

PIXELS = 320 * 240  # of the picture that is looked at
MEMORY = 40.0  # seconds over which the background is learnt
SETTLE = 2.0  # seconds at the beginning in which it is learnt quicker
SETTLE_MEMORY = (
    5.0  # over so many: who stood there from the first picture leaves a place that is not as usual
)
VARIANCES = 16.0  # squared deviations from the background that are foreground
EMPTY_FOR = 0.5  # seconds for which nobody is seen in a place that is not as usual: then it is empty
AS_EMPTY = 30  # grey levels by which it differs at most while it is
CHANGED = 12  # grey levels from one look to a later one that are movement
LOOK_BACK = 0.3  # seconds between the pictures that are compared for movement
MOST = 0.6  # of all pixels: more is another light, or the camera turns
SIDE_BY_SIDE = 1.4  # times the widest of several people: then they do not hide each other
ALONE = 0.5  # likeness of a track and a detection that is of nobody else, or of two tracks in one place
LONGEST_REST = 300.0  # seconds somebody is followed who does not move at all
SLIMMEST = 1.2  # height by width of a detection that may be one person
PART = 0.5  # of its height: who is less high and has come from nowhere else is a part of that person
PARTLY, SEEN = 0.3, 0.6  # of a track's box, covered by a detection: it is found; the place shows them
STILL = 8.0  # grey levels, mean, by which somebody who rests may change
REST_FILL = 0.4  # of a track's box that must not be as usual: nobody rests in an empty place


@dataclass(frozen=True, slots=True)
class _Rest:
    """Somebody who may stay where they are."""

    since: float
    box: Box
    patch: NDArray[Any]  # uint8 (h, w): what is there
    mask: NDArray[Any]  # uint8 (h, w): where it is they


class _EmptyPlaces:
    """Where the background still shows somebody who has gone: what is seen there instead."""

    def __init__(self) -> None:
        self._since: NDArray[Any] | None = None  # float64 (h, w): from when on nobody was there

    def learn(self, image: NDArray[Any], empty: NDArray[Any], time: float) -> None:
        """`empty`, bool (h, w): where nobody is in the picture, uint8 BGR (h, w, 3), of `time`."""
        if self._since is None:
            self._since = np.full(empty.shape, np.inf)
            self._image, self._known = image.copy(), np.zeros(empty.shape, bool)
        self._since = np.where(empty, np.minimum(self._since, time), np.inf)
        sure = self._since <= time - EMPTY_FOR
        self._image[sure] = image[sure]
        self._known |= sure

    def clear(self, image: NDArray[Any], mask: NDArray[Any]) -> None:
        """Takes out of a mask, uint8 (h, w), what is as it is without anybody."""
        if self._since is None:
            return
        self._known &= mask > 0  # elsewhere the background knows
        if self._known.any():
            mask[self._known & (cv2.absdiff(image, self._image).max(axis=2) < AS_EMPTY)] = 0


class MovingDetector:
    """See `Detector`. Costs about three milliseconds a picture."""

    every = 0.1

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """See `Detector.reset`."""
        self._model = cv2.createBackgroundSubtractorMOG2(500, VARIANCES, True)
        self._began: float | None = None
        self._last = 0.0
        self._past: list[tuple[float, NDArray[Any]]] = []  # grey pictures of the last `LOOK_BACK` seconds
        self._resting: dict[int, _Rest] = {}
        self._began_at: dict[int, Box] = {}  # where those who are followed were first
        self._empty = _EmptyPlaces()
        self._appearances = Appearances()

    def detect(self, image: NDArray[Any], time: float, followed: Sequence[Track]) -> list[Detection]:
        """See `Detector.detect`."""
        small = _reduced(image)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        mask = self._foreground(small, time)
        moved = self._moved(grey, time)
        if mask is None:
            return []
        background = cv2.cvtColor(self._model.getBackgroundImage(), cv2.COLOR_BGR2GRAY)
        found, empty = blobs(mask, moved, grey, background)
        self._empty.learn(small, empty, time)
        there = detections(found, followed, mask.shape)
        self._began_at = {track.id: self._began_at.get(track.id, track.box) for track in followed}
        people = [part for one in there for part in self._shared_out(one, followed, small, mask)]
        self._appearances.keep(track.id for track in followed)
        return people + self._at_rest(grey, background, mask, time, followed, people)

    def _foreground(self, small: NDArray[Any], time: float) -> NDArray[Any] | None:
        """uint8 (h, w), 255 where the picture is not as usual; None where all of it is not."""
        if self._began is None or self._past[-1][1].shape != small.shape[:2]:
            self.reset()
            self._began = time
            self._model.apply(small, learningRate=1.0)
            self._last = time
            return None
        since = time - self._last
        self._last = time
        memory = MEMORY if time - self._began > SETTLE else SETTLE_MEMORY
        mask = self._model.apply(small, learningRate=min(1.0, since / memory))
        mask = np.where(mask == 255, np.uint8(255), np.uint8(0))  # 127 are shadows
        self._empty.clear(small, mask)
        mask = cv2.medianBlur(mask, 3)
        if np.count_nonzero(mask) > MOST * mask.size:
            self.reset()
            self._began = time
            self._model.apply(small, learningRate=1.0)
            return None
        joined: NDArray[Any] = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _JOIN)
        return joined

    def _moved(self, grey: NDArray[Any], time: float) -> NDArray[Any]:
        """bool (h, w): what differs from the picture of some time ago."""
        self._past.append((time, grey))
        while len(self._past) > 2 and self._past[1][0] <= time - LOOK_BACK:
            self._past.pop(0)
        differs: NDArray[Any] = cv2.absdiff(grey, self._past[0][1]) > CHANGED
        return differs

    def _shared_out(
        self, one: Detection, followed: Sequence[Track], small: NDArray[Any], mask: NDArray[Any]
    ) -> list[Detection]:
        """A detection in which several people are expected: one for each, where it looks like them."""
        inside = [
            track for track in followed if overlap(track.box, one.box) > 0.5 * track.box[2] * track.box[3]
        ]
        if len(inside) > 1 and one.box[3] * mask.shape[0] >= SLIMMEST * one.box[2] * mask.shape[1]:
            inside = [track for track in inside if self._is_whole(track, one.box[3])]
        if len(inside) < 2:
            if inside and likeness(inside[0].box, one.box) > ALONE:
                self._appearances.learn(inside[0].id, small, mask, one.box)
            return [one]
        seen: dict[int, tuple[float, Box]] = {}
        for track in inside:
            there = self._appearances.find(track.id, small, track.box)
            if there is None:
                continue
            rivals = [number for number, (_, box) in seen.items() if likeness(box, there[1]) > ALONE]
            if all(seen[number][0] < there[0] for number in rivals):
                for number in rivals:  # nobody is where somebody else is seen better
                    del seen[number]
                seen[track.id] = there
        return [
            Detection(seen[track.id][1] if track.id in seen else part, one.score)
            for track, part in _parts(one.box, inside)
        ]

    def _is_whole(self, track: Track, height: float) -> bool:
        """Whether a track in a detection of that height is not just a part of the person."""
        return track.box[3] >= PART * height or travelled(self._began_at[track.id], track.box) > CAME

    def _at_rest(
        self,
        grey: NDArray[Any],
        background: NDArray[Any],
        mask: NDArray[Any],
        time: float,
        followed: Sequence[Track],
        found: Sequence[Detection],
    ) -> list[Detection]:
        """Those who are still where they stopped, though the picture there has become the usual one."""
        known = {track.id for track in followed}
        self._resting = {number: rest for number, rest in self._resting.items() if number in known}
        resting = []
        for track in followed:
            area = track.box[2] * track.box[3]
            covered = max((overlap(track.box, one.box) / area for one in found), default=0.0)
            if covered > PARTLY:
                # half covered, they are walking off, and the place shows what is behind them
                patch, theirs = _patch(grey, track.box), _patch(mask, track.box)
                if (
                    covered > SEEN
                    and patch.size
                    and np.count_nonzero(theirs) >= REST_FILL * theirs.size
                    and not left_behind(theirs, patch, _patch(background, track.box))
                ):
                    self._resting[track.id] = _Rest(time, track.box, patch.copy(), theirs.copy())
            elif (rest := self._resting.get(track.id)) is not None and time - rest.since <= LONGEST_REST:
                there = _patch(grey, rest.box)
                if (
                    there.shape == rest.patch.shape
                    and cv2.mean(cv2.absdiff(there, rest.patch), rest.mask)[0] < STILL
                ):
                    resting.append(Detection(rest.box, NOT_ACTIVE))
        return resting


_JOIN = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 9))  # a head belongs to what is below it


def _reduced(image: NDArray[Any]) -> NDArray[Any]:
    height, width = image.shape[:2]
    scale = sqrt(PIXELS / (height * width))
    if scale >= 1.0:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    reduced: NDArray[Any] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return reduced


def _parts(whole: Box, inside: Sequence[Track]) -> list[tuple[Track, Box]]:
    """Where each of several people may be in what is one to the detector, from left to right."""
    left, top, width, height = whole
    ordered = sorted(inside, key=lambda track: track.box[0] + track.box[2] / 2)
    side_by_side = width > SIDE_BY_SIDE * max(track.box[2] for track in ordered)
    parts = []
    for number, track in enumerate(ordered):
        w, h = min(track.box[2], width), min(track.box[3], height)
        x = min(max(track.box[0], left), left + width - w)
        if side_by_side and number in (0, len(ordered) - 1):  # the edges of the whole are theirs
            x = left if number == 0 else left + width - w
        y = min(max(track.box[1], top), top + height - h)
        parts.append((track, (x, y, w, h)))
    return parts


def _patch(grey: NDArray[Any], box: Box) -> NDArray[Any]:
    height, width = grey.shape
    left, top = max(0, round(box[0] * width)), max(0, round(box[1] * height))
    right, bottom = round((box[0] + box[2]) * width), round((box[1] + box[3]) * height)
    return grey[top : max(top, bottom), left : max(left, right)]
