"""From detections to tracks: ByteTrack's association in two stages, with times instead of frame numbers.

Each track is expected where a Kalman filter of constant velocity puts it. Detections that the detector is
sure of are given to tracks first, by the least sum of distances over all pairs; then the doubtful ones to
tracks that got none; what is left of the sure ones begins new tracks. A track is told once it was seen for
`CONFIRM` seconds, and is lost when it was not seen for `lost_after` seconds.

Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", 2022. Boxes are compared
with a rim around them (Yang et al., "Hard to Track Objects with Irregular Motions and Similar Appearances?",
2023), so that small and fast people keep their tracks at few detections a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.people.detection import CAME, SURE, Detection, likeness, overlap, travelled, widened
from streamer.types import Box, Track

CONFIRM = 0.3  # seconds, and `HITS` detections, before a track is told
HITS = 3
RIM = 0.3  # of a box, on each side, when it is compared
LEAST_LIKENESS = 0.1, 0.3  # of the boxes with their rims: of sure detections, of doubtful ones
MEASURED = 0.05  # a detection's standard deviation, in parts of the box
ACCELERATION = 2.0  # of people, boxes / s^2
SIZE_GAIN = 0.2  # of a detection's size in the track's
PART = 0.6  # of a track's height: a detection that is less high shows a part of them
ALIKE, TWINS = 0.8, 1.5  # likeness of two tracks, and seconds of it, after which they are one
OUTSIDE = 0.3  # a track of which less than this is in the picture has left it


class _Person:
    """One track: a Kalman filter for each coordinate of the box's middle, in units of the box's own size."""

    def __init__(self, time: float, found: Detection) -> None:
        left, top, width, height = found.box
        self.id = 0  # until it is told of
        self._first = found.box
        self.centre = np.array([left + width / 2, top + height / 2])
        self.size = np.array([width, height])
        self.speed = np.zeros(2)
        self._covariance = np.array([[MEASURED**2, 0.0], [0.0, 1.0]])
        self.time = time
        self.began = time
        self.seen = time
        self.hits = 1
        self.apart = time  # when nobody older was in the same place

    @property
    def box(self) -> Box:
        left, top = self.centre - self.size / 2
        return float(left), float(top), float(self.size[0]), float(self.size[1])

    def at(self, time: float) -> Box:
        """Where it is expected at `time`."""
        left, top = self.centre + self.speed * (time - self.time) - self.size / 2
        return float(left), float(top), float(self.size[0]), float(self.size[1])

    def go_on(self, time: float) -> None:
        """Let time pass."""
        dt = time - self.time
        self.centre = self.centre + self.speed * dt
        move = np.array([[1.0, dt], [0.0, 1.0]])
        noise = ACCELERATION**2 * np.array([[dt**4 / 4, dt**3 / 2], [dt**3 / 2, dt**2]])
        self._covariance = move @ self._covariance @ move.T + noise
        self.time = time

    def saw(self, found: Detection) -> None:
        """It was found now."""
        left, top, width, height = found.box
        gain = self._covariance[:, 0] / (self._covariance[0, 0] + MEASURED**2)
        if height < PART * self.size[1] and width < self.size[0] / PART:
            # the rest is behind something; who lies down becomes wider
            top, height = min(top, self.centre[1] - self.size[1] / 2), self.size[1]
        middle = np.array([left + width / 2, top + height / 2])
        if height > self.size[1] / PART and travelled(self._first, self.box) <= CAME:
            # a part of them was taken for the whole: they have not moved, they are more
            self.centre, self.size = middle, np.array([width, height])
        off = middle - self.centre
        self.centre = self.centre + gain[0] * off
        self.speed = self.speed + gain[1] * off
        self._covariance = self._covariance - np.outer(gain, self._covariance[0])
        self.size = self.size + SIZE_GAIN * (np.array([width, height]) - self.size)
        self.seen = self.time
        self.hits += 1

    @property
    def confirmed(self) -> bool:
        return self.hits >= HITS and self.seen - self.began >= CONFIRM - 1e-6


class Tracking:
    """One camera's tracks. Pure: the same detections give the same tracks. Ids count those who are told of,
    from 1 on, and are never used again.

    Args:
        lost_after: seconds without a detection after which a track is lost.
    """

    def __init__(self, lost_after: float) -> None:
        self._lost_after = lost_after
        self._people: list[_Person] = []
        self._number = 0

    def update(self, time: float, found: Sequence[Detection]) -> None:
        """The detections of one picture; pictures come in the order of their times."""
        for person in self._people:
            person.go_on(time)
        sure = [one for one in found if one.score >= SURE]
        doubtful = [one for one in found if one.score < SURE]
        # who was told of goes first: a false start must not take a person's detection
        known = [person for person in self._people if person.confirmed]
        fresh = [person for person in self._people if not person.confirmed]
        missed, left = _associate(known, sure, LEAST_LIKENESS[0])
        missed, _ = _associate(missed, doubtful, LEAST_LIKENESS[1])
        unseen, left = _associate(fresh, left, LEAST_LIKENESS[0])
        gone = {person for person in unseen if time - person.seen >= CONFIRM}
        gone |= self._twins(known, time)
        gone |= {p for p in missed if time - p.seen >= self._lost_after or _inside(p.box) < OUTSIDE}
        self._people = [person for person in self._people if person not in gone]
        for one in left:
            # a part of somebody who is followed is nobody new
            if all(overlap(one.box, p.box) < 0.5 * one.box[2] * one.box[3] for p in known if p not in missed):
                self._people.append(_Person(time, one))
        for person in self._people:
            if person.confirmed and not person.id:
                self._number += 1
                person.id = self._number

    def _twins(self, people: Sequence[_Person], time: float) -> set[_Person]:
        """The younger of two tracks that have been in one place for so long that they are one person."""
        found = set()
        for number, younger in enumerate(people):
            if all(likeness(younger.box, older.box) < ALIKE for older in people[:number]):
                younger.apart = time
            elif time - younger.apart >= TWINS:
                found.add(younger)
        return found

    def tracks(self, time: float) -> list[Track]:
        """Everybody who is followed, where they are expected at `time`, oldest first."""
        return [Track(person.id, person.at(time)) for person in self._people if person.confirmed]

    def unsure(self, time: float) -> list[Box]:
        """Where those are expected at `time` who are not told of yet."""
        return [person.at(time) for person in self._people if not person.confirmed]

    def unseen(self, number: int, time: float) -> float:
        """Seconds since a track was last found; infinite for one that is lost."""
        return next((time - person.seen for person in self._people if person.id == number), float("inf"))

    def clear(self) -> None:
        """Nobody is known any more."""
        self._people.clear()


def _inside(box: Box) -> float:
    return overlap(box, (0.0, 0.0, 1.0, 1.0)) / (box[2] * box[3])


def _associate(
    people: list[_Person], found: Sequence[Detection], least: float
) -> tuple[list[_Person], list[Detection]]:
    """Give detections to people; returns who and what is left over."""
    if not people or not found:
        return people, list(found)
    from scipy.optimize import linear_sum_assignment

    alike: NDArray[np.float64] = np.array(
        [[likeness(widened(p.box, RIM), widened(one.box, RIM)) for one in found] for p in people]
    )
    rows, columns = linear_sum_assignment(alike, maximize=True)
    pairs = [(row, column) for row, column in zip(rows, columns, strict=True) if alike[row, column] >= least]
    for row, column in pairs:
        people[row].saw(found[column])
    taken, given = {row for row, _ in pairs}, {column for _, column in pairs}
    return (
        [person for n, person in enumerate(people) if n not in taken],
        [one for n, one in enumerate(found) if n not in given],
    )
