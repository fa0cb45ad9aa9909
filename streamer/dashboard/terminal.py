"""The terminal while the screen has it: taken, drawn on line by line, and given back as it was."""

from __future__ import annotations

import atexit
import contextlib
import os
import select

from rich.console import Console

# Alternate screen, no cursor, no wrapping (a line that comes out wider than was counted stays one line).
_TAKE = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_GIVE_BACK = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
# Terminals that know it show what lies between at once; the others ignore it.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"


class Terminal:
    """Writes to a terminal without Python's buffers, whose locks a stuck write would hold for ever.

    `open` and `close` may be called from any thread and more than once; `draw` from one thread.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._fd = _descriptor(console)
        self._open = False
        self._taken = False
        self._shown: list[str] = []
        self._size = (0, 0)

    @property
    def size(self) -> tuple[int, int]:
        """(columns, lines) now. The terminal knows best: COLUMNS and LINES do not follow a resize."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                columns, lines = os.get_terminal_size(self._fd)
                if columns and lines:
                    return columns, lines
        return self._console.size.width, self._console.size.height

    def open(self) -> None:
        """From now on the terminal, taken at the first `draw`, is given back on every way out of the program.

        Writes nothing itself: a frozen terminal (Ctrl+S) must not hold up the caller.
        """
        if self._open:
            return
        self._open = True
        atexit.register(self.close)
        if os.name == "nt":
            os.system("")  # switches escape sequences on in older consoles

    def close(self) -> None:
        """Give the terminal back as it was. One that takes no output is left after half a second."""
        if not self._open:
            return
        self._open = False
        atexit.unregister(self.close)
        with contextlib.suppress(OSError, ValueError):  # it has gone: nothing to restore
            if self._taken:
                self._write_in_time(_END + _GIVE_BACK, 0.5)

    def give_back(self) -> None:
        """Until the next `draw`: as it was before (Ctrl+Z). Not while another thread draws."""
        if self._taken:
            with contextlib.suppress(OSError, ValueError):
                self._write_in_time(_END + _GIVE_BACK, 0.5)
        self._taken, self._shown, self._size = False, [], (0, 0)

    @property
    def ours(self) -> bool:
        """False while another job is in the terminal's foreground: nothing is drawn across that one."""
        if self._fd is None:
            return True
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:  # it is not the terminal that we are controlled from
            return True

    def draw(self, lines: list[str], size: tuple[int, int], *, everything: bool = False) -> None:
        """Show `lines` (with their escape sequences); only those that changed are written.

        Raises OSError when the terminal has gone.
        """
        if not self._taken:
            self._taken = True  # before it is: half of it must be undone too
            self._write(_TAKE)
        parts = []
        if size != self._size:
            parts.append("\x1b[2J")
            everything = True
            self._size = size
        for row, text in enumerate(lines):
            if everything or row >= len(self._shown) or self._shown[row] != text:
                parts.append(f"\x1b[{row + 1};1H\x1b[K{text.rstrip(' ')}")
        self._shown = lines
        if parts:
            self._write(_BEGIN + "".join(parts) + _END)

    def _write_in_time(self, text: str, timeout: float) -> None:
        if self._fd is None:
            self._write(text)
            return
        blocking = os.get_blocking(self._fd)
        os.set_blocking(self._fd, False)
        try:
            data = text.encode("ascii")
            while data and select.select([], [self._fd], [], timeout)[1]:
                data = data[os.write(self._fd, data) :]
        finally:
            os.set_blocking(self._fd, blocking)

    def _write(self, text: str) -> None:
        if self._fd is None:
            self._console.file.write(text)
            self._console.file.flush()
            return
        data = memoryview(text.encode(self._console.encoding, errors="replace"))
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # somebody made it non-blocking
                if not select.select([], [self._fd], [], 5.0)[1]:
                    raise


def _descriptor(console: Console) -> int | None:
    """The descriptor to write to; None where only the file object's own `write` will do."""
    if os.name == "nt":
        return None
    try:
        console.file.flush()
        return console.file.fileno()
    except (OSError, ValueError, AttributeError):
        return None
