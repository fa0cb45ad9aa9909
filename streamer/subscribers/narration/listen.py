"""Listening, for speech and captions alike: options, the loop around the subscriber, and ending in time."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from streamer.bus import endpoints
from streamer.bus.messages import Message
from streamer.bus.position import Position
from streamer.bus.subscriber import Subscriber
from streamer.errors import ConfigError
from streamer.labels.label_files import load_labels
from streamer.labels.label_set import LabelSet
from streamer.subscribers.narration.policy import Policy, Utterance
from streamer.subscribers.narration.settings import Settings, load_settings

LOOK = 0.25  # seconds between two looks at the time
TOPICS = ["event/", "status/", "heartbeat/"]  # which tell the cameras and the publisher's clock
INTERRUPTED = 130

Heard = Callable[[Message | None, list[Utterance]], None]


@dataclass
class Ending:
    """Whether to end, and with which exit code."""

    asked: threading.Event = field(default_factory=threading.Event)
    code: int = 0


@contextmanager
def ending() -> Iterator[Ending]:
    """SIGINT and SIGTERM ask for the end once; a second one is for who does not want to wait."""
    end = Ending()
    before: dict[int, Any] = {}

    def ask(number: int, _frame: Any) -> None:
        end.code = INTERRUPTED if number == signal.SIGINT else 0
        end.asked.set()
        signal.signal(number, before[number])

    for wanted in (signal.SIGINT, signal.SIGTERM):
        before[wanted] = signal.signal(wanted, ask)
    try:
        yield end
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that speech and captions share."""
    parser.add_argument(
        "endpoint", nargs="?", default=endpoints.DEFAULT, help=f"of the publisher ({endpoints.DEFAULT})"
    )
    parser.add_argument("--config", metavar="FILE", help="settings, such as configs/speak.yaml")
    parser.add_argument("--language", metavar="CODE", help="en, tr, ar: of the sentences and the voice (en)")
    parser.add_argument("--camera", action="append", metavar="NAME", help="this one only; several times")
    parser.add_argument("--camera-names", choices=("auto", "always", "never"),
                        help="begin with the camera's name: auto = where there are several")  # fmt: skip
    parser.add_argument("--verbosity", choices=("brief", "normal", "full"),
                        help="brief: starts; normal: and ends; full: and that it goes on")  # fmt: skip
    parser.add_argument("--repeat-after", type=float, metavar="S",
                        help="the same sentence not again within so many seconds (60)")  # fmt: skip
    parser.add_argument("--fresh", type=float, metavar="S", help="nothing older (15); 0: however old")
    parser.add_argument("--since", metavar="WHEN", help="from there on: 90s, 15m, 2h ago, a date, seq:NUMBER")
    parser.add_argument("--requests", metavar="ENDPOINT", help="where requests are answered (the next port)")
    parser.add_argument("--keys", metavar="FOLDER", help="with client.key_secret and server.key")
    parser.add_argument("--duration", type=float, metavar="S", help="end after so many seconds")


def settings_of(args: argparse.Namespace, *more: str) -> tuple[Settings, LabelSet]:
    """The settings, and the sentences of their language. Raises ConfigError."""
    names = ("language", "camera_names", "verbosity", "repeat_after", "fresh", *more)
    options = {name: getattr(args, name) for name in names}
    options["camera"] = None if args.camera is None else tuple(args.camera)
    settings = load_settings(args.config, options)
    return settings, load_labels(settings.language, settings.label_set)


def since_of(args: argparse.Namespace) -> Position | None:
    """From where on, as written. Raises BusError."""
    return None if args.since is None else Position.parse(args.since, time.time())


def check_duration(args: argparse.Namespace) -> None:
    """Raises ConfigError."""
    if args.duration is not None and not args.duration > 0:
        raise ConfigError(f"--duration {args.duration:g}: must be more than 0")


def follow(subscriber: Subscriber, policy: Policy, heard: Heard, end: Ending, duration: float | None) -> None:
    """Receive until the end is asked for; `heard` gets each message (None: time passed) and what it means."""
    stop = None if duration is None else time.monotonic() + duration
    next_look = 0.0
    while not end.asked.is_set():
        now = time.monotonic()
        if stop is not None and now >= stop:
            return
        message = subscriber.receive(LOOK if stop is None else min(LOOK, max(0.0, stop - now)))
        if message is not None:
            heard(message, policy.message(message))
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + LOOK
            heard(None, policy.tick(subscriber.connected))


def tell(line: str) -> None:
    """A line for people beside the product."""
    print(line, file=sys.stderr, flush=True)
