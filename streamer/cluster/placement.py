"""Which worker watches which camera: sticky first, level second. A pure function of what is known.

A camera costs a worker a part of its time: the windows a second that are asked for, divided by the windows a
second that its model was measured to compute there. Cost is compared with capacity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

FULL = 0.9  # of a worker's time; the rest is for what is not measured
GUESS = 0.1  # a camera's cost where its model was measured nowhere yet
STEP = 0.25  # a worker must be so much fuller than another before a camera moves for that alone
HOLD_OFF = 30.0  # seconds that a worker must be there, and a camera where it is, before one moves to level


@dataclass(frozen=True, slots=True)
class Demand:
    """What a camera asks for: model -> windows a second."""

    windows: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Place:
    """A worker that may watch cameras."""

    name: str
    capacity: int | None = None  # cameras at most
    speeds: Mapping[str, float] = field(default_factory=dict)  # model -> windows a second, where measured
    since: float = -math.inf  # monotonic seconds: when it came
    leaving: bool = False  # it is drained: nothing more comes, everything goes
    refuses: frozenset[str] = frozenset()  # cameras that it has tried and cannot watch


def place(
    cameras: Mapping[str, Demand],
    workers: Mapping[str, Place],
    now_at: Mapping[str, str],
    moved_at: Mapping[str, float],
    now: float,
) -> dict[str, str | None]:
    """Camera -> worker; None where it fits nowhere. `now_at`: where each is now; `moved_at`: since when.

    Of the cameras that are well where they are at most one moves, to the emptiest worker.
    """
    load = dict.fromkeys(workers, 0.0)
    count = dict.fromkeys(workers, 0)
    placed: dict[str, str | None] = {}
    known = _known_speeds(workers)

    def cost(camera: str, worker: str) -> float:
        return _cost(cameras[camera], workers[worker], known)

    def fits(camera: str, worker: str) -> bool:
        if camera in workers[worker].refuses:
            return False
        limit = workers[worker].capacity
        if limit is not None:  # somebody knows better than what was measured
            return count[worker] < limit
        # one camera fits everywhere: a slow worker stretches its hop, as a slow machine does
        return count[worker] == 0 or load[worker] + cost(camera, worker) <= FULL + 1e-9

    def put(camera: str, worker: str) -> None:
        placed[camera] = worker
        load[worker] += cost(camera, worker)
        count[worker] += 1

    for camera in sorted(cameras):  # sticky: the others are looked at when these have their places
        worker = now_at.get(camera)
        if worker is not None and worker in workers and not workers[worker].leaving and fits(camera, worker):
            put(camera, worker)
    staying = [name for name, one in workers.items() if not one.leaving]
    left = sorted(cameras.keys() - placed.keys(), key=lambda name: (-_weight(cameras[name], known), name))
    for camera in left:
        free = [name for name in staying if fits(camera, name)]
        best = min(
            free,
            key=lambda name: (
                not _has_loaded(cameras[camera], workers[name]),
                round(load[name] + cost(camera, name), 6),
                count[name],
                name,
            ),
            default=None,
        )
        if best is None:
            placed[camera] = None
        else:
            put(camera, best)
    _level(placed, cameras, workers, load, count, now_at, moved_at, now, known)
    return placed


def _level(
    placed: dict[str, str | None],
    cameras: Mapping[str, Demand],
    workers: Mapping[str, Place],
    load: Mapping[str, float],
    count: Mapping[str, int],
    now_at: Mapping[str, str],
    moved_at: Mapping[str, float],
    now: float,
    known: Mapping[str, float],
) -> None:
    """Move one camera from the fullest worker to the emptiest, where that has been so for long."""
    settled = [n for n, one in workers.items() if not one.leaving and now - one.since >= HOLD_OFF]
    if len(settled) < 2:
        return
    emptiest = min(settled, key=lambda name: (load[name], count[name], name))
    fullest = max(settled, key=lambda name: (load[name], count[name], name))
    limit = workers[emptiest].capacity
    if limit is not None and count[emptiest] >= limit:
        return
    if load[fullest] - load[emptiest] < STEP:
        return
    for camera in sorted(name for name, worker in placed.items() if worker == fullest):
        after = load[emptiest] + _cost(cameras[camera], workers[emptiest], known)
        stays = now_at.get(camera) == fullest and now - moved_at.get(camera, -math.inf) >= HOLD_OFF
        if stays and after <= FULL and after < load[fullest] - 1e-9:
            placed[camera] = emptiest
            return


def _known_speeds(workers: Mapping[str, Place]) -> dict[str, float]:
    """Model -> the slowest that it was measured anywhere."""
    found: dict[str, float] = {}
    for worker in workers.values():
        for model, speed in worker.speeds.items():
            if speed > 0:
                found[model] = min(speed, found.get(model, math.inf))
    return found


def _cost(demand: Demand, worker: Place, known: Mapping[str, float]) -> float:
    total = 0.0
    for model, rate in demand.windows.items():
        speed = worker.speeds.get(model) or known.get(model)
        total += rate / speed if speed else GUESS
    return total


def _weight(demand: Demand, known: Mapping[str, float]) -> float:
    return sum(rate / known[model] if model in known else GUESS for model, rate in demand.windows.items())


def _has_loaded(demand: Demand, worker: Place) -> bool:
    return all(model in worker.speeds for model in demand.windows)
