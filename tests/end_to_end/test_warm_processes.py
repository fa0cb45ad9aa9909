"""Processes that tests fork instead of starting them are what a start would be."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.helpers import made_once, warm_processes, warm_server
from tests.helpers.bus_parts import until

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(not warm_processes.POSSIBLE, reason="forks, with pidfds: Linux"),
]

TOLD = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ.get("STREAMER_X"), os.environ.get("MADE_UP"), __name__)
print(sys.stdin.read(), "torch" in sys.modules, file=sys.stderr)
sys.exit(7)
"""
WAITING = "import signal; print(1, flush=True); signal.pause()"


def ran(start: Any, folder: Path, **environment: str) -> tuple[str, str, int]:
    with start(
        [sys.executable, "-c", TOLD, "a", "b c"],
        cwd=folder, env=os.environ | environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        out, errors = process.communicate("input", timeout=100)
    return out, errors, process.returncode


def waiting() -> subprocess.Popen[str]:
    process = warm_processes.start([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    return process


def test_it_is_what_a_start_would_be(tmp_path: Path) -> None:
    out, errors, code = ran(warm_processes.start, tmp_path, STREAMER_X="y")
    assert (out, code) == (f"['a', 'b c'] {tmp_path} y None __main__\n", 7)
    assert errors == "input True\n", "it was forked"
    assert ran(subprocess.Popen, tmp_path, STREAMER_X="y") == (out, "input False\n", 7)


def test_u_writes_at_once_and_without_it_there_is_a_buffer(own_server: Path) -> None:
    told = "import sys; print(sys.stdout.write_through, sys.stderr.write_through)"
    for flags in ([], ["-u"], ["-P", "-u"]):
        command = [sys.executable, *flags, "-c", told]
        forked = warm_processes.run(command, timeout=100, capture_output=True, text=True)
        assert forked.stdout == subprocess.run(command, timeout=100, capture_output=True, text=True).stdout


def test_what_a_library_starts_meanwhile_is_forked_and_later_it_is_not(own_server: Path) -> None:
    command = [sys.executable, "-u", "-c", "import os; print(os.getppid())"]
    with warm_processes.for_what_is_started_meanwhile():
        assert int(subprocess.check_output(command)) != os.getpid()
    assert int(subprocess.check_output(command)) == os.getpid()


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process")
def test_the_processes_of_a_shared_out_run_are_forked(pytestconfig: pytest.Config) -> None:
    parent = Path(f"/proc/{os.getppid()}/cmdline").read_text()
    assert ("tests.helpers.warm_server" in parent) == (not pytestconfig.pluginmanager.has_plugin("_cov"))


def test_with_another_environment_it_is_a_start(tmp_path: Path) -> None:
    out, errors, _ = ran(warm_processes.start, tmp_path, MADE_UP="z")
    assert (out.split()[-2], errors) == ("z", "input False\n")


def test_signals_stop_and_end_it() -> None:
    process = waiting()
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    assert process.poll() is None
    process.kill()
    assert process.communicate(timeout=100) == ("", None)
    assert process.returncode == -signal.SIGKILL


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a server that no other test needs."""
    monkeypatch.setenv(made_once.FOLDER, str(tmp_path))
    monkeypatch.setattr(warm_processes, "MODULES", [])
    monkeypatch.setattr(made_once, "environment", dict(os.environ))
    return tmp_path


def test_it_ends_with_the_server_and_another_server_is_begun(own_server: Path) -> None:
    with waiting() as process:
        server = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert server != os.getpid(), "it was forked by the server"
        os.kill(server, signal.SIGKILL)
        assert process.wait(100) == -signal.SIGKILL
    with waiting() as process:
        process.terminate()
        assert process.wait(100) == -signal.SIGTERM


def test_processes_that_end_as_their_askers_leave_do_not_end_the_server(own_server: Path) -> None:
    processes = [waiting() for _ in range(8)]
    server = psutil.Process(processes[0].pid).parent()
    assert server is not None
    server.suspend()
    try:
        until(lambda: server.status() == psutil.STATUS_STOPPED)
        for process in processes:
            process.kill()
            until(lambda pid=process.pid: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
            process._link.shutdown(socket.SHUT_RDWR)  # told in one go: it has ended, and nobody waits for it
    finally:
        server.resume()
    with waiting() as process:
        asked = psutil.Process(process.pid).parent()
        process.kill()
    assert asked == server, "it goes on"
    for process in processes:
        assert process.communicate(timeout=100) == ("", None)


def test_it_ends_with_the_session(own_server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.DEVNULL) as session:
        monkeypatch.setenv(made_once.SESSION, str(session.pid))
        with waiting() as process:
            session.kill()
            assert process.wait(100) == -signal.SIGKILL


def test_without_a_server_it_is_a_start(own_server: Path, tmp_path: Path) -> None:
    (own_server / warm_server.SOCKET).mkdir()  # nothing can listen there
    _, errors, code = ran(warm_processes.start, tmp_path)
    assert (code, errors) == (7, "input False\n")
