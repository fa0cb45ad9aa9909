"""The last minute of each camera: what was believed when; and when cameras could not be seen."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace

from streamer.types import Belief, CameraState, CameraStatus, LabelScore, Moment, Outage

PAST_S = 60.0  # seconds of beliefs that are kept
SLOT_S = 0.5  # one belief each
OUTAGES = 100  # the newest
_LOST = (CameraState.STALLED, CameraState.RECONNECTING, CameraState.FAILED)


class RecentBeliefs:
    """What one model believed of one camera: the last belief of each half second of the last minute."""

    def __init__(self) -> None:
        self._slots: deque[Belief] = deque(maxlen=int(PAST_S / SLOT_S) + 1)

    def add(self, now: float, stable: LabelScore | None) -> None:
        """`now`: monotonic seconds."""
        slot = now // SLOT_S * SLOT_S
        if self._slots and self._slots[-1].time == slot:
            self._slots.pop()
        self._slots.append(Belief(slot, stable))

    def since(self, start: float) -> tuple[Belief, ...]:
        """Those at `start` (monotonic seconds) and later, oldest first."""
        return tuple(belief for belief in self._slots if belief.time >= start)


class Outages:
    """When cameras were lost, not reached, or showed nothing that could be used."""

    def __init__(self) -> None:
        self._kept: deque[Outage] = deque(maxlen=OUTAGES)
        self._open: dict[str, Outage] = {}
        self._ran: set[str] = set()
        self._counts: Counter[str] = Counter()

    def status(self, status: CameraStatus, now: Moment) -> None:
        """The newest status of a camera."""
        name, what = status.camera, self._what(status)
        if status.state is CameraState.RUNNING:
            self._ran.add(name)
        opened = self._open.get(name)
        if opened is not None and opened.what != what:
            ended = replace(opened, ended=now)
            del self._open[name]
            self._kept = deque((ended if one is opened else one for one in self._kept), OUTAGES)
            opened = None
        if opened is None and what is not None:
            self._counts[status.code or what] += 1
            self._open[name] = Outage(name, what, self._began(status, now))
            self._kept.append(self._open[name])

    @property
    def all(self) -> tuple[Outage, ...]:
        """Oldest first."""
        return tuple(self._kept)

    @property
    def counts(self) -> dict[str, int]:
        """How many there were since the start, by cause."""
        return dict(self._counts)

    def _what(self, status: CameraStatus) -> str | None:
        if status.state is CameraState.RUNNING and status.picture != "ok":
            return f"{status.picture} picture"
        if status.state in _LOST and status.camera in self._ran:
            return "lost"
        if status.state in (CameraState.CONNECTING, *_LOST) and status.code is not None:
            return "not reached"
        return None

    def _began(self, status: CameraStatus, now: Moment) -> Moment:
        """A camera was lost when its last frame came, not when that was noticed."""
        newest = status.newest
        if newest is None or status.state is CameraState.RUNNING or newest > now.time:
            return now
        return Moment(newest, now.wall - (now.time - newest))
