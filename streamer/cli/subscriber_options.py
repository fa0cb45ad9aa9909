"""Options shared by the commands that follow a publisher, and what is read from them."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from streamer.bus import endpoints
from streamer.bus.position import Position
from streamer.errors import ConfigError
from streamer.subscribers.publisher_address import PublisherAddress

if TYPE_CHECKING:
    from streamer.labels.label_set import LabelSet
    from streamer.subscribers.event_filter import EventFilter
    from streamer.subscribers.narration.settings import Settings


def add_publisher(parser: argparse.ArgumentParser) -> None:
    """Which publisher to follow, and how."""
    parser.add_argument(
        "endpoint", nargs="?", default=endpoints.DEFAULT, help=f"of the publisher ({endpoints.DEFAULT})"
    )
    parser.add_argument("--requests", metavar="ENDPOINT", help="where requests are answered (the next port)")
    parser.add_argument("--keys", metavar="FOLDER", help="with client.key_secret and server.key")


def publisher_of(args: argparse.Namespace) -> PublisherAddress:
    """The publisher that the options name."""
    return PublisherAddress(args.endpoint, args.requests, args.keys)


def add_delivery(parser: argparse.ArgumentParser) -> None:
    """What commands share that deliver every event: the publisher, and where to go on in its history."""
    add_publisher(parser)
    parser.add_argument(
        "--state", metavar="FILE", help="remembers what was delivered (one in your state folder)"
    )
    parser.add_argument(
        "--since", metavar="WHEN",
        help="where to begin the first time (now): 15m, 2h, 3d ago, a date, or seq:NUMBER; later the state"
        " file decides",
    )  # fmt: skip


def add_filter(parser: argparse.ArgumentParser, phases: str) -> None:
    """Which events are carried on; `phases`: those of them where nothing is said."""
    _add_subjects(parser)
    parser.add_argument("--phase", default=phases, metavar="LIST", help=f"of start,update,end ({phases})")


def _add_subjects(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--label", action="append", metavar="LABEL",
        help="only events of this label, the model's or its display name; may be repeated (all but those that"
        " mean no action)",
    )  # fmt: skip
    parser.add_argument("--camera", action="append", metavar="NAME", help="only this camera; may be repeated")


def filter_of(args: argparse.Namespace) -> EventFilter:
    """The events that the options of `add_filter` want. Raises ConfigError."""
    from streamer.subscribers.event_filter import PHASES, EventFilter

    phases = tuple(word.strip() for word in args.phase.split(",") if word.strip())
    if not phases or not set(phases) <= set(PHASES):
        raise ConfigError(f"--phase {args.phase!r}: write some of {','.join(PHASES)}")
    return EventFilter(tuple(args.camera or ()), tuple(args.label or ()), phases)


def since_of(args: argparse.Namespace) -> Position | None:
    """From where on events are wanted; None where nothing was said. Raises BusError."""
    return None if args.since is None else Position.parse(args.since, time.time())


def since_or_now(args: argparse.Namespace) -> Position:
    """As `since_of`, but from now on where nothing was said. Raises BusError."""
    now = time.time()
    return Position.at(now) if args.since is None else Position.parse(args.since, now)


def add_narration(parser: argparse.ArgumentParser) -> None:
    """What speech and captions share: the publisher, and what is said."""
    add_publisher(parser)
    parser.add_argument("--config", metavar="FILE", help="settings, such as configs/speak.yaml")
    parser.add_argument("--language", metavar="CODE", help="en, tr, ar: of the sentences and the voice (en)")
    _add_subjects(parser)
    parser.add_argument("--camera-names", choices=("auto", "always", "never"),
                        help="begin with the camera's name: auto = where there are several")  # fmt: skip
    parser.add_argument("--verbosity", choices=("brief", "normal", "full"),
                        help="brief: starts; normal: and ends; full: and that it still lasts")  # fmt: skip
    parser.add_argument("--repeat-after", type=float, metavar="S",
                        help="the same sentence not again within so many seconds (60)")  # fmt: skip
    parser.add_argument("--fresh", type=float, metavar="S", help="nothing older (15); 0: however old")
    parser.add_argument("--since", metavar="WHEN", help="from there on: 90s, 15m, 2h ago, a date, seq:NUMBER")
    parser.add_argument("--duration", type=float, metavar="S", help="end after so many seconds")


def narration_of(args: argparse.Namespace, *more: str) -> tuple[Settings, LabelSet]:
    """What is told, and the sentences of its language; `more`: further options that are settings.

    Raises ConfigError.
    """
    from streamer.labels.label_files import load_labels
    from streamer.subscribers.narration.settings import load_settings

    if args.duration is not None and not args.duration > 0:
        raise ConfigError(f"--duration {args.duration:g}: must be more than 0")
    names = ("language", "camera_names", "verbosity", "repeat_after", "fresh", *more)
    options = {name: getattr(args, name) for name in names}
    for name in ("camera", "label"):
        given = getattr(args, name)
        options[name] = None if given is None else tuple(given)
    settings = load_settings(args.config, options)
    return settings, load_labels(settings.language, settings.label_set)
