"""The last minute of a camera in one line: which action when; and how sure it was, in another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.cells import set_cell_size
from rich.text import Text

from streamer.dashboard.safe_text import steady
from streamer.dashboard.screen_content import ScreenContent
from streamer.dashboard.text_layout import Part, line
from streamer.types import CameraStats, LabelScore

SPAN_S = 60.0
LEVELS = "▁▂▃▄▅▆▇█"
LOST = "╱"
UNKNOWN = "·"
IDLE = "─"  # a label that means "no action"
HOLDS_S = 2.0  # a belief holds until the next one, at most so long
_Cell = tuple[str, LabelScore | None]  # "action", "unknown", "lost" or "nothing"; what was believed
_NOTHING: _Cell = ("nothing", None)
_UNKNOWN: _Cell = ("unknown", None)
_OUT: _Cell = ("lost", None)


def strip_lines(camera: CameraStats, content: ScreenContent, width: int, rows: int) -> list[Text]:
    """Up to three lines of `width` cells: actions, the stable score, and the time."""
    cells = _cells(camera, content, max(1, width - 2))
    made = [_strip(cells, content, width), _spark(cells, content, width), _axis(width)]
    return made[: max(0, rows)]


def _cells(camera: CameraStats, content: ScreenContent, count: int) -> list[_Cell]:
    """What holds in each cell. Cells are cut at fixed times, so that they move by whole ones."""
    scale = count / SPAN_S
    now = content.stats.time
    first = int(now * scale) - count + 1
    cells: list[_Cell] = [_NOTHING] * count
    last, held, until = -1, _NOTHING, 0.0  # the newest belief's cell, it itself, and until when it holds
    for belief in camera.main.past:
        cell = int(belief.time * scale) - first
        if not 0 <= cell < count:
            continue
        if cell > last + 1 and belief.time <= until:
            cells[last + 1 : cell] = [held] * (cell - last - 1)
        if belief.stable is not None:
            held = cells[cell] = ("action", belief.stable)
        else:
            held = _UNKNOWN
            if cells[cell][0] != "action":
                cells[cell] = held
        last, until = cell, belief.time + HOLDS_S
    if now <= until:
        cells[last + 1 :] = [held] * (count - last - 1)
    for outage in content.stats.outages:
        if outage.camera == camera.status.camera:
            end = now if outage.ended is None else outage.ended.time
            for cell in range(max(0, int(outage.started.time * scale) - first), int(end * scale) - first + 1):
                cells[cell] = _OUT
    return cells


def _strip(cells: list[_Cell], content: ScreenContent, width: int) -> Text:
    parts: list[Part] = [("  ", "")]
    for (kind, label), run in _runs(cells):
        if kind == "action" and label in content.background:
            parts.append((IDLE * run, "dim"))
        elif kind == "action":
            name = set_cell_size(steady(label[:200]), run if run < 4 else run - 1)
            parts.append((name + " " * (run >= 4), f"{content.colour(label)} reverse"))
        elif kind == "lost":
            parts.append((LOST * run, "yellow"))
        else:
            parts.append(((UNKNOWN if kind == "unknown" else " ") * run, "dim"))
    return line(parts, width)


def _runs(cells: list[_Cell]) -> Iterator[tuple[tuple[str, str], int]]:
    for key, run in groupby(cells, lambda cell: (cell[0], cell[1].label if cell[1] else "")):
        yield key, sum(1 for _ in run)


def _spark(cells: list[_Cell], content: ScreenContent, width: int) -> Text:
    parts: list[Part] = [("  ", "")]
    for label, run in groupby(cells, lambda cell: cell[1].label if cell[1] else None):
        levels = "".join(_level(believed.score) if believed else " " for _, believed in run)
        parts.append((levels, "" if label is None else content.colour(label)))
    return line(parts, width)


def _level(score: float) -> str:
    return LEVELS[int(score * 7.999)] if 0.0 <= score <= 1.0 else " "


def _axis(width: int) -> Text:
    """ "1 min ago", "30 s ago" and "now" below the strip."""
    room = width - 2
    middle = "30 s ago" if room >= 36 else ""
    first = "1 min ago" if room >= 16 else ""
    gap = max(0, room // 2 - len(first))
    text = f"{first}{' ' * gap}{middle}"
    return line([("  ", ""), (text[: room - 3].ljust(max(0, room - 3)) + "now", "dim")], width)
