"""Which frames a streaming model sees: one for each tick of a grid, chosen by time as windows are.

A tick is due every hop, counted from the first frame of an epoch. It takes the frame nearest to it; a tick
without a frame within half an interval takes the newest frame again, and counts as `missing`. A hole longer
than the span, and a new epoch, begin anew: the model's memory of the camera is emptied.

A hop of interval / p is p interleaved streams of one camera: each sees frames an interval apart.

Nothing queues for long. Live, a model that is late gets the ticks that came meanwhile together, at most T
of them; older ones are left out and counted as "busy". Complete (files, as fast as the model allows), `add`
blocks instead, so that every tick is computed and the result does not depend on threads.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from streamer.types import Frame, Step, Window
from streamer.windows.sampling import HAIR

BUSY = "busy"  # the model was so late that its stream goes on without this tick
INTERRUPTED = "interrupted"  # it waited when the video broke off
_CHECK_EVERY = 1.0  # seconds after which a blocked `add` checks again
_GRID = 1e-3  # of a hop: how far interval / hop may be from a whole number


def interleaved(interval: float, hop: float) -> int:
    """How many interleaved streams a hop needs, p = interval / hop.

    Raises:
        ValueError: p is not a whole number.
    """
    streams = round(interval / hop)
    if streams < 1 or abs(streams * hop - interval) > _GRID * hop:
        raise ValueError(
            f"a streaming model sees a frame every {interval:g} s: its hop is {interval:g} s or that divided "
            f"by 2, 3, ...; {hop:g} s is none of these"
        )
    return streams


@dataclass(frozen=True, slots=True)
class _Tick:
    """One tick that waits to be computed."""

    step: Step
    shown: tuple[Frame, ...]  # the last T frames of its stream, this one included
    missing: int  # of these, shown again because there was none of their own


class Ticks:
    """Ticks of one camera for one streaming model; stands where `Windows` stands for a model of windows.

    One thread adds frames, one takes; the rest is for any. `on_ready` is called without any lock held.

    Args:
        camera: its name.
        ages: T, how many frames the model asks at once.
        interval, hop: seconds; see `interleaved`.
        complete: nothing is left out: `add` blocks while a span of ticks waits.
    """

    def __init__(
        self,
        camera: str,
        ages: int,
        interval: float,
        hop: float,
        complete: bool,
        *,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        if ages < 1 or not (0.0 < interval < math.inf and 0.0 < hop < math.inf):
            raise ValueError(
                f"a stream needs ages >= 1, interval > 0 and hop > 0, got {ages}, {interval} and {hop}"
            )
        self.camera = camera
        self.on_ready = on_ready
        self._ages = ages
        self._interval = interval
        self._hop = hop
        self._streams = interleaved(interval, hop)
        self._complete = complete
        self._changed = threading.Condition()
        self._epoch: int | None = None
        self._first = 0.0
        self._number = 0  # of the next tick of this epoch
        self._newest: Frame | None = None
        self._waiting: deque[_Tick] = deque()
        self._since = 0.0  # monotonic, of the oldest tick that waits
        self._shown: list[deque[tuple[Frame, bool]]] = [deque(maxlen=ages) for _ in range(self._streams)]
        self._closed = False
        self._id = 0
        self._due = 0
        self._taken = 0
        self._skipped: dict[str, int] = {}

    @property
    def _most(self) -> int:
        """Ticks that may wait: T of each stream."""
        return self._ages * self._streams

    def add(self, frame: Frame) -> bool:
        """Give the newest frame; False if it was not taken (closed, or not newer than the one before)."""
        if not math.isfinite(frame.time):
            return False
        with self._changed:
            if self._complete:
                while not self._closed and len(self._waiting) >= self._most:
                    self._changed.wait(_CHECK_EVERY)
            if self._closed or (self._epoch is not None and frame.epoch < self._epoch):
                return False
            newest = self._newest
            if newest is None or frame.epoch != self._epoch or self._hole(newest, frame):
                self._begin(frame)
            elif frame.time <= newest.time:
                return False
            came = self._decide(frame)
            self._newest = frame
        if came and self.on_ready is not None:
            self.on_ready()
        return True

    def _hole(self, newest: Frame, frame: Frame) -> bool:
        gap = frame.time - newest.time
        return abs(gap) > max((self._ages - 1) * self._interval, self._interval)

    def _begin(self, frame: Frame) -> None:
        """A new stream: nothing of the one before may meet it."""
        if not self._complete:
            self._skip(INTERRUPTED, len(self._waiting))
            self._waiting.clear()
        self._epoch, self._first, self._number, self._newest = frame.epoch, frame.time, 0, None
        for shown in self._shown:
            shown.clear()

    def _decide(self, frame: Frame) -> bool:
        """Give every tick up to this frame its frame; True if there was one."""
        due = self._due
        while (at := self._first + self._number * self._hop) <= frame.time + HAIR:
            older = self._newest
            near = frame
            if older is not None and at - older.time <= frame.time - at + HAIR:
                near = older
            repeated = abs(near.time - at) > self._interval / 2 + HAIR
            if repeated:  # nothing was seen just then: what was seen last stands
                near = older if older is not None else frame
            stream = self._number % self._streams
            shown = self._shown[stream]
            repeated = repeated or bool(shown and shown[-1][0] is near)
            step = Step(stream, near, begins=not shown)
            shown.append((near, repeated))
            tick = _Tick(step, tuple(frame for frame, _ in shown), sum(again for _, again in shown))
            if not self._waiting:
                self._since = frame.captured
            self._waiting.append(tick)
            self._number += 1
            self._due += 1
        while not self._complete and len(self._waiting) > self._most:
            left_out = self._waiting.popleft()
            self._skip(BUSY, 1)
            if left_out.step.begins:  # its stream begins with the next one instead
                self._carry_beginning(left_out.step.stream)
        return self._due > due

    def _skip(self, cause: str, count: int) -> None:
        if count:
            self._skipped[cause] = self._skipped.get(cause, 0) + count

    def _carry_beginning(self, stream: int) -> None:
        for index, tick in enumerate(self._waiting):
            if tick.step.stream == stream:
                self._waiting[index] = replace(tick, step=replace(tick.step, begins=True))
                return

    def ready_since(self) -> float | None:
        """Monotonic time since when a tick waits, None if none does."""
        with self._changed:
            return self._since if self._waiting else None

    def take(self) -> Window | None:
        """What the model has not seen yet: live all ticks that wait, complete the next one; None if none.

        `frames` are the newest ones of the last step's stream, at most T and fewer at its beginning.
        """
        with self._changed:
            if not self._waiting:
                return None
            count = 1 if self._complete else len(self._waiting)
            ticks = [self._waiting.popleft() for _ in range(count)]
            if self._waiting:
                self._since = self._waiting[0].step.frame.captured
            self._id += 1
            self._taken += count
            last = ticks[-1]
            window = Window(
                self.camera,
                self._id,
                last.shown,
                self._interval,
                last.missing,
                steps=tuple(tick.step for tick in ticks),
            )
            told = bool(self._waiting) or self._closed
            self._changed.notify_all()
        if told and self.on_ready is not None:
            self.on_ready()
        return window

    @property
    def parts(self) -> tuple[Ticks]:
        """See `WindowSource.parts`."""
        return (self,)

    def close(self) -> None:
        """No more frames. What waits can still be taken; a blocked `add` returns."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self.on_ready is not None:
            self.on_ready()

    @property
    def finished(self) -> bool:
        """Closed, and no tick left."""
        with self._changed:
            return self._closed and not self._waiting

    @property
    def waiting(self) -> float | None:
        """Seconds of video still needed before the first prediction: none once a frame has come."""
        with self._changed:
            return None if self._newest is not None else 0.0

    @property
    def due(self) -> int:
        """Ticks that came due: `taken` + the sum of `skipped` + those that wait."""
        with self._changed:
            return self._due

    @property
    def taken(self) -> int:
        """Ticks taken."""
        with self._changed:
            return self._taken

    @property
    def skipped(self) -> Mapping[str, int]:
        """Cause -> ticks that were never computed."""
        with self._changed:
            return dict(self._skipped)
