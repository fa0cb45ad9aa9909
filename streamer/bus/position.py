"""Where in a publisher's events somebody is: as a value, as JSON, and as people and programs write it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from streamer.errors import BusError

LARGEST_SEQ = 2**63 - 1  # SQLite's
LATEST = 1e15  # Unix seconds

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_AGO = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*([smhdw])")
_CURSOR = re.compile(r"(\d{1,18})-([\w.:+]{1,64})-([\w.:+]{0,64})")


class Position(NamedTuple):
    """Either behind an event's number (`by` is "seq"), or at a point in time ("time").

    A tuple, so that `json.dumps` writes it as it is; `Position.of` reads that again, after years too.
    """

    by: str
    seq: int = 0  # everything up to here was dealt with
    session: str = ""  # that gave out the number; "" = unknown
    journal: str = ""  # the history in which it counts; "" = unknown
    elsewhere: tuple[tuple[str, int, str], ...] = ()  # in other histories: (journal, seq, session)
    start: float | None = None  # Unix seconds from which on events of unknown histories are wanted

    @classmethod
    def at(cls, unix: float) -> Position:
        """From a point in time on (Unix seconds)."""
        return cls("time", start=unix)

    @classmethod
    def of(cls, given: Since) -> Position:
        """The position in what a caller gave or a file kept. Raises BusError for anything else."""
        if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < LATEST:
            return cls.at(float(given))
        if isinstance(given, tuple | list):
            position = _read(given)
            if position is not None:
                return position
        raise BusError(
            f"since={_shown(given)} is neither Unix seconds nor ('seq', NUMBER), as"
            " Subscriber.position gives it"
        )

    @classmethod
    def parse(cls, text: str, now: float) -> Position:
        """As people write it: "seq:1234" (behind that event), or a point in time as `parse_time` reads it.

        Raises BusError.
        """
        if not text.startswith("seq:"):
            return cls.at(parse_time(text, now))
        if not re.fullmatch(r"[0-9]{1,18}", text[4:]):
            raise BusError(f"{text[:80]!r} needs a whole number, as in seq:1234")
        return cls("seq", int(text[4:]))

    @property
    def as_json(self) -> Position | float:
        """What a file keeps: Unix seconds for a point in time, as versions before this one read it."""
        return self if self.by == "seq" or self.start is None else self.start

    @property
    def cursor(self) -> str:
        """Number, session and history in one word, for the `id` of a server-sent event."""
        return f"{self.seq}-{self.session}-{self.journal}"

    @classmethod
    def of_cursor(cls, text: str | None) -> Position | None:
        """What `cursor` made of a publisher's own words; None for anything else."""
        found = None if text is None else _CURSOR.fullmatch(text)
        return None if found is None else cls("seq", int(found[1]), found[2], found[3])


# what callers may give: a position, its JSON, ("seq", number), or Unix seconds
Since: TypeAlias = Position | float | Sequence[Any]


def _read(given: Sequence[Any]) -> Position | None:
    """`("seq", n)` or all six; None where it is neither."""
    if len(given) not in (2, 6) or given[0] not in ("seq", "time"):
        return None
    by, seq, session, journal, elsewhere, start = (*given, "", "", (), None) if len(given) == 2 else given
    if not (isinstance(elsewhere, tuple | list) and _is_place(journal, seq, session) and _is_start(start)):
        return None
    others = []
    for other in elsewhere:
        if not (isinstance(other, tuple | list) and len(other) == 3 and _is_place(*other)):
            return None
        others.append((other[0], other[1], other[2]))
    if by == "time" and start is None:
        return None
    return Position(by, seq, session, journal, tuple(others), start)


def _is_place(journal: object, seq: object, session: object) -> bool:
    whole = isinstance(seq, int) and not isinstance(seq, bool) and 0 <= seq <= LARGEST_SEQ
    return whole and isinstance(journal, str) and isinstance(session, str)


def _is_start(start: object) -> bool:
    return start is None or (isinstance(start, int | float) and 0 <= start < LATEST)


def _shown(given: object) -> str:
    text = repr(given)
    return text if len(text) <= 80 else f"{text[:77]}..."


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
            f"{text[:80]!r} is no point in time: write 90s, 15m, 2h, 3d, '2026-01-31 14:00' or Unix seconds"
        )
    return seconds
