"""Players of recordings as processes on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from queue import Queue
from typing import IO, Any

from streamer.cluster.archive_jobs import Job, News, What
from streamer.system.redaction import redact
from streamer.system.terminal_text import printable

LAST_LINES = 3  # of what a process printed before it ended, for the reason


class LocalPool:
    """See `archive_jobs.Pool`.

    Args:
        threads: of each process; None: as many as its libraries take by themselves.
    """

    def __init__(self, threads: int | None) -> None:
        self.heard: Queue[tuple[int, News]] = Queue()
        self._environment = dict(os.environ)
        if threads is not None:
            self._environment["OMP_NUM_THREADS"] = str(threads)
        self._processes: dict[int, subprocess.Popen[str]] = {}

    def start(self, player: int) -> None:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "streamer.cluster.archive_process"],  # -P: no module of this folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=self._environment,
            start_new_session=True,  # Ctrl+C is for us to hear, who then end it
        )
        self._processes[player] = process
        threading.Thread(
            target=self._listen, args=(player, process), name=f"player-{player}", daemon=True
        ).start()

    def load(self, player: int, config: Mapping[str, Any]) -> None:
        self._send(self._processes[player], {"load": dict(config)})

    def play(self, player: int, job: Job) -> None:
        self._send(self._processes[player], {"play": job.as_json()})

    def kill(self, player: int) -> None:
        if (process := self._processes.get(player)) is not None:
            process.kill()

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()

    def _send(self, process: subprocess.Popen[str], order: Mapping[str, Any]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        except (OSError, ValueError):  # it has ended, and its pipe is closed: its listener says so
            return

    def _listen(self, player: int, process: subprocess.Popen[str]) -> None:
        """One player's news to its end; a thread of its own."""
        assert process.stdout is not None
        assert process.stderr is not None
        last: deque[str] = deque(maxlen=LAST_LINES)
        errors = threading.Thread(target=last.extend, args=(process.stderr,), daemon=True)
        errors.start()
        for line in process.stdout:
            self.heard.put((player, News.of_json(json.loads(line))))
        code = process.wait()
        errors.join(1.0)
        self.heard.put((player, News(What.GONE, reason=_ending(code, list(last)))))
        _close(process.stdin, process.stdout, process.stderr)


def _ending(code: int, last: list[str]) -> str:
    """How a process ended, in words."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        said = " (out of memory?)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{said}"
    words = "; ".join(printable(redact(line.strip())) for line in last if line.strip())
    return f"its process ended with code {code}{': ' + words if words else ''}"


def _close(*streams: IO[str] | None) -> None:
    for stream in streams:
        if stream is not None:
            try:
                stream.close()
            except OSError:  # what could not be sent to a process that has ended
                continue
