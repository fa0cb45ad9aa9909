"""The live screen: one thread that looks at the statistics now and then and draws them.

It only ever reads. A terminal that is slow, frozen (Ctrl+S) or gone holds up this thread and nothing else.
Keys, where there are any, come from a thread of their own and change what the next drawing shows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from streamer.dashboard.deferred_log import deferred_log
from streamer.dashboard.keys import KeyReader
from streamer.dashboard.line_encoder import LineEncoder
from streamer.dashboard.screen_content import ScreenContent, screen_content
from streamer.dashboard.terminal import Terminal
from streamer.dashboard.text_layout import left, line
from streamer.dashboard.view import Page, most_scroll, render
from streamer.dashboard.view_state import ViewState, press
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.types import Stats

if TYPE_CHECKING:
    from streamer.dashboard.half_blocks import CellPictures
    from streamer.dashboard.label_language import LabelLanguage

log = logging.getLogger(__name__)

REPAINT_EVERY_S = 10.0  # mends what other programs wrote across the screen
MESSAGE_S = 5.0  # how long the answer to a key stands
JOIN_S = 1.0
_COLOURS = {"256": 256, "truecolor": 1 << 24}


@dataclass(frozen=True)
class Actions:
    """What keys can do besides moving about; None: not here.

    `snapshot` takes a camera's name (None: of each) and says in a line what came of it.
    `newest` gives a camera's newest picture, uint8 BGR (H, W, 3), or None: pictures are shown.
    """

    quit: Callable[[], None] | None = None
    snapshot: Callable[[str | None], str] | None = None
    newest: Callable[[str], Any] | None = None
    language: LabelLanguage | None = None


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
        actions: Actions = Actions(),
        console: Console | None = None,
        refresh: float = 8.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._stats = stats
        self._actions = actions
        self._console = Console() if console is None else console
        self._period = 1.0 / refresh
        self._clock = clock
        self._terminal = Terminal(self._console)
        self._keys = KeyReader(self.press)
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._paused = self._waits = False
        self._drawing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
        self._state = ViewState()
        self._held: Stats | None = None
        self._message = ("", 0.0)  # and until when it stands
        self._pictures = self._cells()
        self._page = Page(())
        self._encoder = LineEncoder(self._console)
        self._reported = False
        self._cleanup = ExitStack()

    def __enter__(self) -> Screen:
        with ExitStack() as stack:  # what was set up is undone if the rest fails
            stack.enter_context(deferred_log())
            stack.callback(self._terminal.close)
            self._terminal.open()
            stack.callback(self._keys.close)
            self._keys.open()
            self._thread.start()
            stack.callback(self._end)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def pause(self) -> None:
        """Give terminal and keyboard back until `go_on` (Ctrl+Z); any thread."""
        self._paused = True
        self._keys.give_back()
        if self._drawing.acquire(timeout=JOIN_S):  # longer only when the terminal takes no output
            try:
                self._terminal.give_back()
            finally:
                self._drawing.release()

    def go_on(self) -> None:
        """After `pause`: the terminal is taken again once it is ours (after `bg` it is not)."""
        self._waits, self._paused = True, False
        self._keys.take_again()
        self._wake.set()

    def press(self, key: str) -> None:
        """Do what a key asks for; the keys' thread."""
        actions = self._actions
        if key == "q" and actions.quit is not None:
            self._say("ending")
            actions.quit()
        elif key == "s":
            self._say(
                actions.snapshot(self._state.camera) if actions.snapshot else "nothing is recorded here"
            )
        elif key == "l" and actions.language is not None:
            self._say(actions.language.change())
        else:
            content, (width, height) = self._content(self._stats()), self._terminal.size
            cameras = [camera.status.camera for camera in content.stats.cameras]
            state = press(self._state, key, cameras, max(1, height - 8))
            most = most_scroll(replace(content, state=state), width, height)
            self._state = replace(state, scroll=min(state.scroll, most))
        self._wake.set()

    def _say(self, text: str) -> None:
        self._message = text, self._clock.monotonic() + MESSAGE_S

    def _end(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(JOIN_S)  # longer only when the terminal takes no output

    def _run(self) -> None:
        painted = self._clock.monotonic()
        while not self._stop.is_set():
            now = self._clock.monotonic()
            repaint = now - painted >= REPAINT_EVERY_S
            if repaint:
                painted = now
            try:
                with self._drawing:
                    if self._may_draw():
                        self._draw(repaint)
            except OSError as error:
                log.warning("screen: the terminal has gone (%s); the cameras go on", error)
                return
            self._clock.wait(self._wake, self._period)
            self._wake.clear()

    def _may_draw(self) -> bool:
        # not asked at first: `timeout 60 streamer` runs it in the background of a terminal that is its own
        self._waits = self._waits and not self._terminal.ours
        return not (self._paused or self._waits)

    def _draw(self, repaint: bool) -> None:
        width, height = self._terminal.size
        try:
            self._page = render(self._content(self._shown()), width, height)
            lines = self._encode(self._page)
        except Exception as error:  # noqa: BLE001 - the thread's top: shown, logged, tried again
            lines = self._encode(self._trouble(error, width, height))
        self._terminal.draw(lines, (width, height), everything=repaint)

    def _shown(self) -> Stats:
        """The statistics of now, or those that are held."""
        if not self._state.held:
            self._held = None
            if self._pictures is not None:
                self._pictures.go_on()
            return self._stats()
        if self._held is None:
            self._held = self._stats()
            if self._pictures is not None:
                self._pictures.hold(camera.status.camera for camera in self._held.cameras)
        return self._held

    def _content(self, stats: Stats) -> ScreenContent:
        text, until = self._message
        language = self._actions.language
        return screen_content(
            stats,
            self._state,
            names=None if language is None else language.names,
            picture=self._pictures,
            keys=self._keys.reading,
            message=text if self._clock.monotonic() < until else "",
        )

    def _cells(self) -> CellPictures | None:
        colours = _COLOURS.get(self._console.color_system or "", 0)
        if self._actions.newest is None or not colours or self._console.no_color:
            return None
        from streamer.dashboard.half_blocks import CellPictures

        return CellPictures(self._actions.newest, colours, self._clock.monotonic)

    def _encode(self, page: Page) -> list[str]:
        """The page's lines with their escape sequences, as this console can show them."""
        return self._encoder.encode(page)

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
        return Page(tuple(lines), self._page.pictures)
