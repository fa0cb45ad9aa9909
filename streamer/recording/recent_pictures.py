"""The newest pictures of a camera in memory, as JPEG: the pre-roll, and the picture at an event's peak.

JPEG and not H.264, as measured at 720p with sensor noise (docs/recording.md): a picture costs 1.6 ms as JPEG
and 7 ms as H.264, and what is kept before anything has happened is nearly always thrown away.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import dropwhile

BACKWARDS = 1.0  # seconds: a time line that goes back further than this begins anew


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """One picture."""

    index: int  # counts a camera's pictures
    time: float  # the camera's time line, seconds
    jpeg: bytes = field(repr=False)


class RecentPictures:
    """Pictures of one camera, oldest first, bounded in seconds and in bytes. For one thread at a time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: deque[KeptPicture] = deque()
        self._count = 0
        self.bytes = 0

    def add(self, time: float, jpeg: bytes) -> None:
        """Keep a picture; one that is not newer than the newest is not kept."""
        if self._kept and time <= self._kept[-1].time:
            if self._kept[-1].time - time < BACKWARDS:
                return
            self._kept.clear()
            self.bytes = 0
        self._kept.append(KeptPicture(self._count, time, jpeg))
        self._count += 1
        self.bytes += len(jpeg)
        while self._kept[0].time < time - self._seconds:
            self._drop()

    def shrink(self, most: int) -> int:
        """Let the oldest go until there are at most `most` bytes; how many went."""
        before = len(self._kept)
        while self.bytes > most and self._kept:
            self._drop()
        return before - len(self._kept)

    def since(self, index: int, limit: int) -> list[KeptPicture]:
        """Up to `limit` pictures from number `index` on."""
        if not self._kept:
            return []
        skipped = max(0, index - self._kept[0].index)
        return [self._kept[place] for place in range(skipped, min(len(self._kept), skipped + limit))]

    def first_at(self, time: float) -> int:
        """The number of the first picture at `time` or later; of the next one to come if there is none."""
        later = dropwhile(lambda picture: picture.time < time, self._kept)
        return next((picture.index for picture in later), self._count)

    def nearest(self, time: float) -> KeptPicture | None:
        """The picture nearest to `time`; None without any."""
        return min(self._kept, key=lambda picture: abs(picture.time - time), default=None)

    @property
    def newest(self) -> KeptPicture | None:
        return self._kept[-1] if self._kept else None

    def __len__(self) -> int:
        return len(self._kept)

    def _drop(self) -> None:
        self.bytes -= len(self._kept.popleft().jpeg)
