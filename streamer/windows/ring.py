"""The newest frames of one camera, bounded in seconds and in number.

Why a count as well as seconds: a burst after a network hiccup, or a camera faster than asked for, must not
cost memory. Frames come in reduced form (uint8 RGB, model size), so 8.5 s at 30 frames/s and 224 x 224 is
about 38 MB.
"""

from __future__ import annotations

import math
import threading
from collections import deque

from streamer.types import Frame

MAX_RATE = 60.0  # frames/s kept where the caller names no rate
OLDER = 3  # frames kept beyond the seconds, so that the camera's period is known at the oldest needed frame
_HEADROOM = 1.05  # a camera of 30.1 frames/s asked for 30 loses nothing
_BURST = 2.0  # frames that may come early: jitter is no reason to drop


class Ring:
    """Frames of one epoch, oldest first, times strictly growing. Thread-safe; appending is O(1)."""

    def __init__(self, seconds: float, rate: float | None = None) -> None:
        """Keep `seconds` of video (time line) at no more than about `rate` frames/s (None: `MAX_RATE`)."""
        if not seconds >= 0.0 or (rate is not None and not rate > 0.0):
            raise ValueError(f"a ring needs seconds >= 0 and rate > 0, got {seconds} and {rate}")
        self._seconds = seconds
        self._rate = (MAX_RATE if rate is None else rate) * _HEADROOM
        self.capacity = math.ceil(seconds * self._rate) + OLDER + math.ceil(_BURST) + 1
        self._frames: deque[Frame] = deque(maxlen=self.capacity)
        self._lock = threading.Lock()
        self._tokens = _BURST
        self._seen = -math.inf  # time of the newest frame offered, kept or not

    def append(self, frame: Frame, since: float | None = None) -> bool:
        """Store `frame`; False if it is not newer than the newest one or not needed at this rate.

        A frame of another epoch empties the ring first. Frames older than `since` (time line; by default
        `seconds` before this frame) are let go, but for the newest `OLDER` of them.
        """
        if not math.isfinite(frame.time):
            return False
        with self._lock:
            if self._frames and self._frames[-1].epoch != frame.epoch:
                self._empty()
            if frame.time <= self._seen:
                return False
            # A token bucket and not a least distance: it lets jitter through and still bounds the number.
            self._tokens = min(_BURST, self._tokens + (frame.time - self._seen) * self._rate)
            self._seen = frame.time
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            self._frames.append(frame)
            horizon = frame.time - self._seconds if since is None else since
            while len(self._frames) > OLDER + 1 and self._frames[OLDER].time < horizon:
                self._frames.popleft()
            return True

    def frames(self) -> tuple[Frame, ...]:
        """What is stored now, oldest first."""
        with self._lock:
            return tuple(self._frames)

    @property
    def newest(self) -> Frame | None:
        with self._lock:
            return self._frames[-1] if self._frames else None

    def clear(self) -> None:
        """Forget every frame."""
        with self._lock:
            self._empty()

    def __len__(self) -> int:
        return len(self._frames)

    def _empty(self) -> None:
        self._frames.clear()
        self._tokens = _BURST
        self._seen = -math.inf
