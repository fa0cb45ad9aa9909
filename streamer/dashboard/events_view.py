"""Events and the times in which cameras were lost: newest first, a line each."""

from __future__ import annotations

import time

from rich.text import Text

from streamer.dashboard.screen_content import ScreenContent
from streamer.dashboard.text_layout import Part, cell_width, duration, left, line, right, score
from streamer.types import Event, Moment, Outage, Phase

WARNING = "yellow"
_PEAK = 6
_NARROW = 45  # below this width the labels have the room of the peak, of seconds and of blanks
_Entry = Event | Outage


def event_lines(content: ScreenContent, width: int, height: int, camera: str | None = None) -> list[Text]:
    """Under a heading, exactly `height` lines. `camera`: its alone."""
    entries = entries_of(content, camera)
    columns = _columns(content, entries, width, camera)
    lines = [_heading("Events", columns, width)]
    lines += [_row(entry, content, columns, width) for entry in entries[: max(0, height - 1)]]
    if not entries:
        lines.append(line([("none yet", "dim")], width))
    return lines[:height] + [line([], width)] * (height - len(lines))


def events_page(content: ScreenContent, width: int, height: int) -> list[Text]:
    """All of them, as far as they are kept, scrolled."""
    entries = entries_of(content, None)
    room = max(1, height - 2)
    first = min(content.state.scroll, max(0, len(entries) - room))
    columns = _columns(content, entries, width, None)
    lines = [_heading(f"Events, {len(entries)} kept", columns, width)]
    shown = entries[first : first + room]
    lines += [_row(entry, content, columns, width) for entry in shown]
    if not shown:
        lines.append(line([("none yet", "dim")], width))
    lines = lines[: height - 1] + [line([], width)] * (height - 1 - len(lines))
    below = len(entries) - first - len(shown)
    where = f"{below} more below" if below else "streamer events has all of them, also of before"
    return [*lines, line([(where, "dim")], width)][:height]


def entries_of(content: ScreenContent, camera: str | None) -> list[_Entry]:
    """Newest first."""
    newest: dict[str, _Entry] = {event.id: event for event in content.stats.recent}
    found = [*newest.values(), *content.stats.outages]
    if camera is not None:
        found = [entry for entry in found if entry.camera == camera]
    return sorted(found, key=lambda entry: entry.started.wall, reverse=True)


def _fixed(width: int) -> tuple[int, int, int]:
    """Cells of the clock with the gap after it, of the length, and of the peak."""
    return (10, 10, _PEAK) if width >= _NARROW else (7, 9, 0)


def _columns(
    content: ScreenContent, entries: list[_Entry], width: int, camera: str | None
) -> tuple[int, int]:
    """Cells of the cameras' names, the gap after them included, and of the labels."""
    flexible = max(0, width - sum(_fixed(width)))
    if len(content.stats.cameras) < 2 or camera is not None:
        return 0, flexible
    longest = max((cell_width(one.status.camera) for one in content.stats.cameras), default=0)
    labels = max((cell_width(_what(entry)) for entry in entries), default=8)
    # names get what the labels leave, at least their usual part
    names = min(longest, max(flexible * 45 // 100, flexible - 2 - max(8, labels)))
    return names + 2, max(0, flexible - names - 2)


def _heading(title: str, columns: tuple[int, int], width: int) -> Text:
    clock, length, peak = _fixed(width)
    room = sum(columns) + clock
    parts: list[Part] = [(left(title, room), "dim"), (right("lasted", length), "dim")]
    return line([*parts, (right("peak" if peak else "", peak), "dim")], width)


def _row(entry: _Entry, content: ScreenContent, columns: tuple[int, int], width: int) -> Text:
    names, labels = columns
    if isinstance(entry, Event):
        going = entry.phase is not Phase.END
        style, peak = content.colour(entry.label), score(entry.peak)
    else:
        going, style, peak = entry.ended is None, WARNING, "    "
    lasted = duration(_until(entry, content.stats.time).time - entry.started.time)
    clock, length, _ = _fixed(width)
    at = time.strftime("%H:%M:%S" if clock == 10 else "%H:%M", time.localtime(entry.started.wall))
    parts: list[Part] = [(f"{at}  ", "dim")]
    if names:
        parts += [(left(entry.camera, names - 2), "dim" if not going else ""), ("  ", "")]
    parts.append((left(_what(entry), labels), f"bold {style}" if going else style))
    parts.append((right(f"▶ {lasted}" if going else lasted, length), f"bold {style}" if going else ""))
    return line([*parts, (f"  {peak}", "dim")] if width >= _NARROW else parts, width)


def _until(entry: _Entry, now: float) -> Moment:
    return Moment(now, 0.0) if entry.ended is None else entry.ended


def _what(entry: _Entry) -> str:
    if isinstance(entry, Outage):
        return f"camera {entry.what}" if entry.what in ("lost", "not reached") else entry.what
    return entry.label if entry.track is None else f"{entry.label} (person {entry.track.id})"
