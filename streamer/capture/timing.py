"""When a frame belongs where: media time of files, which frames to keep, measured rates."""

from __future__ import annotations

from collections import deque

_DEFAULT_STEP = 1 / 25
_LONGEST_GAP = 10.0  # seconds between two frames of a file; more is taken for a broken time stamp
_JITTER = 0.02  # seconds
_HICCUP = 0.3  # seconds without a frame, after which old ones may come in a burst
_BURST = 0.5  # seconds within which a burst is over
_BEHIND, _MADE_UP = 0.2, 0.08  # seconds of delay at which skipping begins and ends
_DRIFT = 0.001  # how fast a camera's clock may run away from ours


class MediaTimes:
    """Turns a file's time stamps into seconds that start at 0 and only grow.

    Time stamps may be absent (always 0), go backwards (B frames in AVI), end in zeros, or jump by hours. One
    that does not advance, or leaps, is replaced by the previous time plus a frame of the declared rate.
    """

    def __init__(self, fps: float | None) -> None:
        self.step = 1.0 / fps if fps else _DEFAULT_STEP
        self.last: float | None = None
        self._offset = 0.0  # media time minus time stamp

    def next(self, stamp: float) -> float:
        """Media time of the next frame, seconds; `stamp` is what the container says, seconds."""
        if self.last is None:
            self._offset = -stamp
            self.last = 0.0
            return 0.0
        time = stamp + self._offset
        gap = time - self.last
        if gap > _LONGEST_GAP or gap < -_LONGEST_GAP:
            self._offset -= gap - self.step  # the stamps go on from somewhere else: follow them there
            gap = self.step
        elif gap <= 1e-6:
            gap = self.step
        self.last += gap
        return self.last


class RateChoice:
    """Which frames to keep for about `rate` of them a second; depends on nothing but the frames' times."""

    def __init__(self, rate: float | None) -> None:
        self._step = 1.0 / rate if rate else 0.0
        self._due: float | None = None

    def reset(self) -> None:
        """The time line begins anew; the next frame is kept."""
        self._due = None

    def keeps(self, time: float) -> bool:
        """True for a frame to keep. A little early is on time: cameras are not punctual."""
        if not self._step:
            return True
        if self._due is not None and time < self._due - min(self._step / 4, _JITTER):
            return False
        due = time if self._due is None else self._due
        self._due = max(due + self._step, time + self._step / 2)
        return True


class LateFrames:
    """Tells frames that waited in a buffer from live ones, for sources with time stamps of their own.

    Stamped with their arrival they would lie about when they were taken, and delay would grow. Frames are
    old (1) for half a second after opening or a hiccup, while their stamps run more than twice as fast as
    the clock; (2) while their stamps are further behind the clock than they have been at best (consumer
    slower than the camera), until that is made up for, or half a second shows that the stamps are nonsense.
    """

    def __init__(self, first_is_old: bool = False) -> None:
        self._first_is_old = first_is_old
        self._stamp = 0.0
        self._arrived: float | None = None
        self._burst_until = 0.0
        self._best = 0.0  # smallest arrival minus stamp
        self._behind_since: float | None = None

    def is_old(self, stamp: float, arrived: float) -> bool:
        """`stamp`: the container's time; `arrived`: monotonic time; both in seconds."""
        before, advanced = self._arrived, stamp - self._stamp
        self._stamp, self._arrived = stamp, arrived
        if before is None:
            self._best = arrived - stamp
            self._burst_until = arrived + _BURST
            return self._first_is_old
        passed = arrived - before
        if passed > _HICCUP:
            self._burst_until = arrived + _BURST
        behind = self._is_behind(arrived - stamp, passed, arrived)
        return behind or (passed < advanced / 2 and arrived < self._burst_until)

    def _is_behind(self, delay: float, passed: float, now: float) -> bool:
        self._best = min(self._best + _DRIFT * passed, delay)
        lag = delay - self._best
        if lag < (_MADE_UP if self._behind_since is not None else _BEHIND):
            self._behind_since = None
            return False
        if self._behind_since is None:
            self._behind_since = now
        if now - self._behind_since > _BURST:
            self._best, self._behind_since = delay, None
            return False
        return True


class RateMeter:
    """Frames a second over the last `span` seconds, as (N-1) / (last - first)."""

    def __init__(self, span: float = 5.0, most: int = 256) -> None:
        self._span = span
        self._times: deque[float] = deque(maxlen=most)

    def add(self, time: float) -> None:
        self._times.append(time)
        while self._times[0] < time - self._span and len(self._times) > 2:
            self._times.popleft()

    def clear(self) -> None:
        self._times.clear()

    @property
    def fps(self) -> float | None:
        """None until two frames have come."""
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return None
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])
