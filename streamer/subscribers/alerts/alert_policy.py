"""When somebody is told of an event, and when events are summed up instead. Pure: no clock, no sockets.

The first event of a camera and an action is told at once. Further ones within `every` seconds are counted,
and told as one: "waving 12 times in 5 minutes". In quiet hours, above `most` in an hour, and where events are
old news (the service, or this program, was away), everything is counted in the same way. What is `always`
told is never held back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any

from streamer.system.terminal_text import printable

HOUR = 3600.0
SETTLE = 5.0  # seconds in which old events come together, before they are told
MOST_SUMS = 500  # pairs of camera and action that are counted


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `begin` until `end` by the local clock; over midnight where `end` is the earlier one."""

    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> QuietHours:
        """From `22:00-07:00`. Raises ValueError."""
        begin, _, end = text.partition("-")
        made = cls(time.fromisoformat(begin.strip()), time.fromisoformat(end.strip()))
        if made.begin == made.end or made.begin.tzinfo or made.end.tzinfo:
            raise ValueError("no hours at all")
        return made

    def holds(self, unix: float) -> bool:
        now = datetime.fromtimestamp(unix).time()
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end


@dataclass(frozen=True, slots=True)
class AlertRules:
    """How often somebody is told (seconds)."""

    every: float = 300.0  # between two notifications of one action of one camera
    most: int = 20  # notifications in an hour, of everything together
    fresh: float = 600.0  # events older than this are counted, not told one by one
    quiet: QuietHours | None = None
    always: tuple[str, ...] = ()  # labels that are never held back


@dataclass(frozen=True, slots=True)
class Happening:
    """An event, as far as notifications care."""

    camera: str
    label: str
    display: str
    at: float  # Unix seconds of its start
    event_id: str
    peak: float
    phase: str = "start"
    lasted: float | None = None  # seconds, of one that has ended


@dataclass(frozen=True, slots=True)
class Notice:
    """What is sent: a title, a text, and the event whose picture belongs to it."""

    title: str
    text: str
    happening: Happening | None = None
    urgent: bool = False


@dataclass(slots=True)
class _Sum:
    """Events of one camera and action that nobody was told of yet."""

    display: str
    count: int
    since: float  # of the first event, Unix seconds
    until: float  # and of the last
    counted_at: float  # since when there is something to tell, Unix seconds


@dataclass(slots=True)
class AlertPolicy:
    """`take` each event, `due` now and then: both return what is to be sent. `kept` survives a restart."""

    rules: AlertRules
    _told: dict[tuple[str, str], float] = field(default_factory=dict)  # camera, label -> when, Unix seconds
    _sums: dict[tuple[str, str], _Sum] = field(default_factory=dict)
    _recent: deque[float] = field(default_factory=deque)  # notifications of the last hour

    def take(self, happening: Happening, now: float) -> list[Notice]:
        """An event has begun (or ended); `now` is Unix seconds."""
        key = happening.camera, happening.label
        always = bool({happening.label, happening.display} & set(self.rules.always))
        held = (
            self._is_quiet(now)
            or now - happening.at > self.rules.fresh
            or self._is_told(key, now)
            or not self._has_room(now)
        )
        if always or not held:
            self._tell(key, now)
            self._recent.append(now)
            return [_of_one(happening, urgent=always)]
        counted = self._sums.get(key)
        if counted is None:
            if len(self._sums) >= MOST_SUMS:
                key = happening.camera, ""
                counted = self._sums.get(key)
            if counted is None:
                name = happening.display if key[1] else "other actions"
                counted = self._sums[key] = _Sum(name, 0, happening.at, happening.at, now)
        counted.count += 1
        counted.since, counted.until = min(counted.since, happening.at), max(counted.until, happening.at)
        return []

    def due(self, now: float) -> list[Notice]:
        """Sums whose time has come, as one notification."""
        if self._is_quiet(now) or not self._has_room(now):
            return []
        ready = [key for key, one in self._sums.items() if self._is_due(key, one, now)]
        if not ready:
            return []
        sums = [(key[0], self._sums.pop(key)) for key in ready]
        for key in ready:
            self._tell(key, now)
        self._recent.append(now)
        return [_of_many(sums)]

    def _is_due(self, key: tuple[str, str], counted: _Sum, now: float) -> bool:
        return not self._is_told(key, now) and abs(now - counted.counted_at) >= SETTLE

    def _is_told(self, key: tuple[str, str], now: float) -> bool:
        """Lately. What the clock calls the future is not: it was wrong then, and has been set back."""
        told = self._told.get(key)
        return told is not None and abs(now - told) < self.rules.every

    def _is_quiet(self, now: float) -> bool:
        return self.rules.quiet is not None and self.rules.quiet.holds(now)

    def _has_room(self, now: float) -> bool:
        while self._recent and abs(now - self._recent[0]) >= HOUR:
            self._recent.popleft()
        return len(self._recent) < self.rules.most

    def _tell(self, key: tuple[str, str], now: float) -> None:
        self._told.pop(key, None)
        self._told[key] = now
        if len(self._told) > 2 * MOST_SUMS:
            del self._told[next(iter(self._told))]

    # ---- over a restart

    @property
    def kept(self) -> dict[str, Any]:
        """What a restart must not forget, as JSON."""
        return {
            "told": [[*key, at] for key, at in self._told.items()],
            "sums": [
                [*key, one.display, one.count, one.since, one.until, one.counted_at]
                for key, one in self._sums.items()
            ],
            "recent": list(self._recent),
        }

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Raises TypeError, ValueError, KeyError, OverflowError where it is not what `kept` gave."""
        told = {(str(camera), str(label)): float(at) for camera, label, at in kept["told"]}
        sums = {
            (str(camera), str(label)): _Sum(str(display), int(count), *map(float, times))
            for camera, label, display, count, *times in kept["sums"]
        }
        recent = deque(float(at) for at in kept["recent"])
        self._told, self._sums, self._recent = told, sums, recent


def _of_one(happening: Happening, *, urgent: bool) -> Notice:
    at, name = _time_of_day(happening.at, "%H:%M:%S"), printable(happening.display)
    what = f"{name}, {printable(happening.camera)}"
    if happening.phase == "end":
        lasted = "" if happening.lasted is None else f" after {in_words(happening.lasted)}"
        return Notice(what, f"{name} ended{lasted}, begun at {at}", happening, urgent)
    return Notice(what, f"{name} since {at}, score {happening.peak:.0%}", happening, urgent)


def _of_many(sums: list[tuple[str, _Sum]]) -> Notice:
    total = sum(one.count for _, one in sums)
    begin = min(one.since for _, one in sums)
    span = in_words(max(one.until for _, one in sums) - begin)
    at = _time_of_day(begin, "%H:%M")
    if len(sums) == 1:
        camera, one = sums[0]
        told = f"{printable(one.display)} {_times(one.count)}"
        return Notice(f"{told}, {printable(camera)}", f"{told} in {span}, since {at}")
    sums.sort(key=lambda entry: -entry[1].count)
    lines = [
        f"{printable(one.display)} {_times(one.count)}, {printable(camera)}" for camera, one in sums[:20]
    ]
    if len(sums) > 20:
        lines.append(f"and {len(sums) - 20} more")
    return Notice(f"{total} more events", "\n".join([f"In {span}, since {at}:", *lines]))


def _time_of_day(unix: float, form: str) -> str:
    """By the local clock; a publisher may say any number."""
    try:
        return datetime.fromtimestamp(unix).strftime(form)
    except (OverflowError, OSError, ValueError):
        return "an unknown time"


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"


def in_words(seconds: float) -> str:
    """12 seconds, 5 minutes, 3 hours."""
    span = max(0.0, seconds)
    for name, size in (("hour", HOUR), ("minute", 60.0), ("second", 1.0)):
        if span >= size or name == "second":
            count = round(span / size)
            return f"{count} {name}{'' if count == 1 else 's'}"
    raise AssertionError("not reached")
