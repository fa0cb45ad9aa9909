"""Who is where in a camera's pictures, and what is believed of them: for those who record and show them."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field

from streamer.people.person_square import union
from streamer.types import Box, LaneResult, Track, Tracks

PICTURES_KEPT = 2048  # of a camera
SECONDS_KEPT = 80.0  # at a slow rate too; longer than windows and pre-rolls reach back
PEOPLE_KEPT = 256  # of a camera, of whom something was believed
OF_LATE = 0.5  # seconds
LOOKED = 2.0  # seconds without a look after which nobody knows who is there
BELIEFS_KEPT = 256  # changes of what is believed of somebody


@dataclass(slots=True)
class _Beliefs:
    """Of one person by one model: since when which label; None = unknown."""

    times: list[float] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)

    def add(self, time: float, label: str | None) -> None:
        if not self.labels or self.labels[-1] != label:
            self.times.append(time)
            self.labels.append(label)
        if len(self.times) > BELIEFS_KEPT:
            del self.times[0], self.labels[0]

    def at(self, time: float) -> str | None:
        place = bisect_right(self.times, time)
        return self.labels[place - 1] if place else None


@dataclass(frozen=True, slots=True)
class SeenPerson:
    """Somebody in a picture, and what was believed of them then."""

    track: Track
    labels: tuple[str, ...]  # one of each model that believed anything


@dataclass(slots=True)
class _Camera:
    pictures: OrderedDict[float, Tracks] = field(default_factory=OrderedDict)
    beliefs: OrderedDict[int, dict[str, _Beliefs]] = field(default_factory=OrderedDict)  # person -> model

    def labels(self, person: int, time: float) -> tuple[str, ...]:
        told = [beliefs.at(time) for beliefs in self.beliefs.get(person, {}).values()]
        return tuple(dict.fromkeys(label for label in told if label is not None))


class Followed:
    """Each camera's people in its last pictures. Fed by the cameras' threads and the lanes'; asked by any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cameras: dict[str, _Camera] = {}

    def tracks(self, tracks: Tracks) -> None:
        """Who is where in one more picture."""
        with self._lock:
            camera = self._cameras.setdefault(tracks.camera, _Camera())
            if camera.pictures and tracks.time < next(reversed(camera.pictures)):  # the time line begins anew
                camera.pictures.clear()
            camera.pictures[tracks.time] = tracks
            oldest = tracks.time - SECONDS_KEPT
            while len(camera.pictures) > PICTURES_KEPT or next(iter(camera.pictures)) < oldest:
                camera.pictures.popitem(last=False)

    def result(self, result: LaneResult) -> None:
        """A window was recognised, perhaps somebody's."""
        if result.track is None or result.prediction is None:
            return
        label = None if result.stable is None else result.stable.label
        with self._lock:
            camera = self._cameras.setdefault(result.camera, _Camera())
            of_models = camera.beliefs.setdefault(result.track.id, {})
            of_models.setdefault(result.model, _Beliefs()).add(result.prediction.window.end, label)
            camera.beliefs.move_to_end(result.track.id)
            while len(camera.beliefs) > PEOPLE_KEPT:  # of those who left long ago
                camera.beliefs.popitem(last=False)

    def everybody(self, camera: str, time: float) -> tuple[Box, ...] | None:
        """Where people are in the picture of `time` of the camera's time line, those who are not followed
        (yet) too, and where they were told to be shortly before: a box runs ahead of somebody who stops, or
        who has just begun to walk. None where that is not known.
        """
        with self._lock:
            found = self._cameras.get(camera)
            there = None if found is None else found.pictures.get(time)
            if found is None or there is None or there.looked is None or time - there.looked > LOOKED:
                return None
            of_late: list[Tracks] = []
            for at in reversed(found.pictures):
                if at < time - OF_LATE:
                    break
                if at <= time:
                    of_late.append(found.pictures[at])
        boxes: dict[int, list[Box]] = {}
        for picture in of_late:
            for track in picture.tracks:
                boxes.setdefault(track.id, []).append(track.box)
        others = dict.fromkeys(box for picture in of_late for box in picture.others)
        return (*map(union, boxes.values()), *others)

    def who(self, camera: str, time: float) -> tuple[Track, ...] | None:
        """Who is followed in the picture of `time`; None where nobody is to be followed."""
        with self._lock:
            found = self._cameras.get(camera)
            if found is None:
                return None
            there = found.pictures.get(time)
            return () if there is None else there.tracks

    def people(self, camera: str, time: float) -> tuple[SeenPerson, ...]:
        """Who is followed in it, and what was believed of them at that time; nobody where it is not known."""
        with self._lock:
            found = self._cameras.get(camera)
            there = None if found is None else found.pictures.get(time)
            if found is None or there is None:
                return ()
            return tuple(SeenPerson(track, found.labels(track.id, time)) for track in there.tracks)
