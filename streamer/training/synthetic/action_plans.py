"""What happens in an untrimmed video: acts one after the other, invented by a planner with a seed.

Places are in frame heights from the picture's centre, x to the right and y down, as in `motions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamer.training.ground_truth import Segment
from streamer.training.synthetic import motions
from streamer.training.synthetic.motions import LABELS, Rng

STILL = LABELS[motions.STILL]
STEPS = {"moving left": (-1, 0), "moving right": (1, 0), "moving up": (0, -1), "moving down": (0, 1)}
SMALLEST, LARGEST, REST = 0.12, 0.8, (0.28, 0.5)  # heights of an object; between: where it can move sideways
GROWTH, SPAN = (1.5, 2.3), 1.4  # factor of an object's height in SPAN seconds
SLOWEST = 0.26  # frame heights a second
FACTOR = 2.6  # of an object's height, at least, when it comes near or goes away
FAR_SIDE = (0.12, 0.22)  # where who comes in stands, beyond the centre

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Manner:
    """How long and how fast things are; ranges are drawn from evenly."""

    rest: tuple[float, float] = (2.0, 5.0)  # seconds
    rests: float = 0.8  # of all actions, this share is followed by a rest
    speed: tuple[float, float] = (0.32, 0.55)  # frame heights a second
    shortest: float = 3.0  # seconds of an action, where there is room for it
    waving: float = 2.5  # seconds by which waving may last longer than the shortest
    wave: tuple[float, float] = (0.6, 1.1)  # seconds to and fro


CALM = Manner()
MANNERS = {"calm": CALM, "restless": Manner((0.7, 9.0), 0.5, (0.4, 0.8), 1.9, 5.0, (0.5, 1.4))}


@dataclass(frozen=True, slots=True)
class Act:
    """One action, or a rest, of an object (or a procession) that stands at `place` when it begins."""

    label: str
    seconds: float
    place: Place = (0.0, 0.0)
    size: float = 0.4  # height at the beginning
    end_size: float = 0.4
    lead: int = 0  # number of the first object in the cast
    members: int = 1  # of a procession; 0: nobody is there
    spacing: float = 0.0
    speed: float = 0.0
    waves: int = 0
    reach: float = 0.0  # of a wave


class Planner:
    """Invents acts one after the other: who is where, and what can happen next."""

    def __init__(self, rng: Rng, manner: Manner) -> None:
        self._rng = rng
        self._manner = manner
        self._place: Place | None = (0.0, 0.0)
        self._size = float(rng.uniform(*REST))
        self._lead = 0
        self._waiting: list[str] = []

    def rest(self) -> Act:
        """Nobody moves; perhaps nobody is there."""
        seconds = float(self._rng.uniform(*self._manner.rest))
        return self._standing(STILL, seconds, members=0 if self._place is None else 1)

    def act(self) -> Act:
        """A motion; all are chosen about equally often."""
        if not self._waiting:
            self._waiting = [name for name in self._rng.permutation(LABELS).tolist() if name != STILL]
        label = next((name for name in self._waiting if self._possible(name)), None)
        if label is None:
            label = next(name for name in self._rng.permutation(LABELS).tolist() if self._possible(name))
        else:
            self._waiting.remove(label)
        if label in STEPS:
            return self._sideways(label)
        return self._wave() if label == "waving" else self._nearness(label)

    def _possible(self, label: str) -> bool:
        if label in STEPS and self._place is None:
            return True
        if self._place is None or label == STILL:
            return False
        if label == "approaching":
            return self._size * FACTOR <= LARGEST
        if label == "receding":
            return self._size / FACTOR >= SMALLEST
        ready = REST[0] <= self._size <= REST[1]
        return ready and (label == "waving" or _along(self._place, label) < 0.05)  # room to go there

    def _standing(self, label: str, seconds: float, **more: Any) -> Act:
        known = {"place": self._place or (0.0, 0.0), "size": self._size, "end_size": self._size}
        return Act(label, seconds, **{**known, "lead": self._lead, **more})

    def _wave(self) -> Act:
        manner, waves = self._manner, 0
        period = float(self._rng.uniform(*manner.wave))
        while waves * period < manner.shortest + manner.waving * self._rng.random():
            waves += 1
        reach = float(self._rng.uniform(0.13, 0.2))
        return self._standing("waving", waves * period, waves=waves, reach=reach)

    def _nearness(self, label: str) -> Act:
        """Back to REST, or out of it."""
        size = self._size
        most = LARGEST / size if label == "approaching" else size / SMALLEST
        target = float(self._rng.uniform(*REST))
        factor = min(most, max(FACTOR, target / size if label == "approaching" else size / target))
        if REST[0] <= size <= REST[1]:
            factor = float(self._rng.uniform(min(FACTOR, most), most))
        fastest = min(GROWTH[1], float(np.exp(SPAN * np.log(factor) / self._manner.shortest)))
        rate = float(self._rng.uniform(GROWTH[0], max(GROWTH[0], fastest)))
        self._size = size * factor if label == "approaching" else size / factor
        seconds = SPAN * float(np.log(factor) / np.log(rate))
        return self._standing(label, seconds, size=size, end_size=self._size)

    def _sideways(self, label: str) -> Act:
        """Comes in, passes through, goes away, or goes away while others follow."""
        rng, (dx, dy) = self._rng, STEPS[label]
        if self._place is None:
            self._size = float(rng.uniform(*REST))
        outside = 0.5 + 0.55 * self._size  # out of sight
        start, members, spacing = self._place, 1, 0.0
        if start is None:
            across = float(rng.uniform(-0.15, 0.15))
            start = (-dx * outside + abs(dy) * across, -dy * outside + abs(dx) * across)
            stop = float(rng.uniform(*FAR_SIDE))
            passes = rng.random() < 0.4
            path = outside + (outside if passes else stop)
            self._place = None if passes else (start[0] + dx * path, start[1] + dy * path)
        elif rng.random() < 0.25:
            members = int(rng.integers(3, 5))
            spacing = outside + 0.05 - min(0.0, _along(start, label))
            path = spacing * (members - 1)
        else:
            path = outside - _along(start, label)
            self._place = None
        manner = self._manner
        speed = max(SLOWEST, min(float(rng.uniform(*manner.speed)), path / manner.shortest))
        act = self._standing(label, path / speed, place=start, members=members, spacing=spacing, speed=speed)
        self._lead += members - 1 if self._place is not None else members
        return act


def _along(place: Place, label: str) -> float:
    """How far a place is in a motion's direction from the centre."""
    return place[0] * STEPS[label][0] + place[1] * STEPS[label][1]


def plan(rng: Rng, seconds: float, manner: Manner = CALM) -> list[Act]:
    """Acts of at least `seconds` in all, most with a rest after them."""
    planner = Planner(rng, manner)
    acts = [planner.rest()]
    while sum(act.seconds for act in acts) < seconds:
        acts.append(planner.act())
        if rng.random() < manner.rests:
            acts.append(planner.rest())
    return acts


def segments(acts: Sequence[Act], seconds: float) -> tuple[Segment, ...]:
    """The truth of a plan cut off at `seconds`, rests left out."""
    found, clock = [], 0.0
    for act in acts:
        end = min(clock + act.seconds, seconds)
        if act.label != STILL and end - clock > 0.05:
            found.append(Segment(round(clock, 3), round(end, 3), act.label))
        clock += act.seconds
    return tuple(found)
