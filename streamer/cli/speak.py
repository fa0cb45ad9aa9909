"""`streamer speak`: says aloud what the cameras see, or writes it into sound files."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from streamer.bus.messages import EventMessage, Gap, Message
from streamer.bus.position import Position
from streamer.bus.subscriber import Subscriber
from streamer.errors import ConfigError
from streamer.labels.phrases import plain
from streamer.subscribers.narration import listen
from streamer.subscribers.narration.policy import Policy, Utterance
from streamer.subscribers.narration.settings import Settings
from streamer.subscribers.speech import voices
from streamer.subscribers.speech.speaker import Aloud, Files, Sound, Speaker
from streamer.subscribers.speech.utterance_log import Index, Progress
from streamer.subscribers.state_file import StateFile
from streamer.system.clock import SYSTEM_CLOCK
from streamer.system.terminal_text import printable

INDEX = "index.jsonl"
DRAIN = 1.0  # seconds at the end for files of what still waits
LEAVE = 1.0  # ... and for the voice to end
# what is told on stderr where there is no log; what the settings leave out is no news
_WORTH_TELLING = ("too late", "too much to say", "the program ended")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer speak`."""
    listen.add_arguments(parser)
    parser.add_argument("--engine", choices=("auto", "espeak-ng", "spd-say", "pyttsx3"),
                        help="auto: espeak-ng on Linux, pyttsx3 on macOS and Windows")  # fmt: skip
    parser.add_argument("--voice", metavar="NAME", help="of the engine (default: one of the language)")
    parser.add_argument("--rate", type=int, metavar="N", help="words a minute, 80 to 450 (170)")
    parser.add_argument("--pause", type=float, metavar="S", help="silence between two utterances (0.7)")
    parser.add_argument("--quiet-hours", action="append", metavar="HH:MM-HH:MM",
                        help="then only what is urgent; several times; may go across midnight")  # fmt: skip
    parser.add_argument("--to-file", type=Path, metavar="DIR",
                        help=f"write a WAV for each utterance, and {INDEX}, instead of speaking")  # fmt: skip
    parser.add_argument(
        "--log", type=Path, metavar="FILE", help="what was said or left out and why, JSON lines"
    )
    parser.add_argument("--state", type=Path, metavar="FILE", help="go on after a restart where it was left")
    parser.add_argument("--say", metavar="TEXT", help="say this and end: to try voice, rate and loudness")


def run(args: argparse.Namespace) -> int:
    """Speak until told to end; returns the exit code. Raises SpeechError where the system cannot speak."""
    listen.check_duration(args)
    if args.to_file is not None and args.log is not None:
        raise ConfigError(f"--log beside --to-file: the log is DIR/{INDEX} there; leave --log out")
    settings, names = listen.settings_of(args, "engine", "voice", "rate", "pause", "quiet_hours")
    voice = voices.choose(settings)
    voices.check(voice, sound=args.to_file is None and args.say is None)
    with listen.ending() as end:
        if args.say is not None:
            return _say_once(voice, args, end)
        session = _Session(args, voice, Policy(settings, names), settings)
        with (
            session,
            Subscriber(
                args.endpoint,
                topics=listen.TOPICS,
                since=session.since,
                requests=args.requests,
                keys=args.keys,
            ) as subscriber,
        ):
            session.subscriber = subscriber
            where = "aloud" if args.to_file is None else f"into {args.to_file}"
            listen.tell(f"listening to {args.endpoint}, speaking {where} ({voice.name})")
            listen.follow(subscriber, session.policy, session.heard, end, args.duration)
    return end.code


def _say_once(voice: voices.Voice, args: argparse.Namespace, end: listen.Ending) -> int:
    text = plain(args.say)
    if args.to_file is None:
        voices.speak(voice, text, end.asked)
    else:
        args.to_file.mkdir(parents=True, exist_ok=True)
        voices.write(voice, text, args.to_file / "say.wav", end.asked)
    return end.code


class _Session:
    """The parts of one run, and what goes between them."""

    def __init__(
        self, args: argparse.Namespace, voice: voices.Voice, policy: Policy, settings: Settings
    ) -> None:
        self.policy = policy
        self.subscriber: Subscriber | None = None
        self.since = listen.since_of(args)
        self._state: StateFile | None = None
        if args.state is not None:
            start = self.since or Position.at(time.time())
            self._state = StateFile(args.state.expanduser(), start, on_problem=listen.tell)
            self.since = self._state.position
        self.progress = Progress(self._state, SYSTEM_CLOCK)
        policy.restore(self.progress.said, self.progress.known)
        index = args.log if args.to_file is None else args.to_file / INDEX
        self._index = None if index is None else Index(index, SYSTEM_CLOCK)
        self._done = self._index.done if self._index is not None and args.to_file is not None else set()
        outlet = Aloud(voice) if args.to_file is None else Files(voice, args.to_file)
        self._drain = 0.0 if args.to_file is None else DRAIN
        self._speaker = Speaker(outlet, settings, self.settle, lambda line: listen.tell(f"streamer: {line}"))

    def __enter__(self) -> _Session:
        self._speaker.start()
        return self

    def __exit__(self, *_: object) -> None:
        left = self._speaker.close(self._drain, LEAVE)
        if self._state is None:  # with a state file the next start says it
            for utterance in left:
                self.settle(utterance, None)
        if self._index is not None:
            self._index.close()
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
        """Whether the index had it before this start."""
        return utterance.kind in ("start", "end") and (utterance.event, utterance.kind) in self._done

    def settle(self, utterance: Utterance, sound: Sound | None) -> None:
        """What became of an utterance."""
        if self._index is not None:
            self._index.write(utterance, *((sound.file, sound.seconds) if sound else ()))
        elif sound is None and utterance.left_out in _WORTH_TELLING:
            listen.tell(printable(f"not said ({utterance.left_out}): {utterance.text}"))
        self.progress.settled(utterance)
