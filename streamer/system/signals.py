"""Ctrl+C and SIGTERM, for every command that runs until it is stopped: the first finishes cleanly, the second
leaves at once.

Python runs signal handlers on the main thread between two of its instructions, which may be never while that
thread is inside a native call, and a `threading.Event` set in a handler can deadlock with the `wait` that it
interrupted. So the handlers do nothing: the interpreter writes each signal's number to a socket at once
(`signal.set_wakeup_fd`), and a thread that reads it acts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

GRACE = 2.8  # seconds from the first signal to a forced end; the program promises 3
INTERRUPTED = 130
_SHOW_CURSOR_LEAVE_SCREEN = b"\x1b[?1049l\x1b[?25h\x1b[?7h\x1b[0m"  # and wrap lines again
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")


class Stopper:
    """A context manager around the program's main work; `stop` is set by the first signal.

    Off the main thread, where Python allows no signal handling, it does nothing.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self.stop = threading.Event()
        self.signalled = False
        self.interrupted = False  # by Ctrl+C
        self._grace = grace
        self._before: dict[int, Any] = {}
        self._terminal = _Terminal()
        self._paused: tuple[Callable[[], None], Callable[[], None]] | None = None

    @property
    def exit_code(self) -> int:
        """Of a command that did what it was to do: 130 after Ctrl+C, else 0."""
        return INTERRUPTED if self.interrupted else 0

    def ask(self) -> None:
        """End as SIGTERM does; any thread."""
        if self._before:
            self._writer.send(bytes([signal.SIGTERM]))
        else:
            self.stop.set()

    def on_pause(self, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Call `before` when Ctrl+Z pauses the program, and `after` when it goes on; on the signals' thread.

        On the main thread, within the `with` block; elsewhere, and without job control, it does nothing.
        """
        if not self._before or not hasattr(signal, "SIGTSTP"):
            return
        self._paused = before, after
        for number in (signal.SIGTSTP, signal.SIGCONT):
            self._before[number] = signal.signal(number, lambda *_: None)

    def __enter__(self) -> Stopper:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        numbers = [int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name)]
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            before = signal.getsignal(number)
            if number != getattr(signal, "SIGHUP", None) or before is not signal.SIG_IGN:  # nohup stays
                self._before[number] = signal.signal(number, lambda *_: None)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._before:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._writer.close()  # ends the thread
        self._before.clear()

    def _watch(self) -> None:
        while data := self._receive():
            for number in data:
                if number not in self._before or self._pauses(number):
                    continue
                if self.signalled:
                    self._leave("stopped at once")
                self.signalled = True
                self.interrupted |= number == signal.SIGINT
                self._reader.settimeout(self._grace)
                self.stop.set()
        self._reader.close()

    def _pauses(self, number: int) -> bool:
        if self._paused is None or number not in (signal.SIGTSTP, signal.SIGCONT):
            return False
        before, after = self._paused
        if number == signal.SIGCONT:
            after()
        else:
            before()
            os.kill(os.getpid(), signal.SIGSTOP)
        return True

    def _receive(self) -> bytes:
        try:
            return self._reader.recv(64)
        except TimeoutError:
            self._leave(f"something did not end within {self._grace:g} s; left it")
            return b""  # not reached
        except OSError:
            return b""

    def _leave(self, why: str) -> None:
        self._terminal.restore()
        with contextlib.suppress(OSError):
            os.write(2, f"streamer: {why}\n".encode())
        os._exit(INTERRUPTED)


class _Terminal:
    """What has to be put back when nothing else gets the time to."""

    def __init__(self) -> None:
        self._modes: Any = None
        try:
            import termios

            if sys.stdin is not None and sys.stdin.isatty():
                self._modes = termios.tcgetattr(sys.stdin.fileno())
        except (ImportError, OSError, ValueError):  # Windows; no usable standard input
            pass

    def restore(self) -> None:
        if self._modes is not None:
            import termios

            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._modes)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), _SHOW_CURSOR_LEAVE_SCREEN)
