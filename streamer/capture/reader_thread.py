"""The thread that owns one native handle, and how it is left behind when a native call never returns."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streamer.errors import SourceError

log = logging.getLogger(__name__)


class Abandoned(Exception):  # noqa: N818 - not an error: an order to go away quietly
    """Raised in a reader that was left behind: close the handle, deliver nothing, end."""


class Reader:
    """Runs `body` on a thread of its own; only that thread opens, reads and releases its handle.

    Native calls are wrapped in `native(name, limit)`. While one lasts, `abandon()` may give the reader up;
    outside of them it cannot be given up, so a reader that is delivering always finishes that first. An
    abandoned reader ends as soon as its native call comes back. Native calls take real time whatever
    clock a test injects, so their limits are measured with `time.monotonic`.
    """

    def __init__(self, name: str, body: Callable[[Reader], None], wake: threading.Event) -> None:
        self._lock = threading.Lock()
        self._body = body
        self._wake = wake
        self._call: tuple[str, float, float] | None = None  # name, begun, limit
        self._abandoned = False
        self.error: BaseException | None = None
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def _run(self) -> None:
        try:
            self._body(self)
        except Abandoned:
            pass
        except SourceError as error:
            self.error = _lightened(error, lines=False)
        except Exception as error:  # noqa: BLE001 - the thread's top: handed to the supervisor, which reports it
            self.error = _lightened(error, lines=True)
        finally:
            self.done.set()
            self._wake.set()

    @contextmanager
    def native(self, name: str, limit: float) -> Iterator[None]:
        """A call that may hang. Raises Abandoned after it when the reader was given up meanwhile."""
        with self._lock:
            if self._abandoned:
                raise Abandoned
            self._call = (name, time.monotonic(), limit)
        try:
            yield
        finally:
            with self._lock:
                self._call = None
                abandoned = self._abandoned
        if abandoned:
            raise Abandoned

    @property
    def abandoned(self) -> bool:
        return self._abandoned

    def in_call(self) -> tuple[str, float] | None:
        """The native call that lasts now and for how many seconds it has; None outside of them."""
        call = self._call
        return None if call is None else (call[0], time.monotonic() - call[1])

    def overdue(self) -> str | None:
        """The name of the native call that has outlived its limit, if any."""
        call = self._call
        if call is not None and time.monotonic() - call[1] > call[2]:
            return call[0]
        return None

    def abandon(self) -> bool:
        """Give the reader up if it is inside a native call; True if that is so."""
        with self._lock:
            if self._call is None or self.done.is_set():
                return False
            self._abandoned = True
            return True


def _lightened(error: BaseException, lines: bool) -> BaseException:
    """The error without what its tracebacks hold; `lines`: it can still be printed with its lines.

    They hold the variables of the calls it went through: a picture of full size, the handle, and this
    reader, which holds the error. Such a ring goes only in a full collection, and in a program with the
    hundred thousands of objects of torch Python makes none for hours: each reconnect kept a picture.
    """
    link: BaseException | None = error
    while link is not None:
        if lines:
            traceback.clear_frames(link.__traceback__)
        else:
            link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
