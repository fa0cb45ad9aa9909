"""Metrics and health over HTTP: what is answered, and who is kept out by nobody."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from streamer.cli.command_line import main
from streamer.config import MetricsConfig
from streamer.errors import ConfigError
from streamer.metrics import http_server
from streamer.metrics.health import judge
from streamer.metrics.http_server import Reply, Server, address_of, json_reply
from streamer.system.addresses import is_loopback
from streamer.types import (
    CameraState,
)
from tests.helpers.monitoring_parts import (
    EVIL,
    LIMITS,
    PATIENCE,
    camera,
    stats,
    until,
)

pytestmark = pytest.mark.usefixtures("no_thread_left")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("9464", ("127.0.0.1", 9464)),
        ("[::1]:9464", ("::1", 9464)),
        ("0.0.0.0:9464", ("0.0.0.0", 9464)),
        ("localhost:9464", ("127.0.0.1", 9464)),
        ("metrics.example:80", ("metrics.example", 80)),
    ],
)
def test_without_a_host_it_is_this_machine_alone(text: str, wanted: tuple[str, int]) -> None:
    assert address_of(text) == wanted
    assert MetricsConfig(listen=text).listen == text
    assert is_loopback(wanted[0]) is (wanted[0] in ("127.0.0.1", "::1"))


@pytest.mark.parametrize(
    "text", ["*:9464", "localhost", "127.0.0.1:", "127.0.0.1:99999", "http://x:1", "x:-1", ""]
)
def test_an_address_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"give HOST:PORT"):
        address_of(text)
    if text and "99999" not in text:
        with pytest.raises(ValueError, match=r"give HOST:PORT"):
            MetricsConfig(listen=text)


@contextmanager
def serving(pages: dict[str, Any] | None = None) -> Iterator[tuple[str, int]]:
    made = Server("127.0.0.1:0", pages or {"/healthz": lambda accept: Reply(200, "text/plain", b"well\n")})
    host, _, port = made.address.partition(":")
    try:
        yield host, int(port)
    finally:
        made.close()
        until(lambda: not [t for t in threading.enumerate() if t.name == "metrics-answer"])


def send(address: tuple[str, int], data: bytes) -> bytes:
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(data)
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:9464\r\n\r\n", 200),
        (b"GET /healthz?x=1 HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\n\n", 200),
        (b"HEAD /healthz HTTP/1.1\r\n\r\n", 405),
        (b"POST /healthz HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"DELETE / HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET http://other/healthz HTTP/1.1\r\n\r\n", 404),
        (b"GET /healthz\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET /healthz HTTP/2\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: [::1]:9464\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: rebound.example:9464\r\n\r\n", 421),
        (b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.rebound.example\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 3000 + b"\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_answered(request_: bytes, status: int) -> None:
    with serving() as address:
        answer = send(address, request_)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"\r\nConnection: close\r\n" in answer
        assert int(re.findall(rb"Content-Length: (\d+)", answer)[0]) == len(answer.partition(b"\r\n\r\n")[2])
        assert send(address, b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"well\n"), "it lives on"


def test_a_page_that_fails_is_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    def broken(accept: str) -> Reply:
        raise RuntimeError("secret")

    with serving({"/metrics": broken}) as address:
        answer = send(address, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer


def test_sockets_that_say_nothing_keep_nobody_out() -> None:
    with serving() as address, ExitStack() as held:
        for _ in range(3 * http_server.MOST_CONNECTIONS):
            held.enter_context(socket.create_connection(address, timeout=10))
            assert send(address, b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"well\n")


def test_refused_clients_that_stay_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "LINGER", PATIENCE)
    monkeypatch.setattr(http_server, "DEADLINE", PATIENCE)
    with serving() as address, ExitStack() as held:
        for _ in range(2 * http_server.MOST_CONNECTIONS):
            refused = held.enter_context(socket.create_connection(address, timeout=10))
            refused.sendall(b"POST /healthz HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
            assert refused.recv(4096).startswith(b"HTTP/1.1 405 ")
            assert send(address, b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"well\n")


def test_clients_that_do_not_take_their_answer_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "DEADLINE", PATIENCE)
    large = Reply(200, "text/plain", bytes(16 << 20))  # more than the sockets' buffers hold
    pages = {"/metrics": lambda accept: large, "/healthz": lambda accept: Reply(200, "text/plain", b"well\n")}
    with serving(pages) as address, ExitStack() as held:
        for _ in range(2 * http_server.MOST_CONNECTIONS):
            greedy = held.enter_context(socket.create_connection(address, timeout=10))
            greedy.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert greedy.recv(16), "its answer has begun"
            assert send(address, b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"well\n")


def test_a_head_that_comes_byte_by_byte_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "DEADLINE", 0.5)
    with serving() as address, socket.create_connection(address, timeout=10) as dripping:

        def gone() -> bool:
            try:
                dripping.sendall(b"T")  # each byte comes long before the deadline of a single read
                return dripping.recv(100, socket.MSG_DONTWAIT) == b""
            except BlockingIOError:
                return False
            except OSError:
                return True

        until(gone, "who takes longer than the deadline is let go")


def test_an_address_for_other_machines_answers_to_every_name() -> None:
    made = Server("0.0.0.0:0", {"/healthz": lambda accept: Reply(200, "text/plain", b"well\n")})
    try:
        address = "127.0.0.1", int(made.address.rpartition(":")[2])
        answer = send(address, b"GET /healthz HTTP/1.1\r\nHost: monitor.example:9464\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
    finally:
        made.close()


def test_a_page_that_fails_at_every_scrape_is_logged_once_a_minute(warnings_of_streamer: list[str]) -> None:
    def broken(accept: str) -> Reply:
        raise RuntimeError("secret")

    with serving({"/metrics": broken}) as address:
        for _ in range(20):
            assert send(address, b"GET /metrics HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 500 ")
    assert warnings_of_streamer == ["/metrics could not be answered"]


def test_a_port_in_use_is_one_line_and_leaves_nothing_running(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ["run", "demo", "--bind", "", "--set", "journal.path=", "--ui", "none", "--metrics", address]
        assert main(words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"streamer: metrics cannot be served at {address}: ")
    assert line.endswith("give another address with --metrics")


def test_a_cameras_own_words_do_not_steer_the_terminal_of_who_asks() -> None:
    """curl prints /healthz, systemctl the status; half a surrogate pair cannot even be sent."""
    seen = stats(camera(EVIL, CameraState.RECONNECTING, age=90.0, detail=EVIL))
    reply = json_reply(503, judge(seen, LIMITS).report(seen))
    text = reply.body.decode()
    assert text.rstrip("\n").isprintable()
    assert json.loads(text)["cameras"] == {EVIL: "reconnecting"}
