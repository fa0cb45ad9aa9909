"""`python -m tests.helpers.warm_server FOLDER SESSION MODULE...`: forks the processes of `warm_processes`.

It has imported the modules and has done nothing with them: it has one thread, and no library has computed
anything. Each process it forks becomes what `python -m MODULE` or `python -c CODE` would be, with the
standard streams, folder, environment and words of who asked. It ends with the process SESSION, and what it
has started ends with it. A process whose asker is gone is killed, unless the asker is such a process.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

SOCKET = "warm.socket"
STATUS = struct.Struct("i")  # what waitpid says
ROOT = str(Path(__file__).resolve().parents[2])
WAIT_POLICY = "PASSIVE"  # `streamer.system.threads.prepare` sets it
LONGEST = 30.0  # seconds an asker may take to say what it wants
ENOUGH = 1 << 20  # bytes of a request
PDEATHSIG = 1  # PR_SET_PDEATHSIG
# what may differ from the environment in which this process has imported: it is not read at import
FREE = ("XDG_", "PYTEST_", "STREAMER_", "TESTS_", "COV_", "COVERAGE_", "NOTIFY_SOCKET", "WATCHDOG_")
FREE += ("COLUMNS", "LINES", "TERM", "NO_COLOR", "PULSE_RUNTIME_PATH")


class Child(NamedTuple):
    """A process that runs, and who asked for it."""

    pid: int
    link: socket.socket
    kept: bool  # it goes on when its asker has ended


def fixed(environment: dict[str, str]) -> dict[str, str]:
    """What of an environment must be the same as it was when this process imported its libraries."""
    kept = {name: value for name, value in environment.items() if not name.startswith(FREE)}
    paths = kept.get("PYTHONPATH", "").split(os.pathsep)
    kept["PYTHONPATH"] = os.pathsep.join(path for path in paths if path not in ("", ROOT))
    return kept


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def main(folder: Path, session: int, modules: list[str]) -> None:
    given = dict(os.environ)
    watched = os.pidfd_open(session)
    gc.disable()  # what is imported stays: looking for what could be freed takes a fifth of the time
    load(folder, modules)
    gc.enable()
    if threads() != 1:
        sys.exit(f"not to be forked: {threads()} threads run")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / SOCKET))
    listener.listen(64)
    if os.fork():
        os._exit(0)  # who waits for it knows that it listens
    gc.collect()
    gc.freeze()
    made = {name: value for name, value in os.environ.items() if name not in given}
    if (asked := Server(listener, watched, made).serve()) is None:
        os._exit(0)
    become(asked)


def load(folder: Path, modules: list[str]) -> None:
    """Import modules; of MODULE:FUNCTION, call that, which imports more."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "no-cache")  # transformers reads it at import
    os.environ.setdefault("OMP_WAIT_POLICY", WAIT_POLICY)
    for name in modules:
        module, _, function = name.partition(":")
        imported = import_module(module)
        if function:
            getattr(imported, function)()


class Server:
    """Takes requests one by one, and tells each asker how its process ended."""

    def __init__(self, listener: socket.socket, session: int, made: dict[str, str]) -> None:
        self._listener, self._session = listener, session
        self._made = made  # variables that libraries, and modules of ours, have set when they were imported
        self._given = fixed(dict(os.environ))
        self._children: dict[int, Child] = {}  # by its pidfd
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(session, selectors.EVENT_READ)

    def serve(self) -> dict[str, Any] | None:
        """Returns in each forked process what it is to become; None at the session's end."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    if (asked := self._accept()) is not None:
                        return asked
                elif key.fd == self._session:
                    return None
                elif key.data is None:
                    self._ended(key.fd)
                else:
                    self._left(key.data)

    def _accept(self) -> dict[str, Any] | None:
        """In the forked process, its request."""
        link, _ = self._listener.accept()
        link.settimeout(LONGEST)
        try:
            asked, files = receive(link)
        except (OSError, ValueError):  # it was killed while it asked
            link.close()
            return None
        asked["environment"] = {**self._made, **asked["environment"]}
        theirs = fixed(asked["environment"])
        if theirs != self._given:
            other = sorted(name for name, _ in theirs.items() ^ self._given.items())
            print(f"a real start: {other} differ", file=sys.stderr, flush=True)
            with suppress(OSError):
                link.sendall(STATUS.pack(0))
            link.close()
            close(files)
            return None
        server = os.getpid()
        if (pid := os.fork()) == 0:
            self._selector.close()
            self._listener.close()
            close([self._session, *self._children])
            for child in self._children.values():
                child.link.close()
            link.close()
            return {**asked, "files": files, "server": server}
        close(files)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = child = Child(pid, link, asked["kept"])
        self._selector.register(pidfd, selectors.EVENT_READ)
        self._selector.register(link, selectors.EVENT_READ, child)
        with suppress(OSError):
            link.sendall(STATUS.pack(pid))
        return None

    def _ended(self, pidfd: int) -> None:
        if (child := self._children.pop(pidfd, None)) is None:
            return
        status = os.waitpid(child.pid, 0)[1]
        self._selector.unregister(pidfd)
        os.close(pidfd)
        with suppress(KeyError):
            self._selector.unregister(child.link)
        with suppress(OSError):
            child.link.sendall(STATUS.pack(status))
        child.link.close()

    def _left(self, child: Child) -> None:
        """Its asker has closed the connection, or has ended."""
        if child not in self._children.values():  # it ended in the same moment, which was seen first
            return
        self._selector.unregister(child.link)
        if not child.kept:
            os.kill(child.pid, signal.SIGKILL)


def receive(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request, and the three standard streams."""
    data, files, _, _ = socket.recv_fds(link, ENOUGH, 3)
    try:
        while not data.endswith(b"\n"):
            if not (more := link.recv(ENOUGH)):
                raise OSError("the asker has ended")
            data += more
        if len(files) != 3:
            raise OSError("no streams")
        return json.loads(data), files
    except (OSError, ValueError):
        close(files)
        raise


def close(files: list[int]) -> None:
    for file in files:
        os.close(file)


def become(asked: dict[str, Any]) -> None:
    """What a start of Python would be from here on."""
    ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)
    if os.getppid() != asked["server"]:
        os._exit(1)
    if asked["own_session"]:
        os.setsid()
    else:
        os.setpgid(0, 0)
    for number, file in enumerate(asked["files"]):
        os.dup2(file, number)
    close(asked["files"])
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = opened_anew(number, getattr(sys, name), raw=asked["unbuffered"])
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.path[:1] = [] if asked["safe_path"] else ["" if asked["option"] == "-c" else asked["folder"]]
    if asked["inside"]:
        from tests.helpers import warm_processes

        warm_processes.for_what_this_process_starts()
    sys.argv[:] = ["-c" if asked["option"] == "-c" else "", *asked["words"]]
    if asked["option"] == "-m":
        runpy.run_module(asked["what"], run_name="__main__", alter_sys=True)
    else:
        exec(
            compile(asked["what"], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__}
        )


def opened_anew(number: int, old: TextIOWrapper, *, raw: bool) -> TextIOWrapper:
    """A standard stream as Python makes it for what the file descriptor is now; `raw` as with -u."""
    raw = raw or old.write_through
    file = open(number, "wb" if number else "rb", buffering=0 if raw and number else -1, closefd=False)  # noqa: SIM115
    lines = number == 2 or file.isatty()
    return TextIOWrapper(
        file, old.encoding, old.errors, "\n" if number else None, line_buffering=lines, write_through=raw
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
