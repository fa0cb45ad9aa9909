"""A bar on a terminal, or a line now and then where there is none, for work that takes long."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from streamer.system.redaction import redact
from streamer.system.terminal_text import printable

EVERY = 10.0  # seconds between two lines where there is no terminal


class ProgressBar:
    """On standard error, so that what a command prints stays apart; a context manager. One thread.

    `update` may be called as often as one likes.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._bar: object | None = None
        self._last, self._told_at = "", time.monotonic()

    def __enter__(self) -> Self:
        if self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            console = Console(file=self._stream)
            columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %  {task.description}", markup=False))
            self._progress = Progress(*columns, console=console, transient=True, refresh_per_second=4)
            self._task = self._progress.add_task("", total=1.0)
            self._progress.start()
            self._bar = self._progress
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._progress.stop()
            self._bar = None

    def update(self, share: float, text: str) -> None:
        """`share` of the work is done, 0 to 1."""
        shown = printable(redact(text))
        if self._bar is not None:
            self._progress.update(self._task, completed=share, description=shown)
        elif shown != self._last and time.monotonic() - self._told_at >= EVERY:
            self._told_at, self._last = time.monotonic(), shown
            print(f"streamer: {share:.0%} {shown}", file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """A line that stays, above the bar."""
        line = f"streamer: {printable(redact(text))}"
        if self._bar is not None:
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self._stream, flush=True)
