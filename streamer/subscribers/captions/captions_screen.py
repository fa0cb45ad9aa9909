"""The captions' screen: one large sentence, what was before it, what is wrong. Drawn only when it changes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.style import Style
from rich.text import Text

from streamer.subscribers.captions import block_letters
from streamer.subscribers.captions.caption_board import View
from streamer.subscribers.narration.policy import Utterance
from streamer.subscribers.narration.settings import Priority

if TYPE_CHECKING:
    from types import TracebackType

GROUND = Style(color="bright_white", bgcolor="black")
LARGE = Style(color="bright_white", bgcolor="black", bold=True)
IMPORTANT = Style(color="bright_yellow", bgcolor="black", bold=True)
NOTICE = Style(color="bright_white", bgcolor="black", bold=True, reverse=True)  # seen without colours too


class CaptionScreen:
    """A context manager that takes the terminal and gives it back as it was.

    `big`: letters made of blocks where there is room for them. `font`: a face for these.
    """

    def __init__(self, console: Console, *, big: bool = True, font: str | None = None) -> None:
        self._console, self._big, self._font = console, big, font
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._drawn: tuple[View, tuple[int, int]] | None = None

    def __enter__(self) -> CaptionScreen:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, view: View) -> bool:
        """Draw it if it differs from what is shown; returns whether it did."""
        size = self._console.size
        if self._drawn == (view, (size.width, size.height)):
            return False
        self._live.update(page(view, size.width, size.height, big=self._big, font=self._font), refresh=True)
        self._drawn = (view, (size.width, size.height))
        return True


def page(view: View, width: int, height: int, *, big: bool = True, font: str | None = None) -> RenderableType:
    """The whole screen as `height` lines of `width` cells."""
    third = max(0, height // 3)
    blocks, below = None, _below(view, width, third)
    if big and view.current is not None:  # the sentence first: rather large than with all that was before
        for rows in sorted({third, min(3, third), min(len(view.notices), third)}, reverse=True):
            shorter = _below(view, width, rows)
            blocks = block_letters.render(view.current.text, width - 2, height - len(shorter), font)
            if blocks is not None:
                below = shorter
                break
    rows = max(1, height - len(below))
    large = _large(view.current, width, rows, blocks)
    lines = [*large, *(Text() for _ in range(rows - len(large))), *below]
    return Group(*(_filled(line, width) for line in lines[:height]))


def _large(current: Utterance | None, width: int, rows: int, blocks: list[str] | None) -> list[Text]:
    """The sentence, upright in the middle of its rows."""
    if current is None:
        return []
    style = LARGE if current.priority < Priority.HIGH else IMPORTANT
    if current.priority >= Priority.URGENT:
        style += Style(reverse=True)
    if blocks is not None:
        lines = [Text(f" {line}", style) for line in blocks]
    else:
        words = Text(current.text, style).wrap(Console(width=width), max(1, width - 2))
        lines = [Text(" " * ((width - line.cell_len) // 2), style).append_text(line) for line in words][:rows]
    return [*(Text() for _ in range((rows - len(lines)) // 2)), *lines]


def _below(view: View, width: int, rows: int) -> list[Text]:
    """What is wrong, and what was before: newest first, with the time."""
    lines = [Text(f" {text} ", NOTICE, overflow="ellipsis", no_wrap=True) for text in view.notices]
    for utterance in view.earlier:
        when = f"{datetime.fromtimestamp(utterance.at):%H:%M}"
        lines.append(Text(f" {when}  {utterance.text}", GROUND, overflow="ellipsis", no_wrap=True))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines[:rows]


def _filled(line: Text, width: int) -> Text:
    """The ground goes to the edge, so that a light terminal is dark all over."""
    missing = width - line.cell_len
    if missing > 0:
        line.append(" " * missing, GROUND)
    line.no_wrap, line.overflow = True, "crop"
    return line
