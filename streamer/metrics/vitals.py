"""A picture of the program's insides, made when somebody asks how it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamer.metrics.totals import Totals
from streamer.types import Stats

if TYPE_CHECKING:
    from streamer.bus import Publisher
    from streamer.capture import Camera
    from streamer.pipeline.lane import Lane


@dataclass(frozen=True, slots=True)
class LaneVitals:
    """One model's inference. Times are monotonic seconds."""

    model: str
    waiting_since: float | None = None  # the window that has waited longest; None: none waits
    given: float | None = None  # when the newest window was recognised; None: none yet


@dataclass(frozen=True, slots=True)
class WindowVitals:
    """Windows of one camera for one model, so far."""

    camera: str
    model: str
    asked: int = 0  # hops that came due
    skipped: Mapping[str, int] = field(default_factory=dict)  # cause -> of these, never computed
    waiting: bool = False  # one waits now


@dataclass(frozen=True, slots=True)
class BusVitals:
    """The bus thread and the event history."""

    turned: float | None = None  # monotonic seconds of its last look at its work; None: it has ended
    waiting: int = 0  # messages not sent yet
    dropped: int = 0  # predictions overtaken by newer ones before they were sent
    refused: int = 0  # connections, for their key
    last_event_seq: int = 0
    durable: bool = True  # events reach the disk
    wants_durable: bool = True  # and they should


@dataclass(frozen=True, slots=True)
class SavedVitals:
    """What collecting uncertain windows has done; `waiting` are not written yet."""

    saved: Mapping[str, int] = field(default_factory=dict)  # reason -> clips
    dropped: Mapping[str, int] = field(default_factory=dict)  # cause -> clips
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Vitals:
    """Everything health and metrics are made from; `stats.time` is the moment."""

    stats: Stats
    totals: Totals = field(default_factory=Totals)
    ready: bool = False  # models are loaded and cameras are being read
    ready_since: float = 0.0  # monotonic seconds
    turned: float = 0.0  # monotonic seconds of the main loop's last look
    lanes: tuple[LaneVitals, ...] = ()
    windows: tuple[WindowVitals, ...] = ()
    readers: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # camera -> (alive, hanging)
    bus: BusVitals = field(default_factory=BusVitals)
    uncertain: SavedVitals | None = None  # None: nothing is collected


def of_lanes(
    lanes: Mapping[str, Iterable[Lane]], totals: Totals
) -> tuple[tuple[LaneVitals, ...], tuple[WindowVitals, ...]]:
    """`lanes`: camera -> its lanes. Each lane once, and each camera's windows in each of its lanes."""
    windows = []
    since: dict[int, list[float]] = {}
    given: dict[int, list[float]] = {}
    models: dict[int, str] = {}
    for camera, own in list(lanes.items()):  # copied: cameras are added while the program starts
        for lane in own:
            model, seen = lane.recognizer.spec.name, lane.windows.get(camera)
            models[id(lane)] = model
            if seen is None:
                continue
            waiting = seen.ready_since()
            windows.append(WindowVitals(camera, model, seen.due, seen.skipped, waiting is not None))
            if waiting is not None:
                since.setdefault(id(lane), []).append(waiting)
            if (done := totals.given.get((camera, model))) is not None:
                given.setdefault(id(lane), []).append(done.last)
    found = (
        LaneVitals(model, min(since.get(key, ()), default=None), max(given.get(key, ()), default=None))
        for key, model in models.items()
    )
    return tuple(found), tuple(windows)


def of_bus(publisher: Publisher, wants_durable: bool) -> BusVitals:
    """The publisher's own numbers."""
    return BusVitals(
        turned=publisher.turned,
        waiting=publisher.waiting,
        dropped=publisher.dropped_predictions,
        refused=publisher.refused,
        last_event_seq=publisher.last_event_seq,
        durable=publisher.journal_durable,
        wants_durable=wants_durable,
    )


def of_readers(cameras: Mapping[str, Camera]) -> dict[str, tuple[int, int]]:
    """Camera -> (reading threads, of these hanging)."""
    return {name: camera.readers for name, camera in list(cameras.items())}
