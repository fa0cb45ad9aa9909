"""Processes of the program that need not import torch and transformers again, which takes 4 s of a core.

`start` and `run` are `subprocess.Popen` and `subprocess.run` for `[sys.executable, "-m", ...]`. A process
that has imported everything (`warm_server`, one for a test run, begun at the first use) forks the new one: a
process of its own, with real pipes, signals and an exit status; only its parent is another, and its imports
are done. Whoever tests the start itself (what is imported and when, variables that are read at import,
memory, limits, packages) starts it with `subprocess`. So does this, wherever it cannot be forked: not on
Linux, with another environment than the test run has, with options other than these.
"""

from __future__ import annotations

import inspect
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.helpers import made_once
from tests.helpers.warm_server import SOCKET, STATUS

MODULES = [
    "streamer.capture.opencv:load",
    "av", "starlette.applications", "uvicorn", "torch._meta_registrations",
    "transformers.models.timesformer.modeling_timesformer",
    "streamer.bus.publisher", "streamer.cluster.recording_player",
    "streamer.cli.archive", "streamer.cli.run", "streamer.cli.worker", "streamer.cli.web",
    "streamer.recognition.families.timesformer", "streamer.recognition.loading",
    "streamer.recognition.stream_loading",
]  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {
    "stdin", "stdout", "stderr", "text", "encoding", "errors", "bufsize", "cwd", "env", "start_new_session",
}  # fmt: skip
FLAGS = {"-P", "-u"}  # of Python
NEEDED = {"args", "cwd", "env", "start_new_session", "p2cread", "p2cwrite", "c2pread", "c2pwrite"}
NEEDED |= {"errread", "errwrite"}
PARAMETERS = list(inspect.signature(getattr(subprocess.Popen, "_execute_child", int)).parameters)[1:]
POSSIBLE = sys.platform == "linux" and set(PARAMETERS) >= NEEDED
REAL = subprocess.Popen
INSIDE: dict[str, bool] = {}  # filled in a process that was started with `inside`


def start(args: Sequence[str | Path], *, inside: bool = False, **options: Any) -> subprocess.Popen[Any]:
    """`subprocess.Popen`. With `inside`, what the process starts itself is forked by the same server."""
    words = [] if isinstance(args, str) else [str(word) for word in args]
    if not POSSIBLE or options.keys() - OPTIONS or _parsed(words) is None:
        return REAL(args, **options)
    return WarmProcess(words, inside, **options)


def run(
    args: Sequence[str | Path], *, timeout: float, check: bool = False, inside: bool = False,
    capture_output: bool = False, **options: Any,
) -> subprocess.CompletedProcess[Any]:  # fmt: skip
    """`subprocess.run`."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(args, inside=inside, **options) as process:
        try:
            out, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, errors)
    if check:
        done.check_returncode()
    return done


def for_what_this_process_starts() -> None:
    """All of its own starts of Python are forked too, and go on when it is killed, as others would."""
    INSIDE["kept"] = True
    subprocess.Popen = start  # type: ignore[assignment,misc]


@contextmanager
def for_what_is_started_meanwhile() -> Iterator[None]:
    """Starts of Python are forked, whichever library asks for them."""
    subprocess.Popen = start  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        subprocess.Popen = REAL  # type: ignore[misc]


class WarmProcess(REAL[Any]):
    """A `Popen` whose process is the server's child, which tells how it ended."""

    _link: socket.socket | None = None

    def __init__(self, words: list[str], inside: bool, **options: Any) -> None:
        self._inside = inside
        super().__init__(words, **options)

    def _execute_child(self, *given: Any) -> None:
        asked = dict(zip(PARAMETERS, given, strict=True))
        self._link = self._ask(asked)
        if self._link is None:
            super()._execute_child(*given)  # type: ignore[misc]
            return
        self._child_created = True
        ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(asked[end] for end in ends))  # type: ignore[attr-defined]

    def _ask(self, asked: dict[str, Any]) -> socket.socket | None:
        link = connect()
        if link is None:
            return None
        flags, option, what, words = _parsed(asked["args"]) or ([], "", "", [])
        environment = os.environ if asked["env"] is None else asked["env"]
        request = {
            "safe_path": "-P" in flags, "unbuffered": "-u" in flags,
            "option": option, "what": what, "words": words,
            "folder": str(Path(asked["cwd"] or ".").resolve()), "environment": dict(environment),
            "own_session": asked["start_new_session"], "inside": self._inside, "kept": bool(INSIDE),
        }  # fmt: skip
        streams = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
        files = [number if file == -1 else file for number, file in enumerate(streams)]
        try:
            socket.send_fds(link, [b" "], files)
            link.sendall(json.dumps(request).encode() + b"\n")
            self.pid = _number(link)
        except OSError:  # the server was killed just now
            self.pid = 0
        if not self.pid:  # it has another environment
            link.close()
            return None
        return link

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._link is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc,no-any-return]
        self._link.setblocking(not wait_flags & os.WNOHANG)
        try:
            status = _number(self._link)
        except BlockingIOError:
            return 0, 0
        except OSError:  # the server was killed, and its children with it
            status = 9
        self._link.close()
        return self.pid, status

    def _internal_poll(self, *given: Any, **more: Any) -> int | None:
        if self._link is None:
            return super()._internal_poll(*given, **more)  # type: ignore[misc,no-any-return]
        if self.returncode is None and self._waitpid_lock.acquire(False):  # type: ignore[attr-defined]
            try:
                if self.returncode is None:
                    pid, status = self._try_wait(os.WNOHANG)
                    if pid:
                        self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


def connect() -> socket.socket | None:
    """A connection to the run's server, which is started where there is none; None: it cannot be."""
    if made_once.FOLDER not in os.environ:
        return None
    folder = Path(os.environ[made_once.FOLDER])
    if (link := _connected(folder)) is not None:
        return link
    failed = folder / "warm.failed"
    try:
        with FileLock(folder / "warm.lock"):
            link = _connected(folder)
            if link is not None or failed.exists() or not made_once.environment:
                return link
            (folder / SOCKET).unlink(missing_ok=True)
            words = ["-m", "tests.helpers.warm_server", str(folder), os.environ[made_once.SESSION], *MODULES]
            with (folder / "warm.log").open("ab") as log:
                server = REAL(  # subprocess.run may be ours, where a test forks what is started inside
                    [sys.executable, *words], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    env=made_once.environment, start_new_session=True,
                )  # fmt: skip
                try:
                    code = server.wait(timeout=100)
                except BaseException:
                    server.kill()
                    server.wait()
                    raise
            if code:
                failed.touch()
            return _connected(folder)
    except (OSError, subprocess.SubprocessError):
        return None


def _connected(folder: Path) -> socket.socket | None:
    link = socket.socket(socket.AF_UNIX)
    try:
        link.connect(str(folder / SOCKET))
    except OSError:
        link.close()
        return None
    return link


def _number(link: socket.socket) -> int:
    data = link.recv(STATUS.size)
    if len(data) != STATUS.size:
        raise ConnectionResetError("the server has ended")
    number: int = STATUS.unpack(data)[0]
    return number


def _parsed(words: list[str]) -> tuple[list[str], str, str, list[str]] | None:
    """(flags, -m or -c, what, words) of a start of this Python; None: it is another, or has other flags."""
    if not words or words[0] != sys.executable:
        return None
    flags = list(takewhile(FLAGS.__contains__, words[1:]))
    rest = words[1 + len(flags) :]
    return (flags, rest[0], rest[1], rest[2:]) if rest[:1] in (["-m"], ["-c"]) and rest[1:] else None
