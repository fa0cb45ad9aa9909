"""Life signs for systemd, over real sockets."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamer.config import MetricsConfig
from streamer.metrics.monitoring import Monitoring
from streamer.metrics.systemd import Notifier
from streamer.types import (
    CameraState,
    InferenceStats,
    Stats,
)
from tests.helpers.monitoring_parts import (
    EVIL,
    NOW,
    PATIENCE,
    camera,
    stats,
    unix,
)

pytestmark = pytest.mark.usefixtures("no_thread_left")


@contextmanager
def notify_socket(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(PATIENCE)
        yield listening


@unix
def test_a_message_to_a_socket_by_path(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    notifier = Notifier({"NOTIFY_SOCKET": path})
    assert not notifier.send(READY=1), "nobody listens: nobody's problem"
    with notify_socket(path) as listening:
        assert notifier.send(READY=1, STATUS="all\nis  well\nWATCHDOG=1")
        assert listening.recv(4096) == b"READY=1\nSTATUS=all is well WATCHDOG=1", "one line each"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the abstract namespace is Linux's")
def test_a_message_to_an_abstract_socket() -> None:
    name = f"streamer-test-{os.getpid()}"
    with notify_socket(f"\0{name}") as listening:
        assert Notifier({"NOTIFY_SOCKET": f"@{name}"}).send(WATCHDOG=1)
        assert listening.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),  # meant for another process
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_when_the_watchdog_wants_to_hear(environment: dict[str, str], interval: float | None) -> None:
    assert Notifier(environment).interval == interval


@pytest.mark.parametrize("path", ["", "vsock:2:1234", "relative"])
def test_nothing_happens_where_no_socket_is_named(path: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": path})
    assert not notifier.wanted
    assert not notifier.send(READY=1)


@unix
def test_a_status_for_systemd_is_one_printable_line(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with notify_socket(path) as listening:
        assert Notifier({"NOTIFY_SOCKET": path}).send(STATUS=EVIL)
        said = listening.recv(4096).decode()
    assert said.isprintable()
    assert said.startswith("STATUS=gate")


@unix
def test_a_stuck_program_is_not_said_to_live_and_a_lost_camera_is_no_reason_to_restart(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "notify")
    lost = stats(camera("door", CameraState.RECONNECTING, age=100.0))
    stuck = stats(inference=(InferenceStats("demo", NOW - 100, NOW - 100),))
    with notify_socket(path) as listening:
        for seen, alive in ((lost, True), (stuck, False)):
            looked = threading.Semaphore(0)

            def look(seen: Stats = seen, looked: threading.Semaphore = looked) -> Stats:
                looked.release()
                return seen

            notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "60000"})
            with Monitoring(MetricsConfig(), look, notifier=notifier):
                for _ in range(3):
                    assert looked.acquire(timeout=PATIENCE)
            said = []
            while not said or not said[-1].startswith("STOPPING=1"):
                said.append(listening.recv(4096).decode())
            assert ("WATCHDOG=1" in said) is alive
            assert any(word.startswith("STATUS=failing: ") for word in said)
