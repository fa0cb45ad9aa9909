"""`streamer captions`: what happens as large calm text, or as lines for screen readers and braille."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path

from streamer.bus.messages import Message
from streamer.bus.subscriber import Subscriber
from streamer.cli import subscriber_options
from streamer.errors import ConfigError
from streamer.subscribers.captions.lines import LEAST_WIDTH, LineWriter
from streamer.subscribers.narration.narrate import TOPICS, narrate
from streamer.subscribers.narration.policy import Policy, Utterance
from streamer.subscribers.stderr_lines import print_line
from streamer.system.signals import Stopper

HOLD = 3.0  # seconds that a caption stands at least


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer captions`."""
    subscriber_options.add_narration(parser)
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
    """Show captions until asked to stop; returns the exit code."""
    _check(args)
    settings, names = subscriber_options.narration_of(args)
    policy = Policy(settings, names, quiet=False)  # text wakes nobody
    lines = args.lines or not (args.screen or _is_screen())
    since = subscriber_options.since_of(args)
    with (
        Stopper() as stopper,
        subscriber_options.publisher_of(args).subscriber(TOPICS, since) as subscriber,
    ):
        if lines:
            print_line(f"listening to {args.endpoint}")
            _lines(args, subscriber, policy, stopper.stop)
        else:
            _screen(args, subscriber, policy, stopper.stop)
    return stopper.exit_code


def _check(args: argparse.Namespace) -> None:
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


def _lines(args: argparse.Namespace, subscriber: Subscriber, policy: Policy, stop: threading.Event) -> None:
    writer = LineWriter(sys.stdout, args.width, times=args.time)

    def heard(_message: Message | None, utterances: list[Utterance]) -> None:
        for utterance in utterances:
            if utterance.left_out is None:
                writer.write(utterance)

    narrate(subscriber, policy, heard, stop, args.duration)


def _screen(args: argparse.Namespace, subscriber: Subscriber, policy: Policy, stop: threading.Event) -> None:
    from rich.console import Console

    from streamer.subscribers.captions.caption_board import CaptionBoard
    from streamer.subscribers.captions.captions_screen import CaptionScreen

    board = CaptionBoard(args.hold)
    font = None if args.font is None else str(args.font)
    with CaptionScreen(Console(), big=not args.plain_letters, font=font) as screen:

        def heard(_message: Message | None, utterances: list[Utterance]) -> None:
            for utterance in utterances:
                if utterance.left_out is None:
                    board.offer(utterance)
            screen.show(board.view())

        narrate(subscriber, policy, heard, stop, args.duration)
