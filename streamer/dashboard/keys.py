"""Keys pressed on the terminal while the screen is up, read on a thread of their own.

Only from a real terminal, and only while the program is in its foreground: a job in the background that read
or changed it would be stopped. Ctrl+C, Ctrl+Z and Ctrl+S stay what they are.
"""

from __future__ import annotations

import logging
import os
import re
import select
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1  # how late an end is seen
AGAIN_S = 0.5  # between two looks whether the keyboard can be had
ESCAPE_S = 0.05  # the rest of a sequence comes within this
JOIN_S = 1.0

_SEQUENCE = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]")
_FINAL = {"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end"}
_NUMBERED = {"1": "home", "7": "home", "4": "end", "8": "end", "5": "pageup", "6": "pagedown"}
_PLAIN = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x1b": "escape"}
_WINDOWS = {"H": "up", "P": "down", "K": "left", "M": "right", "I": "pageup", "Q": "pagedown", "G": "home",
            "O": "end"}  # fmt: skip


class Keyboard(Protocol):
    """A keyboard that was taken."""

    def read(self, timeout: float) -> list[str] | None:
        """The keys pressed within `timeout` seconds, by name; None when the terminal has gone."""

    def restore(self) -> None:
        """Give it back as it was; may be called more than once, by any thread."""


def take_keyboard() -> Keyboard | None:
    """The terminal's keyboard; None where standard input is none, or not ours at the moment."""
    if os.name == "nt":
        return _WindowsKeyboard() if _is_terminal() else None
    try:
        return _UnixKeyboard(sys.stdin.fileno()) if _is_terminal() else None
    except OSError:
        return None


def keys_in(data: str) -> list[str]:
    """Names of the keys that a terminal sent: characters as they are, `up`, `enter`, `pagedown`, ...; without
    those that have no name here.
    """
    keys: list[str] = []
    while data:
        if found := _SEQUENCE.match(data):
            sequence, data = found.group(), data[found.end() :]
            number, final = sequence[2:-1].partition(";")[0], sequence[-1]
            name = _NUMBERED.get(number) if final == "~" else _FINAL.get(final)
        else:
            char, data = data[0], data[1:]
            name = _PLAIN.get(char, char.lower() if char.isprintable() else None)
        if name is not None:
            keys.append(name)
    return keys


class KeyReader:
    """Hands each key to `pressed`, on the thread `keys`. `open` and `close` from any thread.

    Where no keyboard can be had it is looked for now and then: a program may come to the foreground later.
    """

    def __init__(self, pressed: Callable[[str], None]) -> None:
        self._pressed = pressed
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._keyboard: Keyboard | None = None
        self._given_back = False
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)

    def open(self) -> None:
        if _is_terminal():
            self._take()
            self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._restore()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN_S)

    def give_back(self) -> None:
        """Until `take_again`; between Ctrl+Z and the stop the program still is in the foreground."""
        self._given_back = True
        self._restore()

    def take_again(self) -> None:
        """Once the program is in the foreground."""
        self._given_back = False

    def _restore(self) -> None:
        with self._lock:
            keyboard, self._keyboard = self._keyboard, None
        if keyboard is not None:
            keyboard.restore()

    @property
    def reading(self) -> bool:
        """Keys are read now."""
        return self._keyboard is not None

    def _take(self) -> Keyboard | None:
        with self._lock:
            if self._keyboard is None and not (self._given_back or self._stop.is_set()):
                self._keyboard = take_keyboard()
            return self._keyboard

    def _run(self) -> None:
        while not self._stop.is_set():
            keyboard = self._take()
            if keyboard is None:
                self._stop.wait(AGAIN_S)
                continue
            keys = keyboard.read(LOOK_EVERY_S)
            if keys is None:
                self._restore()
                self._stop.wait(AGAIN_S)
            for key in keys or ():
                try:
                    self._pressed(key)
                except Exception:  # the thread's top: said, and the next key is tried
                    log.exception("the key %s failed", key)


def _is_terminal() -> bool:
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # it was closed
        return False


class _UnixKeyboard:
    """Each key at once and unseen. Raises OSError where it is not ours to change."""

    def __init__(self, fd: int) -> None:
        import termios

        self._fd = fd
        self._reading = threading.Lock()  # nothing is read once `restore` has returned
        if not self._ours():
            raise OSError("in the background")
        try:
            self._before: list[Any] | None = termios.tcgetattr(fd)
            mode = termios.tcgetattr(fd)
            mode[3] &= ~(termios.ECHO | termios.ICANON)
            # a read of nothing returns: what was there may have been the shell's, which took it
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 0, 0
            termios.tcsetattr(fd, termios.TCSANOW, mode)
        except termios.error as error:
            raise OSError(str(error)) from error

    def read(self, timeout: float) -> list[str] | None:
        try:
            if not select.select([self._fd], [], [], timeout)[0]:
                return []
            with self._reading:
                # given back meanwhile: it is the shell's, and a read would wait there for a whole line
                if self._before is None or not self._ours():
                    return None
                data = os.read(self._fd, 256)
                if data.endswith(b"\x1b") and select.select([self._fd], [], [], ESCAPE_S)[0]:
                    data += os.read(self._fd, 256)
        except (OSError, ValueError):  # closed, hung up
            return None
        return keys_in(data.decode("utf-8", "ignore"))

    def restore(self) -> None:
        import termios

        alone = self._reading.acquire(timeout=JOIN_S)  # longer only where others changed the terminal's mode
        try:
            before, self._before = self._before, None
            if before is not None and self._ours():
                # what was typed meanwhile was not meant for the shell
                termios.tcflush(self._fd, termios.TCIFLUSH)
                # TCSANOW, as waiting for output might never end
                termios.tcsetattr(self._fd, termios.TCSANOW, before)
        except (OSError, termios.error):  # the terminal has gone
            pass
        finally:
            if alone:
                self._reading.release()

    def _ours(self) -> bool:
        return os.isatty(self._fd) and os.tcgetpgrp(self._fd) == os.getpgrp()


class _WindowsKeyboard:
    """The console gives keys one by one without a change of its mode."""

    def __init__(self) -> None:
        import msvcrt

        self._console: Any = msvcrt
        self._waiting = threading.Event()  # never set

    def read(self, timeout: float) -> list[str] | None:
        if not self._console.kbhit():
            self._waiting.wait(timeout)
        keys: list[str] = []
        while self._console.kbhit():
            char = self._console.getwch()
            if char in ("\x00", "\xe0"):
                name = _WINDOWS.get(self._console.getwch())
                keys += [name] if name else []
            else:
                keys += keys_in(char)
        return keys

    def restore(self) -> None:
        pass
