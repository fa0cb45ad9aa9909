"""What is shown on the captions' screen: changes only when something changed, and not too fast to be read."""

from __future__ import annotations

from dataclasses import dataclass

from streamer.subscribers.narration.policy import Utterance
from streamer.subscribers.narration.settings import Priority
from streamer.system.clock import SYSTEM_CLOCK, Clock

EARLIER = 8  # sentences that are kept to be read later
MOST_WAITING = 200
_OVER = {"back": "lost", "heard": "silent"}


@dataclass(frozen=True, slots=True)
class View:
    """What is to be seen now. Equal views look the same."""

    current: Utterance | None = None
    earlier: tuple[Utterance, ...] = ()  # newest first
    notices: tuple[str, ...] = ()  # what is still wrong: lost cameras, no publisher


class CaptionBoard:
    """Takes utterances and says what is to be seen.

    Each stands for at least `hold` seconds, unless something urgent comes; then the newest of the most
    important of those that wait, so that the screen is never behind. The others are listed.
    """

    def __init__(self, hold: float, clock: Clock = SYSTEM_CLOCK) -> None:
        self._hold, self._clock = hold, clock
        self._waiting: list[Utterance] = []
        self._current: Utterance | None = None
        self._until = clock.monotonic()
        self._earlier: list[Utterance] = []  # newest first
        self._notices: dict[tuple[str, str | None], str] = {}

    def offer(self, utterance: Utterance) -> None:
        """Take one in."""
        if utterance.kind in ("lost", "silent"):
            self._notices[utterance.kind, utterance.camera] = utterance.text
        elif utterance.kind in _OVER:
            self._notices.pop((_OVER[utterance.kind], utterance.camera), None)
        self._waiting.append(utterance)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.remove(min(self._waiting, key=lambda one: (one.priority, one.at)))

    def view(self) -> View:
        """What is to be seen now."""
        now = self._clock.monotonic()
        best = max(self._waiting, key=lambda one: (one.priority, one.at), default=None)
        if best is not None and (now >= self._until or self._breaks_in(best)):
            self._waiting.remove(best)
            old = [*self._waiting, *([self._current] if self._current else [])]
            self._earlier = sorted([*self._earlier, *old], key=lambda one: one.at, reverse=True)[:EARLIER]
            self._waiting.clear()
            self._current, self._until = best, now + self._hold
        return View(self._current, tuple(self._earlier), tuple(self._notices.values()))

    def _breaks_in(self, utterance: Utterance) -> bool:
        current = self._current.priority if self._current else Priority.LOW
        return utterance.priority is Priority.URGENT and current < Priority.URGENT
