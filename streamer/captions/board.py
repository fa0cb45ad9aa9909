"""What stands on the captions' screen: changes only when something changed, and not too fast to be read."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from streamer.clock import SYSTEM_CLOCK, Clock
from streamer.speak.policy import Utterance
from streamer.speak.queue import SpeechQueue
from streamer.speak.settings import Priority

EARLIER = 8  # sentences that are kept to be read later
_OVER = {"back": "lost", "heard": "silent"}


@dataclass(frozen=True, slots=True)
class View:
    """What is to be seen now. Equal views look the same."""

    current: Utterance | None = None
    earlier: tuple[Utterance, ...] = ()  # newest first
    notices: tuple[str, ...] = ()  # what is still wrong: lost cameras, no publisher


class Board:
    """Takes utterances and says what is to be seen.

    Each stands for at least `hold` seconds, unless something urgent comes; then the most important of those
    that wait. What waited longer than `fresh` seconds (0: however long) is only listed.
    """

    def __init__(self, hold: float, fresh: float, clock: Clock = SYSTEM_CLOCK) -> None:
        self._hold, self._clock = hold, clock
        self._queue = SpeechQueue(fresh)
        self._current: Utterance | None = None
        self._until = clock.monotonic()
        self._earlier: deque[Utterance] = deque(maxlen=EARLIER)
        self._notices: dict[tuple[str, str | None], str] = {}

    def offer(self, utterance: Utterance) -> None:
        """Take one in."""
        if utterance.kind in ("lost", "silent"):
            self._notices[utterance.kind, utterance.camera] = utterance.text
        elif utterance.kind in _OVER:
            self._notices.pop((_OVER[utterance.kind], utterance.camera), None)
        self._list(self._queue.offer(utterance, self._clock.monotonic()))

    def view(self) -> View:
        """What is to be seen now."""
        now = self._clock.monotonic()
        urgent = self._queue.highest() >= Priority.URGENT and (
            self._current is None or self._current.priority < Priority.URGENT
        )
        if len(self._queue) and (now >= self._until or urgent):
            utterance, dropped = self._queue.take(now)
            self._list(dropped)
            if utterance is not None:
                if self._current is not None:
                    self._earlier.appendleft(self._current)
                self._current, self._until = utterance, now + self._hold
        return View(self._current, tuple(self._earlier), tuple(self._notices.values()))

    def _list(self, dropped: list[Utterance]) -> None:
        """Too late for large letters; an end whose start was never shown large is listed all the same."""
        self._earlier.extendleft(dropped)
