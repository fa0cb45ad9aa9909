"""`streamer captions`: what happens as large calm text, or as lines for screen readers and braille."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from streamer.bus.messages import Message
from streamer.bus.pipes import quiet_end
from streamer.bus.subscriber import Subscriber
from streamer.errors import ConfigError
from streamer.subscribers.captions.lines import LEAST_WIDTH, LineWriter
from streamer.subscribers.narration import listen
from streamer.subscribers.narration.policy import Policy, Utterance

HOLD = 3.0  # seconds that a caption stands at least


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer captions`."""
    listen.add_arguments(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--lines", action="store_true",
                     help="one sentence a line, no redraw, no control codes (the default where stdout is no "
                          "terminal)")  # fmt: skip
    how.add_argument("--screen", action="store_true", help="the whole terminal (the default on a terminal)")
    parser.add_argument("--width", type=int, metavar="N",
                        help="lines: broken between words to so many characters (braille: 40)")  # fmt: skip
    parser.add_argument("--time", action="store_true", help="lines: begin with the time")
    parser.add_argument("--hold", type=float, default=HOLD, metavar="S",
                        help=f"screen: a caption stands for at least so long ({HOLD:g})")  # fmt: skip
    parser.add_argument("--plain-letters", action="store_true",
                        help="screen: the terminal's own letters, not large ones made of blocks")  # fmt: skip
    parser.add_argument("--font", type=Path, metavar="FILE", help="screen: a TrueType font for large letters")


def run(args: argparse.Namespace) -> int:
    """Show captions until told to end; returns the exit code."""
    _check(args)
    settings, names = listen.settings_of(args)
    policy = Policy(settings, names, quiet=False)  # text wakes nobody
    lines = args.lines or not (args.screen or _is_screen())
    since = listen.since_of(args)
    with (
        listen.ending() as end,
        quiet_end() as ended,
        Subscriber(
            args.endpoint, topics=listen.TOPICS, since=since, requests=args.requests, keys=args.keys
        ) as subscriber,
    ):
        if lines:
            listen.tell(f"listening to {args.endpoint}")
            _lines(args, subscriber, policy, end)
        else:
            _screen(args, subscriber, policy, end)
    return end.code or ended.code


def _check(args: argparse.Namespace) -> None:
    listen.check_duration(args)
    if args.width is not None and args.width < LEAST_WIDTH:
        raise ConfigError(f"--width {args.width}: must be at least {LEAST_WIDTH}")
    if not 0 <= args.hold <= 60:
        raise ConfigError(f"--hold {args.hold:g}: must be 0 to 60")
    if args.font is not None and not args.font.is_file():
        raise ConfigError(f"--font {args.font}: no such file")
    if args.screen and not sys.stdout.isatty():
        raise ConfigError("--screen: stdout is no terminal; leave it out for lines")


def _is_screen() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def _lines(args: argparse.Namespace, subscriber: Subscriber, policy: Policy, end: listen.Ending) -> None:
    writer = LineWriter(sys.stdout, args.width, times=args.time)

    def heard(_message: Message | None, utterances: list[Utterance]) -> None:
        for utterance in utterances:
            if utterance.left_out is None:
                writer.write(utterance)

    listen.follow(subscriber, policy, heard, end, args.duration)


def _screen(args: argparse.Namespace, subscriber: Subscriber, policy: Policy, end: listen.Ending) -> None:
    from rich.console import Console

    from streamer.subscribers.captions.board import Board
    from streamer.subscribers.captions.captions_screen import Screen

    board = Board(args.hold)
    font = None if args.font is None else str(args.font)
    with Screen(Console(), big=not args.plain_letters, font=font) as screen:

        def heard(_message: Message | None, utterances: list[Utterance]) -> None:
            for utterance in utterances:
                if utterance.left_out is None:
                    board.offer(utterance)
            screen.show(board.view())

        listen.follow(subscriber, policy, heard, end, args.duration)
