"""The smoothed scores of the last minutes, so that somebody can ask why something was or was not an event."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.types import LaneResult

MOST_ROWS = 4500  # windows of one camera and model, or of one person: 15 minutes at 5 a second
MOST_BYTES = 4_000_000  # of one camera and model, or one person; many labels are kept for a shorter time
MOST_KEPT = 200  # cameras and models
MOST_PEOPLE = 1000  # who are or were followed, all cameras and models together
MOST_BYTES_OF_PEOPLE = 32_000_000  # all of them together
FIRST_ROWS = 64  # room that grows: most people are there for seconds
MOST_POINTS = 600  # in one answer
OTHERS = 2  # labels that are told beside the one that is asked for


@dataclass(frozen=True, slots=True)
class ScoreCurves:
    """Smoothed scores of some labels at the same times; the label that was asked for comes first."""

    model: str
    times: tuple[float, ...]  # Unix seconds of the windows' ends, growing
    scores: Mapping[str, tuple[float, ...]]  # label -> a score in [0, 1] at each time
    since: float | None  # the oldest time that is kept


class _Ring:
    """Rows of scores, the oldest overwritten: float16 (rows, labels), twice as many when they are full."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._most = max(2, min(MOST_ROWS, MOST_BYTES // (2 * max(1, len(labels)))))
        self.labels = labels
        rows = min(FIRST_ROWS, self._most)
        self._times = np.zeros(rows)
        self._scores = np.zeros((rows, len(labels)), np.float16)
        self._count = 0

    @property
    def nbytes(self) -> int:
        return self._times.nbytes + self._scores.nbytes

    def add(self, time: float, scores: list[float]) -> None:
        if self._count == len(self._times) < self._most:
            more = min(self._count, self._most - self._count)
            self._times = np.pad(self._times, (0, more))
            self._scores = np.pad(self._scores, ((0, more), (0, 0)))
        place = self._count % len(self._times)
        self._times[place], self._scores[place] = time, scores
        self._count += 1

    def between(self, since: float, until: float) -> tuple[NDArray[Any], NDArray[Any], float | None]:
        """Times (n,) and scores (n, labels), oldest first; and the oldest time of all."""
        held = min(self._count, len(self._times))
        order = (np.arange(held) + self._count - held) % len(self._times)
        times = self._times[order]
        wanted = (times >= since) & (times <= until)
        oldest = float(times[0]) if held else None
        return times[wanted], self._scores[order[wanted]].astype(np.float64), oldest


class ScoreHistory:
    """Takes results in on the lanes' threads; `curves` is for any thread.

    The whole picture and every person have curves of their own. People come and go: where theirs have no more
    room, those of whom nothing came for longest are forgotten, so the ones who left first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rings: dict[tuple[str, str], _Ring] = {}  # of whole pictures
        self._people: OrderedDict[tuple[str, str, int], _Ring] = OrderedDict()  # longest silent first
        self._bytes_of_people = 0

    def result(self, result: LaneResult) -> None:
        """Remember a window's scores."""
        if result.prediction is None or not result.smoothed:
            return
        labels, scores = tuple(result.smoothed), list(result.smoothed.values())
        time = result.prediction.window.frames[-1].wall
        with self._lock:
            if result.track is not None:
                self._add_person((result.camera, result.model, result.track.id), labels, time, scores)
                return
            key = result.camera, result.model
            ring = self._rings.get(key)
            if ring is None or ring.labels != labels:
                if ring is None and len(self._rings) >= MOST_KEPT:
                    return
                ring = self._rings[key] = _Ring(labels)
            ring.add(time, scores)

    def _add_person(
        self, key: tuple[str, str, int], labels: tuple[str, ...], time: float, scores: list[float]
    ) -> None:
        ring = self._people.pop(key, None)
        if ring is not None:
            self._bytes_of_people -= ring.nbytes
        if ring is None or ring.labels != labels:
            ring = _Ring(labels)
        ring.add(time, scores)
        self._people[key] = ring
        self._bytes_of_people += ring.nbytes
        while len(self._people) > MOST_PEOPLE or self._bytes_of_people > MOST_BYTES_OF_PEOPLE:
            _, gone = self._people.popitem(last=False)
            self._bytes_of_people -= gone.nbytes

    def models(self, camera: str) -> list[str]:
        """Which models' scores of a camera are kept, of its whole picture or of its people."""
        with self._lock:
            known = [*self._rings, *((name, model) for name, model, _ in self._people)]
        return list(dict.fromkeys(model for name, model in known if name == camera))

    def curves(
        self, camera: str, model: str, track: int | None, label: str | None, since: float, until: float
    ) -> ScoreCurves | None:
        """The scores of a person (`track` None: of the whole picture) from `since` until `until` (Unix
        seconds) of a label (None: the one with the highest score there) and of those that were strongest
        beside it. None where none of the camera, the model, the person or the label is known.
        """
        with self._lock:
            ring = (
                self._rings.get((camera, model))
                if track is None
                else self._people.get((camera, model, track))
            )
            if ring is None or (label is not None and label not in ring.labels):
                return None
            times, scores, oldest = ring.between(since, until)
            labels = ring.labels
        if not len(times):
            return ScoreCurves(model, (), {} if label is None else {label: ()}, oldest)
        order = np.argsort(-scores.max(axis=0), kind="stable").tolist()
        first = order[0] if label is None else labels.index(label)
        shown = [first, *[index for index in order if index != first][:OTHERS]]
        kept = _thinned(scores[:, first])
        return ScoreCurves(
            model,
            tuple(times[kept].round(3).tolist()),
            {labels[index]: tuple(scores[kept, index].round(4).tolist()) for index in shown},
            oldest,
        )


def _thinned(scores: NDArray[Any]) -> NDArray[Any]:
    """Which rows are told, at most MOST_POINTS: of neighbours the one with the highest score."""
    size = -(-len(scores) // MOST_POINTS)
    parts = range(0, len(scores), size)
    return np.array([start + int(np.argmax(scores[start : start + size])) for start in parts], np.intp)
