"""Which frames make a window: chosen by time, never by counting.

Which frame fills which position: `streamer.windows.sampling`. When a window is due: here.

Two ways of going on, both on a grid of hops that begins with the first full span of an epoch:

* live: a window is due at the first frame at or after its hop and ends at the newest frame there is when it
  is taken. Hops that pass meanwhile are counted as "busy"; nothing queues.
* complete (`--pace fast`: files, as fast as the model allows): a window ends at its hop, and is formed when
  the first frame at or after its end has been seen, so the result does not depend on threads. `Windows.add`
  blocks when it is more than `AHEAD` seconds of video further than the windows taken.

Every hop that came due ends up taken, waiting, or in `Windows.skipped` with its cause.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streamer.types import Frame, Window
from streamer.windows.ring import Ring
from streamer.windows.sampling import HAIR, Hole, choose, frame_time, period

AHEAD = 1.0  # seconds of video that a file may be read further than its windows (complete)
SPARE = 0.5  # seconds beyond the span that a live camera's ring holds
BACKWARDS = 1.0  # seconds: a time line that goes back further than this begins anew
_DEADLINE = 1.0  # seconds between two looks of a blocked `add`

# Causes in `Windows.skipped`
BUSY = "busy"  # the model was busy; a newer window took its place
GAP = "gap"  # frames are missing
NO_FRAME = "no_frame"  # no new frame since the window before: a camera slower than the hop
INTERRUPTED = "interrupted"  # it waited when the video broke off


@dataclass(frozen=True, slots=True)
class _Pending:
    """A window that waits to be taken. `frames` is chosen now (complete) or when it is taken (live)."""

    time: float  # it may not end before this
    since: float  # monotonic
    frames: tuple[Frame, ...] = ()


class Windows:
    """Windows of one camera for one model. One thread adds frames, one takes windows; the rest is for any.

    `on_ready` is called without any lock held, on the adding, taking or closing thread, whenever a window
    becomes ready or no further one will come; it must not block.
    """

    def __init__(
        self,
        camera: str,
        frames: int,
        interval: float,
        hop: float,
        complete: bool,
        *,
        rate: float | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        """T = `frames`; `interval` and `hop` in seconds; `rate`: frames/s kept (None: `ring.MAX_RATE`).

        Raises ValueError for numbers that make no window.
        """
        if frames < 1 or not (0.0 < interval < math.inf and 0.0 < hop < math.inf):
            raise ValueError(
                f"a window needs frames >= 1, interval > 0 and hop > 0, got {frames}, {interval} and {hop}"
            )
        self.camera = camera
        self.on_ready = on_ready
        self._count = frames
        self._interval = interval
        self._hop = hop
        self._complete = complete
        self._span = (frames - 1) * interval
        self._ring = Ring(self._span + (AHEAD if complete else SPARE), rate)
        self._changed = threading.Condition()
        self._epoch: int | None = None
        self._first = 0.0  # time of the epoch's first frame; the grid of hops hangs on it
        self._hops = 0  # of this epoch, so far
        self._full_at = math.inf  # time at which an unbroken span will have been seen
        self._flowing = False
        self._pending: _Pending | None = None
        self._made_end = -math.inf  # complete: time of the newest frame of this epoch's last window
        self._over = False  # complete: no more frames of this epoch
        self._closed = False
        self._id = 0
        self._due = 0
        self._skipped: dict[str, int] = {}

    def add(self, frame: Frame) -> bool:
        """Give the newest frame; False if it was not stored (closed, too old, or more than `rate` asks for).

        With `complete` it blocks until windows are taken or `close` is called.
        """
        if self._stale(frame) or (self._complete and not self._wait_for_room(frame)):
            return False
        with self._changed:
            waited = self._pending
            if self._closed:
                return False
            if self._breaks(frame):
                self._begin(frame)
            stored = self._ring.append(frame, self._next - self._span if self._complete else None)
            if stored and self._complete:
                self._decide()
            elif stored:
                self._check_hop(frame)
            ready = waited is None and self._pending is not None
        if ready:
            self._notify_ready()
        return stored

    def ready_since(self) -> float | None:
        """Monotonic time since when a window waits, None if none does."""
        with self._changed:
            return None if self._pending is None else self._pending.since

    def take(self) -> Window | None:
        """The newest complete window (live) or the next one (complete); None if there is none.

        Each one is strictly newer than the one before, and its id greater.
        """
        with self._changed:
            if self._pending is None:
                return None
            if self._complete:
                frames: tuple[Frame, ...] | None = self._pending.frames
            else:
                frames = self._newest_since(self._pending.time)
            self._pending = None
            if frames is None:
                self._skip(GAP)
            if self._complete:
                self._decide()
                self._changed.notify_all()
            ready = self._pending is not None or self._closed
            window = self._window(frames) if frames else None
        if ready:
            self._notify_ready()
        return window

    @property
    def parts(self) -> tuple[Windows]:
        """See `WindowSource.parts`."""
        return (self,)

    def close(self) -> None:
        """No more frames. What waits can still be taken; a blocked `add` returns."""
        with self._changed:
            if not self._closed:
                self._closed = self._over = True
                if self._complete:
                    self._decide()
            self._changed.notify_all()
        self._notify_ready()

    @property
    def finished(self) -> bool:
        """Closed, and no further window to take."""
        with self._changed:
            return self._closed and self._pending is None

    @property
    def waiting(self) -> float | None:
        """Seconds of video still needed before the next window can be whole; None while windows flow."""
        with self._changed:
            newest = self._ring.newest
            if self._flowing:
                return None
            return self._span if newest is None else max(0.0, self._full_at - newest.time)

    @property
    def due(self) -> int:
        """Hops that came due: `taken` + the sum of `skipped` + one while a window waits."""
        with self._changed:
            return self._due

    @property
    def taken(self) -> int:
        """Windows taken."""
        with self._changed:
            return self._id

    @property
    def skipped(self) -> Mapping[str, int]:
        """Cause -> hops without a window."""
        with self._changed:
            return dict(self._skipped)

    # Below, only `_stale`, `_wait_for_room` and `_notify_ready` are called without the lock.

    @property
    def _next(self) -> float:
        """When the next hop is due. Multiplied, not added up: the grid never drifts."""
        return self._first + self._span + self._hops * self._hop

    def _stale(self, frame: Frame) -> bool:
        """From before the last break. Only the adding thread asks, and only it changes the epoch."""
        return not math.isfinite(frame.time) or (self._epoch is not None and frame.epoch < self._epoch)

    def _breaks(self, frame: Frame) -> bool:
        newest = self._ring.newest
        return frame.epoch != self._epoch or (newest is not None and frame.time < newest.time - BACKWARDS)

    def _begin(self, frame: Frame) -> None:
        """A new time line: nothing of the old one may meet it in a window."""
        if self._pending is not None:
            self._pending = None
            self._skip(INTERRUPTED)
        self._ring.clear()
        self._epoch = frame.epoch
        self._first = frame.time
        self._hops = 0
        self._full_at = frame.time + self._span
        self._flowing = self._over = False
        self._made_end = -math.inf

    def _check_hop(self, frame: Frame) -> None:
        """Live: see whether a hop is due at this frame."""
        late = frame.time - self._next + HAIR
        if late < 0.0:
            return
        hops = int(late / self._hop) + 1
        self._pass_hops(hops)
        frames = self._ring.frames()
        chosen = choose(frames, len(frames) - 1, frame.time, self._count, self._interval)
        if isinstance(chosen, Hole):
            self._skip(GAP, hops)
            self._broken(chosen)
            return
        self._skip(NO_FRAME, hops - 1)
        since = frame.captured
        if self._pending is not None:
            self._skip(BUSY)
            since = self._pending.since  # who waits longest is served first, so the first hop counts
        self._pending = _Pending(frame.time, since)
        self._flowing = True

    def _newest_since(self, oldest_end: float) -> tuple[Frame, ...] | None:
        """Live: the newest complete window that ends at `oldest_end` or later."""
        frames = self._ring.frames()
        for newest in range(len(frames) - 1, -1, -1):
            if frames[newest].time < oldest_end:
                break
            chosen = choose(frames, newest, frames[newest].time, self._count, self._interval)
            if not isinstance(chosen, Hole):
                return chosen
        return None

    def _decide(self) -> None:
        """Complete: form the next window if the frames that decide it have been seen."""
        frames = self._ring.frames()
        while self._pending is None and frames:
            end = self._next
            newest = bisect_left(frames, end, key=frame_time)
            if newest == len(frames):
                newest -= 1
                # The last frame lasts for a while too; times rounded to milliseconds must not cost a window.
                lasts = min(self._interval, period(frames, newest)) / 2
                if not self._over or end > frames[newest].time + lasts + HAIR:
                    return
            chosen = choose(frames, newest, end, self._count, self._interval)
            if isinstance(chosen, Hole):
                # All ends deep inside the hole fail alike: passing them at once keeps a time line that
                # jumps by years from costing years.
                jump = math.floor((chosen.after - chosen.reach - end) / self._hop)
                hops = max(1, jump)
                self._pass_hops(hops)
                self._skip(GAP, hops)
                self._broken(chosen)
                continue
            self._pass_hops(1)
            if chosen[-1].time <= self._made_end:
                self._skip(NO_FRAME)
            else:
                self._pending = _Pending(end, frames[newest].captured, chosen)
                self._made_end = chosen[-1].time
                self._flowing = True

    def _pass_hops(self, hops: int) -> None:
        self._hops += hops
        self._due += hops

    def _skip(self, cause: str, hops: int = 1) -> None:
        if hops:
            self._skipped[cause] = self._skipped.get(cause, 0) + hops

    def _broken(self, hole: Hole) -> None:
        self._flowing = False
        self._full_at = hole.after + self._span

    def _window(self, frames: tuple[Frame, ...]) -> Window:
        self._id += 1
        distinct = len({frame.index for frame in frames})
        return Window(self.camera, self._id, frames, self._interval, len(frames) - distinct)

    def _wait_for_room(self, frame: Frame) -> bool:
        """Complete: block while this frame is too far ahead of the windows taken; False if closed."""
        with self._changed:
            waited = self._pending
            if self._epoch is not None and self._breaks(frame):
                self._over = True  # every window of the old epoch comes before the first frame of the new one
                self._decide()
            ready = waited is None and self._pending is not None
        if ready:
            self._notify_ready()
        with self._changed:
            while not self._closed and self._pending is not None:
                if not self._over and frame.time <= self._next + AHEAD:
                    break
                self._changed.wait(_DEADLINE)
            return not self._closed

    def _notify_ready(self) -> None:
        if (on_ready := self.on_ready) is not None:
            on_ready()
