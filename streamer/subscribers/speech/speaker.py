"""The thread that speaks. It may be as slow as speech is: what arrives meanwhile waits in a bounded queue."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from streamer.errors import SpeechError, StreamerError
from streamer.subscribers.narration.policy import Utterance
from streamer.subscribers.narration.settings import Priority, Settings
from streamer.subscribers.speech import voices
from streamer.subscribers.speech.speech_queue import SpeechQueue
from streamer.system.clock import SYSTEM_CLOCK, Clock

Settle = Callable[[Utterance, "Sound | None"], None]


@dataclass(frozen=True, slots=True)
class Sound:
    """The result of an utterance: where it goes into files, the file's name and length."""

    file: str | None = None
    seconds: float | None = None


class Loudspeaker:
    """Through the loudspeaker."""

    interrupts = True
    most_waiting = 20  # at a few seconds each, more would be old news before their turn

    def __init__(self, voice: voices.Voice) -> None:
        self._voice = voice

    def say(self, utterance: Utterance, cancel: threading.Event) -> Sound | None:
        """None: broken off. Raises SpeechError."""
        return Sound() if voices.speak(self._voice, utterance.text, cancel) else None


class WavFiles:
    """Into WAV files of a folder, one an utterance. An event's file has the same name after a restart."""

    interrupts = False  # writing takes a moment; nobody is listening yet
    most_waiting = 2000  # a long history comes at once after a restart

    def __init__(self, voice: voices.Voice, folder: Path) -> None:
        self._voice, self._folder, self._others = voice, folder, 0
        for left in folder.glob(f".*{voices.PART}"):  # by one that was killed while it wrote
            left.unlink(missing_ok=True)

    def say(self, utterance: Utterance, cancel: threading.Event) -> Sound | None:
        """None: broken off. Raises SpeechError."""
        name = self._name(utterance)
        seconds = voices.write(self._voice, utterance.text, self._folder / name, cancel)
        return None if seconds is None else Sound(name, seconds)

    def _name(self, utterance: Utterance) -> str:
        if utterance.seq is not None:
            return f"{utterance.seq:08d}-{utterance.kind}.wav"
        while True:
            self._others += 1
            name = f"{int(utterance.at)}-{utterance.kind}-{self._others}.wav"
            if not (self._folder / name).exists():
                return name


class Speaker(threading.Thread):
    """Says what is offered. `settle` hears of each utterance once, when it was said or left out (None as its
    sound), on this thread or the offering one; `problem` gets a line when the voice fails.

    `failed` is what ended the thread, if anything did.
    """

    def __init__(
        self, output: Loudspeaker | WavFiles, settings: Settings, settle: Settle,
        problem: Callable[[str], None], clock: Clock = SYSTEM_CLOCK,
    ) -> None:  # fmt: skip
        super().__init__(name="streamer-speaker", daemon=True)
        self._output, self._settle, self._problem, self._clock = output, settle, problem, clock
        self._pause = settings.pause if output.interrupts else 0.0
        self._queue = SpeechQueue(settings.fresh, output.most_waiting)
        self._changed = threading.Condition()
        self._cancel = threading.Event()
        self._now: Utterance | None = None
        self._quiet_until = clock.monotonic()
        self._stopping = self._draining = self._failing = False
        self.failed: StreamerError | None = None

    def offer(self, utterance: Utterance) -> None:
        """Take one to be said; never waits for speech."""
        with self._changed:
            dropped = self._queue.offer(utterance, self._clock.monotonic())
            now = self._now
            if (utterance.priority is Priority.URGENT and now is not None and self._output.interrupts
                    and now.priority < utterance.priority):  # fmt: skip
                self._cancel.set()
            self._changed.notify()
        self._report(dropped)

    def close(self, drain: float, deadline: float) -> list[Utterance]:
        """Stop; up to `drain` seconds go into saying what waits. Returns what was not said."""
        with self._changed:
            self._draining = True
            self._changed.notify()
        self.join(drain)
        with self._changed:
            self._stopping = True
            self._cancel.set()
            self._changed.notify()
        self.join(deadline)
        with self._changed:
            return self._queue.clear("the program ended")

    def run(self) -> None:
        """The thread."""
        try:
            while self._step():
                pass
        except StreamerError as error:
            self.failed = error

    def _step(self) -> bool:
        with self._changed:
            if self._stopping or (self._draining and not len(self._queue)):
                return False
            now = self._clock.monotonic()
            wait = 0.0 if self._queue.highest() >= Priority.URGENT else self._quiet_until - now
            if not len(self._queue) or wait > 0:
                self._changed.wait(wait if len(self._queue) else 1.0)
                return True
            utterance, dropped = self._queue.take(now)
            self._now = utterance
            self._cancel.clear()
        self._report(dropped)
        if utterance is not None:
            self._say(utterance)
        return True

    def _say(self, utterance: Utterance) -> None:
        try:
            sound = self._output.say(utterance, self._cancel)
        except SpeechError as error:
            if not self._failing:
                self._problem(str(error))
            self._failing = True
            with self._changed:
                self._queue.not_said(utterance)
                self._now = None
            self._settle(replace(utterance, left_out=f"the voice failed: {error}"), None)
            return
        self._failing = False
        with self._changed:
            self._now = None
            self._quiet_until = self._clock.monotonic() + self._pause
        if sound is not None:
            self._settle(utterance, sound)
        else:  # broken off: what broke in goes first, then this again if it is still news
            with self._changed:
                dropped = self._queue.offer(utterance, self._clock.monotonic())
            self._report(dropped)

    def _report(self, dropped: list[Utterance]) -> None:
        for utterance in dropped:
            self._settle(utterance, None)
