"""The live screen: one thread that looks at the statistics now and then and draws them.

It only ever reads. A terminal that is slow, frozen (Ctrl+S) or gone holds up this thread and nothing else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from rich.console import Console

from streamer.dashboard.deferred_log import deferred_log
from streamer.dashboard.terminal import Terminal
from streamer.dashboard.text_layout import left, line
from streamer.dashboard.view import Page, render
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.types import Stats

log = logging.getLogger(__name__)

REPAINT_EVERY_S = 10.0  # mends what other programs wrote across the screen
JOIN_S = 1.0


class Screen:
    """Shows `stats()` on the terminal, `refresh` times a second, until the `with` block ends.

    The alternate screen is used: what stood on the terminal before is there again afterwards, on every way
    out (an exception, Ctrl+C, the end of the interpreter). If `stats` or the drawing raises, the error stands
    in the last line, is logged once, and the next refresh tries again.
    """

    def __init__(
        self,
        stats: Callable[[], Stats],
        *,
        console: Console | None = None,
        refresh: float = 8.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._stats = stats
        self._console = Console() if console is None else console
        self._period = 1.0 / refresh
        self._clock = clock
        self._terminal = Terminal(self._console)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
        self._page = Page(())
        self._reported = False
        self._cleanup = ExitStack()

    def __enter__(self) -> Screen:
        with ExitStack() as stack:  # what was set up is undone if the rest fails
            stack.enter_context(deferred_log())
            stack.callback(self._terminal.close)
            self._terminal.open()
            self._thread.start()
            stack.callback(self._end)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def _end(self) -> None:
        self._stop.set()
        self._thread.join(JOIN_S)  # longer only when the terminal takes no output

    def _run(self) -> None:
        painted = self._clock.monotonic()
        while not self._stop.is_set():
            now = self._clock.monotonic()
            repaint = now - painted >= REPAINT_EVERY_S
            if repaint:
                painted = now
            try:
                self._draw(repaint)
            except OSError as error:
                log.warning("screen: the terminal has gone (%s); the cameras go on", error)
                return
            self._clock.wait(self._stop, self._period)

    def _draw(self, repaint: bool) -> None:
        width, height = self._terminal.size
        try:
            self._page = render(self._stats(), width, height)
            lines = self._encode(self._page)
        except Exception as error:  # noqa: BLE001 - the thread's top: shown, logged, tried again
            lines = self._encode(self._trouble(error, width, height))
        self._terminal.draw(lines, (width, height), everything=repaint)

    def _encode(self, page: Page) -> list[str]:
        """The page's lines with their escape sequences, as this console can show them."""
        with self._console.capture() as capture:
            self._console.print(page, end="", crop=False)
        return capture.get().split("\n")

    def _trouble(self, error: Exception, width: int, height: int) -> Page:
        """The last good page with the error in its last line."""
        if not self._reported:
            self._reported = True
            log.error("screen: cannot be drawn; trying again", exc_info=error)
        words = f" screen: {type(error).__name__}: {error}"
        blank = [line([], width)] * height
        fits = len(self._page.lines) == height and all(text.cell_len == width for text in self._page.lines)
        lines = list(self._page.lines) if fits else blank
        if lines:
            lines[-1] = line([(left(words, width), "bold red")], width)
        return Page(tuple(lines))
