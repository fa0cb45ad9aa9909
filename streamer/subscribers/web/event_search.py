"""Searching the publisher's history, newest first.

The publisher gives the history out from a time on, oldest first. Newest first is made of that by reading
slices of time backwards, each longer than the one before, until enough is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamer.bus.messages import EventMessage, parse_events
from streamer.errors import BusError
from streamer.subscribers.web.page_state import Json, record_of
from streamer.subscribers.web.publisher_requests import AskPublisher

FIRST_SLICE, LONGEST_SLICE = 600.0, 30 * 86400.0  # seconds
SHORTEST_SLICE = 0.5
MOST_REQUESTS = 24  # for one search; then the reader is asked whether to look further back
MOST_ROWS = 10_000  # phases in one slice; a slice with more is read in parts
PAGE = 2500
LONGEST_WORD = 200  # characters


class SearchError(ValueError):
    """A search that makes no sense; the text is for people."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for; times in Unix seconds, `until` not included."""

    camera: str | None = None
    label: str | None = None
    text: str = ""
    since: float = 0.0
    until: float | None = None
    limit: int = 50

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Query:
        """From a request's parameters; empty ones count as absent. Raises SearchError."""
        given = {key: value for key, value in fields.items() if value.strip()}
        for key, value in given.items():
            if len(value) > LONGEST_WORD:
                raise SearchError(f"{key} has more than {LONGEST_WORD} characters")
        until = _number(given, "until", 0.0, 1e12) if "until" in given else None
        return cls(
            given.get("camera"),
            given.get("label"),
            given.get("text", "").strip(),
            _number(given, "since", 0.0, 1e12),
            until,
            int(_number(given, "limit", 50, 200)) or 1,
        )

    def finds(self, told: Json) -> bool:
        """Whether an event has the words that are looked for; "no action" is found only where it is named."""
        if told["background"] and not (self.label or self.text):
            return False
        words = (told["camera"], told["label"], told["display"], told["reason"] or "")
        return self.text.casefold() in "\n".join(words).casefold()


def _number(fields: Mapping[str, str], key: str, default: float, highest: float) -> float:
    try:
        value = float(fields.get(key, default))
    except ValueError:
        raise SearchError(f"{key} must be a number") from None
    if not 0 <= value <= highest:
        raise SearchError(f"{key} must be a number from 0 to {highest:g}")
    return value


class Search:
    """One search. Raises BusError where the publisher does not answer."""

    def __init__(self, ask: AskPublisher, query: Query) -> None:
        self._ask, self._query = ask, query
        self._requests = 0

    async def run(self, now: float) -> Json:
        """`events`, newest first, and `next`: give it as `until` to go on; None where nothing is older."""
        query = self._query
        upper = now + 60.0 if query.until is None else query.until  # clocks of two machines differ
        lowest = max(query.since, await self._oldest())
        found: dict[str, Json] = {}
        span = FIRST_SLICE
        while upper > lowest and len(found) < query.limit and self._requests < MOST_REQUESTS:
            lower = max(lowest, upper - span)
            rows = await self._slice(lower, upper)
            if rows is None and upper - lower > SHORTEST_SLICE:
                span = (upper - lower) / 4
                continue
            for told in rows or ():
                found.setdefault(told["id"], told)
            upper, span = lower, min(span * 3, LONGEST_SLICE)
        kept = sorted(found.values(), key=lambda told: (told["sent_at"], told["seq"]), reverse=True)
        if len(kept) > query.limit:
            upper = kept[query.limit - 1]["sent_at"]
            kept = [told for told in kept if told["sent_at"] >= upper]  # none that has the same time is lost
        if query.until is not None:
            kept = [await self._ended(told) for told in kept]
        return {"events": kept, "next": upper if upper > lowest else None}

    async def _oldest(self) -> float:
        first = await self._events(since=0, limit=1)
        return first[0].sent_at if first else float("inf")

    async def _slice(self, lower: float, upper: float) -> list[Json] | None:
        """The events of which something was said from `lower` until `upper`; None where they are too many."""
        found: dict[str, Json] = {}
        asked: dict[str, Any] = {"since": lower}
        rows = 0
        while True:
            messages = await self._events(**self._filter(), **asked, limit=PAGE)
            for message in messages:
                if message.sent_at < upper:
                    found[message.id] = record_of(message)
            rows += len(messages)
            behind = asked.get("after", -1)
            if not messages or not self._more or messages[-1].sent_at >= upper or messages[-1].seq <= behind:
                return [told for told in found.values() if self._query.finds(told)]
            if rows >= MOST_ROWS and upper - lower > SHORTEST_SLICE:
                return None
            asked = {"after": messages[-1].seq}

    async def _ended(self, told: Json) -> Json:
        """An event that went on beyond the time looked at, with its end."""
        if told["phase"] == "end" or self._requests >= MOST_REQUESTS + 8:
            return told
        same = {"camera": told["camera"], "label": told["label"]}
        later = await self._events(after=told["seq"], **same, limit=PAGE)
        newest = [message for message in later if message.id == told["id"]]
        return record_of(newest[-1]) if newest else told

    def _filter(self) -> dict[str, str]:
        given = {"camera": self._query.camera, "label": self._query.label}
        return {key: value for key, value in given.items() if value is not None}

    async def _events(self, **fields: Any) -> list[EventMessage]:
        self._requests += 1
        reply = await self._ask("events", **fields)
        try:
            page = parse_events(reply)
        except ValueError as error:
            raise BusError(f"the publisher's history cannot be understood: {error}") from error
        self._more = page.more
        return list(page.events)
