"""All windows of one camera for one model: of the whole picture, and of each who is followed there."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from streamer.types import Frame, Window
from streamer.windows.window_source import WindowSource


class SharedWindows:
    """A `WindowSource` that stands for several. People join and leave on any thread.

    Args:
        whole: of the whole picture; given its frames by `add`.
    """

    def __init__(self, whole: WindowSource) -> None:
        self._whole = whole
        self._changing = threading.Lock()  # guards what is below against joining and leaving at once
        self._parts: tuple[WindowSource, ...] = (whole,)  # replaced, never changed: read without the lock
        self._due = 0  # of those who left
        self._skipped: Counter[str] = Counter()

    @property
    def on_ready(self) -> Callable[[], None] | None:
        """See `WindowSource`; of the whole picture."""
        return self._whole.on_ready

    @on_ready.setter
    def on_ready(self, call: Callable[[], None] | None) -> None:
        self._whole.on_ready = call

    def join(self, part: WindowSource) -> None:
        """One more."""
        with self._changing:
            self._parts = (*self._parts, part)

    def leave(self, part: WindowSource) -> None:
        """Take no more of its windows."""
        with self._changing:
            self._due += part.due
            self._skipped.update(part.skipped)
            self._parts = tuple(one for one in self._parts if one is not part)

    def add(self, frame: Frame) -> bool:
        """A frame of the whole picture."""
        return self._whole.add(frame)

    @property
    def parts(self) -> Sequence[WindowSource]:
        """See `WindowSource`."""
        return self._parts

    def ready_since(self) -> float | None:
        """Since when the one waits that has waited longest."""
        return min((since for one in self._parts if (since := one.ready_since()) is not None), default=None)

    def take(self) -> Window | None:
        """Of the one that has waited longest."""
        waiting = [(since, one) for one in self._parts if (since := one.ready_since()) is not None]
        return min(waiting, key=lambda pair: pair[0])[1].take() if waiting else None

    def close(self) -> None:
        """See `WindowSource`."""
        for one in self._parts:
            one.close()

    @property
    def finished(self) -> bool:
        """See `WindowSource`."""
        return all(one.finished for one in self._parts)

    @property
    def waiting(self) -> float | None:
        """Of the whole picture."""
        return self._whole.waiting

    @property
    def due(self) -> int:
        """Of all, those who left included."""
        with self._changing:
            return self._due + sum(one.due for one in self._parts)

    @property
    def skipped(self) -> Mapping[str, int]:
        """Of all, those who left included."""
        with self._changing:
            found = Counter(self._skipped)
            for one in self._parts:
                found.update(one.skipped)
        return dict(found)
