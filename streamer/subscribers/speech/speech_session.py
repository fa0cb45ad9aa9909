"""One run of `streamer speak`: its parts, and what goes between them."""

from __future__ import annotations

import time
from pathlib import Path

from streamer.bus.messages import EventMessage, Gap, Message
from streamer.bus.position import Position
from streamer.bus.subscriber import Subscriber
from streamer.subscribers.narration.policy import Policy, Utterance
from streamer.subscribers.narration.settings import Settings
from streamer.subscribers.speech import voices
from streamer.subscribers.speech.speaker import Loudspeaker, Sound, Speaker, WavFiles
from streamer.subscribers.speech.utterance_log import Progress, UtteranceLog
from streamer.subscribers.state_file import StateFile
from streamer.subscribers.stderr_lines import print_line
from streamer.system.clock import SYSTEM_CLOCK

INDEX = "index.jsonl"
DRAIN = 1.0  # seconds at the end for files of what still waits
LEAVE = 1.0  # ... and for the voice to end
# what is told on stderr where there is no log; what the settings leave out is no news
_WORTH_TELLING = ("too late", "too much to say", "the program ended")


class SpeechSession:
    """From utterances to sound, to the log and to the state file; a context manager.

    `folder`: write sound files there instead of speaking; `log`, `state`: files, or None for none. `since`
    is from where on events are wanted: as given, or where an earlier run with this state file ended.
    """

    def __init__(
        self, voice: voices.Voice, policy: Policy, settings: Settings, *,
        folder: Path | None, log: Path | None, state: Path | None, since: Position | None,
    ) -> None:  # fmt: skip
        self.policy, self.since = policy, since
        self.subscriber: Subscriber | None = None
        self._state: StateFile | None = None
        if state is not None:
            start = since or Position.at(time.time())
            self._state = StateFile(state.expanduser(), start, on_problem=print_line)
            self.since = self._state.position
        self.progress = Progress(self._state, SYSTEM_CLOCK)
        policy.restore(self.progress.said, self.progress.known)
        log = log if folder is None else folder / INDEX
        self._log = None if log is None else UtteranceLog(log, SYSTEM_CLOCK)
        self._done = self._log.done if self._log is not None and folder is not None else set()
        output = Loudspeaker(voice) if folder is None else WavFiles(voice, folder)
        self._drain = 0.0 if folder is None else DRAIN
        self._speaker = Speaker(output, settings, self.settle, lambda line: print_line(f"streamer: {line}"))

    def __enter__(self) -> SpeechSession:
        self._speaker.start()
        return self

    def __exit__(self, *_: object) -> None:
        left = self._speaker.close(self._drain, LEAVE)
        if self._state is None:  # with a state file the next start says it
            for utterance in left:
                self.settle(utterance, None)
        if self._log is not None:
            self._log.close()
        if self._state is not None:
            self._state.close()

    def heard(self, message: Message | None, utterances: list[Utterance]) -> None:
        """Hand on what is to be said, and note from where to go on."""
        if self._speaker.failed is not None:
            raise self._speaker.failed
        utterances = [one for one in utterances if not self._has(one)]
        waiting = next((one.seq for one in utterances if one.left_out is None), None)
        if isinstance(message, (EventMessage, Gap)) and self.subscriber is not None:
            self.progress.received(self.subscriber.position, waiting)
        self.progress.tick()
        for utterance in utterances:
            if utterance.left_out is None:
                self._speaker.offer(utterance)
            else:
                self.settle(utterance, None)

    def _has(self, utterance: Utterance) -> bool:
        """Whether the log had it before this start."""
        return utterance.kind in ("start", "end") and (utterance.event, utterance.kind) in self._done

    def settle(self, utterance: Utterance, sound: Sound | None) -> None:
        """What became of an utterance."""
        if self._log is not None:
            self._log.write(utterance, *((sound.file, sound.seconds) if sound else ()))
        elif sound is None and utterance.left_out in _WORTH_TELLING:
            print_line(f"not said ({utterance.left_out}): {utterance.text}")
        self.progress.settled(utterance)
