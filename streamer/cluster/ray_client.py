"""The front's side of `ray_process`: a launcher whose Ray lives in a process of its own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from streamer.cluster.ray_launcher import ENTRY, LauncherError
from streamer.cluster.worker_settings import WorkerSettings
from streamer.errors import ConfigError
from streamer.system import install_extras
from streamer.system.backoff import Backoff

log = logging.getLogger(__name__)


class RayClient:
    """See `launcher.Launcher`. While the cluster is away every call raises LauncherError; it is looked for
    again, ever more rarely.

    Args:
        address: HOST:PORT of the head, or "auto".
        entry: see `RayLauncher`.

    Raises:
        ConfigError: Ray is not installed.
    """

    def __init__(self, address: str, *, entry: str = ENTRY) -> None:
        install_extras.need("cluster", "--ray", instead="leave --ray out")
        # -P: no module of the current folder
        self._command = [sys.executable, "-P", "-m", "streamer.cluster.ray_process", address, entry]
        self._process: subprocess.Popen[str] | None = None
        self._closed = False
        self._lock = threading.Lock()  # guards the two above
        self._asking = threading.Lock()  # held while an answer is waited for
        self._backoff, self._again, self._problem = Backoff(1.0, 30.0), 0.0, ""
        self.here = ""  # this machine's address, as the cluster's other machines reach it

    def connect(self) -> None:
        """Raises ConfigError: the cluster is open to everybody. LauncherError: it cannot be had now."""
        with self._asking:
            self._connected()

    def nodes(self) -> Sequence[str]:
        return list(self._ask("nodes"))

    def workers(self) -> Mapping[str, str]:
        return dict(self._ask("workers"))

    def start(self, node: str, settings: WorkerSettings) -> None:
        self._ask("start", node=node, settings=asdict(settings))

    def stop(self, name: str) -> None:
        self._ask("stop", name=name)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()  # a call in another thread ends with it
        with self._asking:
            self._end()

    # ---- the process

    def _connected(self) -> subprocess.Popen[str]:
        if self._process is not None:
            return self._process
        if time.monotonic() < self._again:
            raise LauncherError(self._problem)
        with self._lock:
            if self._closed:
                raise LauncherError("it is closed")
            process = self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, encoding="utf-8", errors="replace",
                start_new_session=True,  # Ctrl+C is for us to hear
            )  # fmt: skip
        threading.Thread(target=_note, args=(process,), name="ray-says", daemon=True).start()
        try:
            self.here = self._answer(process)
        except (LauncherError, ConfigError) as error:
            self._end()
            self._problem, self._again = str(error), time.monotonic() + self._backoff.next()
            raise
        self._backoff.reset()
        return process

    def _ask(self, call: str, **words: Any) -> Any:
        with self._asking:
            process = self._connected()
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps({"call": call, **words}) + "\n")
                process.stdin.flush()
            except OSError:  # it has ended: so says its answer
                log.debug("Ray's process takes no calls")
            return self._answer(process)

    def _answer(self, process: subprocess.Popen[str]) -> Any:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            self._end()
            raise LauncherError(
                "Ray has ended its process here: its head, or its part on this machine, is away; "
                "what it started there is not made anew until it is back"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise ConfigError(answer["error"]) if answer.get("never") else LauncherError(answer["error"])
        return answer["told"]

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(OSError):  # what could not be sent any more
                pipe.close()


def _note(process: subprocess.Popen[str]) -> None:
    """What Ray prints goes to our log; a thread of its own."""
    assert process.stderr is not None
    with process.stderr as said:
        for line in said:
            log.info("Ray: %s", line.rstrip()[:300])
