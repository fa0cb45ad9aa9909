"""Frames that waited in a buffer, told from live ones."""

from __future__ import annotations

_HICCUP = 0.3  # seconds without a frame, after which old ones may come in a burst
_BURST = 0.5  # seconds within which a burst is over
_BEHIND, _MADE_UP = 0.2, 0.08  # seconds of delay at which skipping begins and ends
_DRIFT = 0.001  # how fast a camera's clock may run away from ours


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
