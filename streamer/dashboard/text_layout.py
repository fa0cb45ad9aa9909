"""Small typographic parts of the screen: fields of an exact width in terminal cells, numbers, bars."""

from __future__ import annotations

import textwrap

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text

from streamer.dashboard.safe_text import isolated, steady

GUTTER = 3  # cells between columns
Part = tuple[str, str | Style]  # text of an exact width, style


def cut(text: str, width: int) -> str:
    """A name or label made safe, at most `width` cells, with an ellipsis where something is missing."""
    if len(text) <= width and text.isascii() and text.isprintable():
        return text
    # marks without width are not counted in cells: bounded here
    text = steady(text[: 8 * width])[: 4 * width]
    if cell_len(text) > width:
        text = (set_cell_size(text, width - 1).rstrip() + "…") if width > 1 else "…"[:width]
    return text


def cell_width(text: str) -> int:
    """Cells that a name or label takes."""
    return len(text) if text.isascii() else cell_len(steady(text[:200]))


def wrapped(text: str, width: int, most: int) -> list[str]:
    """`text` on lines of `width` cells, broken between words; at most `most` lines, the last one cut."""
    if most < 1 or width < 1:
        return []
    text = steady(text[: 8 * width * most])
    # letters of two cells: half as many fit
    lines = textwrap.wrap(text, width if cell_len(text) == len(text) else max(1, width // 2)) or [""]
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], cut(" ".join(lines[most - 1 :]), width)]


def left(text: str, width: int) -> str:
    """`text` in a field of exactly `width` cells, at its left."""
    text = cut(text, max(0, width))
    return isolated(text) + " " * (width - cell_len(text))


def right(text: str, width: int) -> str:
    """`text` in a field of exactly `width` cells, at its right."""
    text = cut(text, max(0, width))
    return " " * (width - cell_len(text)) + isolated(text)


def line(parts: list[Part], width: int) -> Text:
    """The parts side by side, padded or cropped to exactly `width` cells."""
    text = Text(no_wrap=True, overflow="crop", end="")
    for content, style in parts:
        text.append(content, style)
    text.truncate(width, overflow="crop", pad=True)
    return text


def spread(first: list[Part], last: list[Part], width: int) -> Text:
    """`first` at the left, `last` at the right; `first` gives way."""
    room = width - sum(cell_len(content) for content, _ in last)
    if room <= 0:
        return line(last, width)
    text = line(first, room)
    for content, style in last:
        text.append(content, style)
    text.truncate(width, overflow="crop", pad=True)
    return text


def beside(blocks: list[list[Text]], widths: list[int], gutter: int) -> list[Text]:
    """Blocks of lines side by side; short ones are filled with blank lines."""
    rows = []
    for index in range(max(len(block) for block in blocks)):
        row = Text(no_wrap=True, overflow="crop", end="")
        for column, (block, width) in enumerate(zip(blocks, widths, strict=True)):
            row.append(" " * gutter if column else "")
            row.append_text(block[index] if index < len(block) else Text(" " * width))
        rows.append(row)
    return rows


def bar(smoothed: float | None, raw: float, width: int, style: str) -> list[Part]:
    """The smoothed score as a line, and where the raw score is higher, how far it reaches."""
    halves = round(2 * width * _unit(raw if smoothed is None else smoothed))
    full = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    reach = round(width * _unit(raw))
    ahead = "━" * max(0, reach - len(full))
    return [(full, style), (ahead, "dim"), (" " * (width - len(full) - len(ahead)), "")]


def duration(seconds: float) -> str:
    """4.2 s, 2:05, 1:02:05: seven cells at most for a week."""
    seconds = max(0.0, seconds)
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"


def milliseconds(seconds: float) -> str:
    """`seconds` as ms, six cells and their unit; longer than ten seconds as s."""
    return f"{1000 * seconds:4.0f} ms" if seconds < 9.9995 else f"{min(seconds, 99999):5.0f} s"


def score(value: float | None) -> str:
    """A score in four cells."""
    return " " * 4 if value is None else f"{_unit(value):4.2f}"


def count(number: int) -> str:
    """A number people can read: 12 034."""
    return f"{number:,}".replace(",", " ")


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value)) if value == value else 0.0  # not a number: nothing
