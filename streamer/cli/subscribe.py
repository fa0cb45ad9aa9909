"""`streamer subscribe`: shows what a publisher says, for people or as JSON lines for programs."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
import time
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import Any

from streamer.bus.messages import (
    EventMessage,
    Gap,
    HeartbeatMessage,
    Message,
    PredictionMessage,
    PreviewMessage,
    StatusMessage,
)
from streamer.bus.position import Position
from streamer.bus.subscriber import Subscriber
from streamer.cli import subscriber_options
from streamer.errors import BusError
from streamer.subscribers.state_file import StateFile
from streamer.system.log_rate_limit import LogLimit
from streamer.system.signals import Stopper
from streamer.system.terminal_text import printable, printable_json

NOTHING_HEARD = 3  # exit code: --timeout passed, and the publisher was never heard
MOST_HELD = 1000  # messages
USUAL = ["event/", "status/"]
_WAIT = 0.5  # seconds between two looks at whether the publisher is still there


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer subscribe`."""
    subscriber_options.add_publisher(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, as it was sent")
    parser.add_argument(
        "--topic", action="append", default=[], metavar="PREFIX",
        help="event/, prediction/NAME/, status/, ...; several times; '' is all (default: event/ and status/;"
        " as text without events that mean no action)",
    )  # fmt: skip
    parser.add_argument(
        "--since", metavar="WHEN",
        help="events from there on, complete: 90s, 15m, 2h, 3d ago, a date, Unix seconds, or seq:NUMBER",
    )  # fmt: skip
    parser.add_argument(
        "--state", metavar="FILE", help="remembers which events were shown, and resumes after them next time"
    )
    parser.add_argument("--timeout", type=float, metavar="S", help="end after so many seconds of silence")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many messages")


def run(args: argparse.Namespace) -> int:
    """Print messages until asked to stop; returns the exit code. Raises BusError for the command line to
    print.
    """
    for name, value in (("--timeout", args.timeout), ("--count", args.count)):
        if value is not None and not value > 0:
            raise BusError(f"{name} {value:g}: must be more than 0")
    since = None if args.since is None else Position.parse(args.since, time.time())
    with contextlib.ExitStack() as stack:
        stopper = stack.enter_context(Stopper())
        state = None
        if args.state is not None:
            start = since or Position.at(time.time())
            state = StateFile(Path(args.state).expanduser(), start, on_problem=_to_stderr)
            stack.callback(state.close)
            since = state.position
        subscriber = stack.enter_context(
            Subscriber(
                args.endpoint, topics=args.topic or USUAL, since=since, requests=args.requests, keys=args.keys
            )
        )
        return _follow(subscriber, state, args, stopper.stop) or stopper.exit_code


def _follow(
    subscriber: Subscriber, state: StateFile | None, args: argparse.Namespace, stop: threading.Event
) -> int:
    heard, said_lost, shown, invalid = False, False, 0, 0
    limit = LogLimit(_to_stderr)
    quiet_since = time.monotonic()
    present: deque[Message] = deque(maxlen=MOST_HELD)  # what came live while the past is still being told
    while not stop.is_set() and (args.count is None or shown < args.count):
        message = None
        if present and subscriber.caught_up:
            message = present.popleft()
        else:
            message = subscriber.receive(_WAIT if args.timeout is None else min(_WAIT, args.timeout))
            if (
                message is not None
                and not subscriber.caught_up
                and not isinstance(message, EventMessage | Gap)
            ):
                present.append(message)
                continue
        now = time.monotonic()
        heard = heard or subscriber.connected
        if subscriber.connected:
            said_lost = _report_change(said_lost, False, f"{subscriber.endpoint} is there again")
        elif now - quiet_since > 3:
            said_lost = _report_change(said_lost, True, f"{subscriber.endpoint} is silent; waiting for it")
        if subscriber.invalid > invalid:
            invalid = subscriber.invalid
            limit(
                "invalid", f"{subscriber.endpoint}: {invalid} message(s) that no streamer sends were skipped"
            )
        if message is None:
            if args.timeout is not None and now - quiet_since >= args.timeout:
                if not heard:
                    print(f"nothing was heard from {subscriber.endpoint}", file=sys.stderr)
                return 0 if heard else NOTHING_HEARD
            continue
        quiet_since = now
        pictures = any(topic.startswith("preview/") for topic in args.topic)  # asked for by name
        line = as_json(message, pictures) if args.json else as_text(message)
        if not args.json and not args.topic and isinstance(message, EventMessage) and message.background:
            line = None  # no action is no news, unless events are asked for by name
        if line is not None:
            print(line, flush=True)
            shown += 1
        if state is not None:
            state.move(subscriber.position)
            state.tick()
    return 0


def _report_change(before: bool, now: bool, line: str) -> bool:
    if before != now:
        _to_stderr(line)
    return now


def _to_stderr(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)


def as_json(message: Message, pictures: bool = False) -> str:
    """The object as it was sent; a gap as {"type": "gap", "kind", "first", "last", "reason"}; a preview
    without its picture unless `pictures`.
    """
    raw: Any = message.raw
    if isinstance(message, PreviewMessage) and not pictures:
        raw = {key: value for key, value in raw.items() if key != "jpeg"} | {"bytes": len(message.jpeg)}
    if isinstance(message, Gap):
        raw = {"type": "gap", "kind": message.kind, "first": message.first, "last": message.last,
               "reason": message.reason}  # fmt: skip
    return printable_json(json.dumps(raw, ensure_ascii=False))


def as_text(message: Message) -> str | None:
    """One line for people; None for what they need not see (heartbeats)."""
    if isinstance(message, HeartbeatMessage):
        return None
    if isinstance(message, Gap):
        return f"-------- {message.count} {message.kind} message(s) missing ({message.reason})"
    what = _what(message)
    if isinstance(message, PredictionMessage | EventMessage) and message.track is not None:
        what = f"person {message.track.id}: {what}"
    camera = getattr(message, "camera", message.type)
    clock = datetime.fromtimestamp(message.sent_at).strftime("%H:%M:%S")  # local time
    return printable(f"{clock} {camera}: {what}")


def _what(message: Message) -> str:
    if isinstance(message, PredictionMessage):
        best = ", ".join(f"{item.label} {item.score:.2f}" for item in message.top[:3])
        return f"{best} (stable: {message.stable.label if message.stable else 'unknown'})"
    if isinstance(message, EventMessage):
        if message.phase == "start":
            return f"{message.label} started ({message.score:.2f})"
        if message.phase == "end" and message.ended_at is not None:
            why = f", {message.reason}" if message.reason else ""
            lasted = message.ended_at - message.started_at
            return f"{message.label} ended after {lasted:.1f} s (peak {message.peak:.2f}{why})"
        return f"{message.label} lasts ({message.score:.2f})"
    if isinstance(message, PreviewMessage):
        return f"preview {message.width}x{message.height}, {len(message.jpeg) / 1000:.0f} kB"
    if isinstance(message, StatusMessage):
        rate = "" if message.fps is None else f", {message.fps:.1f} fps"
        rate += "" if message.following is None else f", {message.following} followed"
        return f"{message.state}{rate}{', ' if message.detail else ''}{message.detail}"
    return f"{message.type} message {message.seq if not isinstance(message, Gap) else ''}"
