"""From where on events are wanted, as people and programs say it; and text that terminals can stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias

from streamer.errors import BusError

# "seq", number, session and history that gave it out, where we are in other histories, and from when on
# events of unknown histories are wanted; goes through JSON
Position: TypeAlias = tuple[str, int, str, str, Sequence[tuple[str, int, str]], float | None]
Since: TypeAlias = float | tuple[str, int] | Position | None

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def parse_time(text: str, now: float) -> float:
    """Unix seconds of "2h" (ago; s, m, h, d, w), "2026-01-31 14:00" (local time), or Unix seconds themselves.

    Raises BusError.
    """
    text = text.strip()
    if found := _AGO.fullmatch(text):
        return max(0.0, now - float(found[1]) * _UNITS[found[2]])
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):
        pass
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e12:
        raise BusError(
            f"{text!r} is no point in time: write 90s, 15m, 2h, 3d, '2026-01-31 14:00' or Unix seconds"
        )
    return seconds


def parse_since(text: str, now: float) -> float | tuple[str, int]:
    """As `parse_time`, or ("seq", n) of "seq:n": behind the event message with number n. Raises BusError."""
    if text.startswith("seq:"):
        if not re.fullmatch(r"\d{1,18}", text[4:]):
            raise BusError(f"{text!r} needs a whole number, as in seq:1234")
        return "seq", int(text[4:])
    return parse_time(text, now)


def printable(text: str) -> str:
    """Without control characters: a label or a camera's name must not steer somebody's terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def clock_time(unix: float) -> str:
    """14:03:59, local time."""
    return datetime.fromtimestamp(unix).strftime("%H:%M:%S")


def check_since(since: Since) -> float | None:
    """The time in `since`, if there is one. Raises BusError for what is no `since`."""
    if since is None:
        return None
    if isinstance(since, tuple | list):
        if _is_position(since):
            return since[5] if len(since) == 6 else None
    elif isinstance(since, int | float) and 0 <= since < 1e15:
        return float(since)
    raise BusError(
        f"since={since!r} is neither Unix seconds nor ('seq', NUMBER) as Subscriber.position gives it"
    )


def _is_position(since: Sequence[Any]) -> bool:
    def good(seq: object, *names: object) -> bool:
        whole = isinstance(seq, int) and not isinstance(seq, bool) and seq >= 0
        return whole and all(isinstance(name, str) for name in names)

    if len(since) not in (2, 6) or since[0] != "seq":
        return False
    others, start = since[4:] if len(since) == 6 else ((), None)
    return (
        good(*since[1:4])
        and (start is None or (isinstance(start, int | float) and 0 <= start < 1e15))
        and isinstance(others, tuple | list)
        and all(
            isinstance(other, tuple | list) and len(other) == 3 and good(other[1], other[0], other[2])
            for other in others
        )
    )
