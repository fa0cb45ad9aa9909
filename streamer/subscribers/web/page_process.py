"""The page beside a run: `streamer web` as a process of the run's own.

A process and not a thread: whatever happens to the page or its readers (a fault, memory, a busy interpreter)
cannot touch recognition; it is started again. It ends with the run, however that ends: its standard input is
a pipe that closes then.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import streamer
from streamer.errors import ConfigError
from streamer.system.backoff import Backoff
from streamer.system.clock import SYSTEM_CLOCK, Clock

READY = "the page is at "
START = 60.0  # seconds for the page to begin on a busy machine
STOP = 0.7  # seconds for it to end
HEALTHY = 30.0  # seconds after which the next wait is short again
_PREFIX = "streamer: "


class PageProcess:
    """A context manager; the page is served while it is entered.

    Args:
        words: the options of `streamer web`.
        note: gets one line when people should know something: where the page is, that it was started again.

    Raises (on entering):
        ConfigError: the page cannot be served as it should; with its own words.
    """

    def __init__(
        self, words: Sequence[str], note: Callable[[str], None], clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._words, self._note, self._clock = [*words, "--beside-run"], note, clock
        self._stop = threading.Event()
        self._ready = threading.Event()  # it serves, or has ended without ever serving
        self._failed: str | None = None
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="web-page", daemon=True)

    def __enter__(self) -> PageProcess:
        self._start()
        self._thread.start()
        self._ready.wait(START)
        if self._failed is not None:
            self.__exit__()
            raise ConfigError(self._failed)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join(STOP)

    @property
    def pid(self) -> int | None:
        """Of the page's process."""
        return None if self._process is None else self._process.pid

    def _start(self) -> None:
        source = str(Path(streamer.__file__).resolve().parents[1])
        paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
        apart = {"creationflags": 0x200} if os.name == "nt" else {"start_new_session": True}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "streamer", "web", *self._words],  # -P: no module of this folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            text=True,
            encoding="utf-8",
            errors="replace",
            **apart,  # Ctrl+C is for the run, which ends the page
        )

    def _run(self) -> None:
        """Pass on what the page says; start it again when it has ended."""
        backoff = Backoff(1.0, 30.0)
        while not self._stop.is_set():
            began = self._clock.monotonic()
            last = self._listen()
            if self._stop.is_set():
                return
            if not self._ready.is_set():
                self._failed = last or "the page could not be started"
                self._ready.set()
                return
            if self._clock.monotonic() - began > HEALTHY:
                backoff.reset()
            wait = backoff.next()
            why = f" ({last})" if last else ""
            self._note(f"the page has ended{why}; it is started again in {wait:.0f} s, recognition continues")
            while not self._clock.wait(self._stop, wait):
                try:
                    self._start()
                    break
                except OSError as error:  # no memory, too many processes: that may pass
                    wait = backoff.next()
                    self._note(f"the page cannot be started ({error}); tried again in {wait:.0f} s")

    def _listen(self) -> str:
        """Until the process ends; its last line."""
        process, last = self._process, ""
        assert process is not None
        assert process.stdout is not None
        for line in process.stdout:
            last = line.rstrip("\n").removeprefix(_PREFIX)
            if last:
                if self._ready.is_set() or last.startswith(READY):
                    self._note(last)
                if last.startswith(READY):
                    self._ready.set()
        process.wait()
        if self._stop.is_set() and process.stdin is not None:
            return last
        with contextlib.suppress(OSError):
            process.stdout.close()
        return last
