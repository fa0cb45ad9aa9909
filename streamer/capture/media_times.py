"""A file's time stamps as seconds that start at 0 and only grow."""

from __future__ import annotations

_DEFAULT_STEP = 1 / 25
_LONGEST_GAP = 10.0  # seconds between two frames of a file; more is taken for a broken time stamp


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
