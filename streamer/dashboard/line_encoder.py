"""From lines of text to what is written on a terminal. A line that has not changed is not made again."""

from __future__ import annotations

from rich.console import COLOR_SYSTEMS, Console
from rich.segment import Segment
from rich.text import Span, Text

from streamer.dashboard.view import Page

_Key = tuple[str, tuple[Span, ...]]


class LineEncoder:
    """For one console. What it made of a page is kept for the next one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._system = COLOR_SYSTEMS.get(console.color_system or "")
        self._made: dict[_Key, str] = {}

    def encode(self, page: Page) -> list[str]:
        """The page's lines with their escape sequences, as this console can show them."""
        before, self._made = self._made, {}
        ascii_only = self._console.options.ascii_only
        lines = []
        for text in page.lines:
            key = text.plain, tuple(text.spans)
            line = self._made.get(key, None if page.pictures else before.get(key))
            if line is None or page.pictures:
                line = self._encoded(page, text, ascii_only)
            self._made[key] = line
            lines.append(line)
        return lines

    def _encoded(self, page: Page, text: Text, ascii_only: bool) -> str:
        return "".join(
            self._escaped(segment) for segment in page.segments(text, self._console, ascii_only=ascii_only)
        )

    def _escaped(self, segment: Segment) -> str:
        style = segment.style
        if style is None:
            return segment.text
        if self._console.no_color:
            style = style.without_color
        return style.render(segment.text, color_system=self._system)
