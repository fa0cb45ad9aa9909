"""`streamer speak`: says aloud what the cameras see, or writes it into sound files."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from streamer.cli import subscriber_options
from streamer.errors import ConfigError
from streamer.labels.phrases import plain
from streamer.subscribers.narration.narrate import TOPICS, narrate
from streamer.subscribers.narration.policy import Policy
from streamer.subscribers.speech import voices
from streamer.subscribers.speech.speech_session import INDEX, SpeechSession
from streamer.subscribers.stderr_lines import print_line
from streamer.system.signals import Stopper


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer speak`."""
    subscriber_options.add_narration(parser)
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
    parser.add_argument("--state", type=Path, metavar="FILE", help="resume after a restart where it was left")
    parser.add_argument("--say", metavar="TEXT", help="say this and end: to try voice, rate and loudness")


def run(args: argparse.Namespace) -> int:
    """Speak until asked to stop; returns the exit code. Raises SpeechError where the system cannot speak."""
    if args.to_file is not None and args.log is not None:
        raise ConfigError(f"--log beside --to-file: the log is DIR/{INDEX} there; leave --log out")
    settings, names = subscriber_options.narration_of(args, "engine", "voice", "rate", "pause", "quiet_hours")
    if args.to_file is not None and args.since is not None:  # the past is what was asked for
        whole = {"fresh": 0.0, "repeat_after": 0.0}
        settings = settings.model_copy(
            update={key: value for key, value in whole.items() if key not in settings.model_fields_set}
        )
    voice = voices.choose(settings)
    voices.check(voice, sound=args.to_file is None and args.say is None)
    with Stopper() as stopper:
        if args.say is not None:
            _say_once(voice, args, stopper.stop)
            return stopper.exit_code
        session = SpeechSession(
            voice, Policy(settings, names), settings, folder=args.to_file, log=args.log, state=args.state,
            since=subscriber_options.since_of(args),
        )  # fmt: skip
        publisher = subscriber_options.publisher_of(args)
        with session, publisher.subscriber(TOPICS, session.since) as subscriber:
            session.subscriber = subscriber
            where = "aloud" if args.to_file is None else f"into {args.to_file}"
            print_line(f"listening to {args.endpoint}, speaking {where} ({voice.name})")
            narrate(subscriber, session.policy, session.heard, stopper.stop, args.duration)
        return stopper.exit_code


def _say_once(voice: voices.Voice, args: argparse.Namespace, stop: threading.Event) -> None:
    text = plain(args.say)
    if args.to_file is None:
        voices.speak(voice, text, stop)
    else:
        args.to_file.mkdir(parents=True, exist_ok=True)
        voices.write(voice, text, args.to_file / "say.wav", stop)
