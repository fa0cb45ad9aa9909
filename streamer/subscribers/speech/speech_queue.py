"""What waits to be said: bounded, the most important first, and no old news. No threads."""

from __future__ import annotations

from dataclasses import replace

from streamer.subscribers.narration.policy import Utterance

MOST = 20  # utterances that wait
MOST_DROPPED = 1000  # events whose start was dropped that are remembered


class SpeechQueue:
    """Utterances in the order in which they are to be said: by priority, then by age.

    `fresh`: seconds after which an utterance is not worth saying; 0: never. Each method that drops
    utterances returns them with the reason in `left_out`.
    """

    def __init__(self, fresh: float, most: int = MOST) -> None:
        self._fresh, self._most = fresh, most
        self._waiting: list[Utterance] = []
        self._unsaid: dict[str, None] = {}  # events whose start was dropped here

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, utterance: Utterance, now: float) -> list[Utterance]:
        """Take one in. Returns what had to go for it: old news first, else the least important and oldest."""
        dropped = self._stale(now)
        self._waiting.append(utterance)
        if len(self._waiting) > self._most:
            least = min(self._waiting, key=lambda one: one.priority)
            dropped.append(self._drop(least, "too much to say"))
        return dropped

    def take(self, now: float) -> tuple[Utterance | None, list[Utterance]]:
        """What is to be said now (None: nothing), and what is dropped on the way to it."""
        dropped = self._stale(now)
        while self._waiting:
            best = max(self._waiting, key=lambda one: one.priority)  # the first, hence oldest, of the highest
            if best.kind in ("end", "goes_on") and best.event in self._unsaid:
                dropped.append(self._drop(best, "its start was not said"))
                continue
            self._waiting.remove(best)
            return best, dropped
        return None, dropped

    def highest(self) -> int:
        """The highest priority that waits; -1: nothing waits."""
        return max((one.priority for one in self._waiting), default=-1)

    def not_said(self, utterance: Utterance) -> None:
        """A start that was taken and could not be said: then its end is not said either."""
        if utterance.kind == "start" and utterance.event is not None:
            self._unsaid[utterance.event] = None
            if len(self._unsaid) > MOST_DROPPED:
                del self._unsaid[next(iter(self._unsaid))]

    def clear(self, reason: str) -> list[Utterance]:
        """Drop everything."""
        return [self._drop(one, reason) for one in list(self._waiting)]

    def _stale(self, now: float) -> list[Utterance]:
        if self._fresh <= 0:
            return []
        old = [one for one in self._waiting if now - one.made > self._fresh]
        return [self._drop(one, "too late") for one in old]

    def _drop(self, utterance: Utterance, reason: str) -> Utterance:
        self._waiting.remove(utterance)
        self.not_said(utterance)
        return replace(utterance, left_out=reason)
