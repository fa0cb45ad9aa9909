"""Lines to a stream that may be slow, gone, or never read, without holding up the caller."""

from __future__ import annotations

import errno
import logging
import os
import select
import sys
import threading
from collections import deque
from typing import IO, TextIO

from streamer.system.clock import SYSTEM_CLOCK, Clock

log = logging.getLogger(__name__)

REPORT_EVERY_S = 5.0


class BackgroundWriter:
    """One thread that writes lines to a stream and flushes each.

    `write` never blocks: when the reader is too slow the oldest unimportant lines give way, and how many is
    said in the log. With `complete` nothing is dropped: `write` waits for room instead, until `stop` is set.
    When the reader goes away (`| head`), `stop` is set and the rest is forgotten quietly.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        stop: threading.Event | None = None,
        complete: bool = False,
        lines: int = 1000,
        encoding: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._stream: TextIO = sys.stdout if stream is None else stream
        self._fd = _descriptor(self._stream)
        self._stop = threading.Event() if stop is None else stop
        self._encoding = encoding or self._stream.encoding or "utf-8"
        self._complete = complete
        self._lines = lines
        self._clock = clock
        self._changed = threading.Condition()
        self._queue: deque[tuple[str, bool]] = deque()
        self._closing = False
        self._reported_at = -REPORT_EVERY_S
        self._reported = 0
        self._failed = False
        self._left = False  # closed while a write was stuck: its descriptor may be somebody else's by now
        self.dropped = 0  # lines that gave way or could not be written
        self.gone = False  # the reader closed its end
        # A daemon: a write to a pipe that nobody reads cannot be interrupted, and must not keep the program.
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self._thread.start()

    def write(self, line: str, *, important: bool = False) -> None:
        """Queue one line (without its newline). Important lines are the last to be dropped."""
        with self._changed:
            if self.gone or self._closing:
                return
            if self._complete:
                # woken by the writer; the time-out only bounds how late a `stop` is seen
                while len(self._queue) >= self._lines and not self._ending():
                    self._changed.wait(0.1)
            if len(self._queue) >= self._lines:
                self._make_room()
            self._queue.append((line, important))
            self._changed.notify_all()

    def close(self, timeout: float = 1.0) -> None:
        """Write what is queued, for `timeout` seconds at most, and end the thread.

        With `complete` the time counts only once `stop` is set: a slow reader gets everything.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        while self._complete and not self._stop.is_set() and self._thread.is_alive():
            self._thread.join(0.1)
        self._thread.join(timeout)
        with self._changed:
            self.dropped += len(self._queue)
            self._queue.clear()
            self._left = stuck = self._thread.is_alive()
        if not (stuck and _same_file(self._fd, sys.stderr)):  # the talk would be stuck in the same pipe
            self._report(final=True)

    def _ending(self) -> bool:
        return self.gone or self._closing or self._stop.is_set()

    def _make_room(self) -> None:
        self.dropped += 1
        for index, (_, important) in enumerate(self._queue):
            if not important:
                del self._queue[index]
                return
        self._queue.popleft()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    if self._closing:
                        return
                    self._changed.wait(1.0)
                line, _ = self._queue.popleft()
                self._changed.notify_all()
            try:
                self._put(line + "\n")
            except (OSError, ValueError) as error:  # ValueError: the stream was closed under us
                if self._lost(error):
                    return
            self._report()

    def _lost(self, error: OSError | ValueError) -> bool:
        """Account for a line that could not be written; True when no other ever will."""
        # EINVAL: what Windows says of a closed pipe
        gone = isinstance(error, ValueError) or error.errno in (errno.EPIPE, errno.EINVAL, errno.EBADF)
        with self._changed:
            if gone:
                self.gone = True
                self._queue.clear()
            else:
                self.dropped += 1
            self._changed.notify_all()
        if gone:
            self._stop.set()
        elif not self._failed:
            self._failed = True
            log.warning("output: a line could not be written (%s); going on, lines are lost meanwhile", error)
        return gone

    def _put(self, text: str) -> None:
        if self._fd is None:
            self._stream.write(text)
            self._stream.flush()
            return
        # The descriptor itself: a thread stuck inside the buffered stream would hold its lock, and the
        # interpreter then dies at exit instead of leaving.
        data = memoryview(text.encode(self._encoding, errors="backslashreplace"))
        while data and not self._left:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # somebody made the terminal non-blocking
                select.select([], [self._fd], [], 0.5)

    def _report(self, *, final: bool = False) -> None:
        with self._changed:
            news = self.dropped - self._reported
            now = self._clock.monotonic()
            if self.gone or not news or (not final and now - self._reported_at < REPORT_EVERY_S):
                return
            self._reported, self._reported_at = self.dropped, now
        why = "they could not be written" if self._failed else "the reader is too slow"
        log.warning("output: %d lines lost, %s (%d in all)", news, why, self.dropped)


def _descriptor(stream: IO[str]) -> int | None:
    """The stream's descriptor; None where only the stream's own `write` will do."""
    try:
        fd = stream.fileno()
        if os.name == "nt" and stream.isatty():
            return None  # the Windows console takes text through the stream only
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return None
    return fd


def _same_file(fd: int | None, other: IO[str] | None) -> bool:
    if fd is None or other is None:
        return False
    try:
        return os.path.samestat(os.fstat(fd), os.fstat(other.fileno()))
    except (OSError, ValueError, AttributeError):
        return False
