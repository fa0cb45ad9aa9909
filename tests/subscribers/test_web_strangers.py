"""Who can reach the page's port can open connections and send anything; nobody else may notice."""

from __future__ import annotations

import asyncio
import logging
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from streamer.subscribers.publisher_address import PublisherAddress
from streamer.subscribers.web import connection_acceptor, page_connection, web_server
from streamer.subscribers.web.app import Settings
from streamer.subscribers.web.client_queues import ClientQueue
from streamer.subscribers.web.page_state import PageState
from tests.helpers.bus_parts import DEADLINE, event, status, until
from tests.helpers.certificates import make_certificate
from tests.helpers.web_parts import listening, live, published, served

TOKEN = "a-token-of-more-than-sixteen"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NOBODY = "tcp://127.0.0.1:9"  # where no publisher is


def head(port: int, method: str = "GET", path: str = "/", *lines: str) -> bytes:
    rest = "".join(f"{line}\r\n" for line in (f"Host: 127.0.0.1:{port}", *lines))
    return f"{method} {path} HTTP/1.1\r\n{rest}\r\n".encode()


def ended(link: socket.socket) -> bool:
    """Whether the server has closed a connection; what it sent before is read away."""
    while select.select([link], [], [], 0)[0]:
        try:
            if not link.recv(65536):
                return True
        except OSError:
            return True
    return False


@contextmanager
def connections(port: int, count: int, data: bytes = b"") -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        links = []
        for _ in range(count):
            link = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=DEADLINE))
            link.sendall(data)
            links.append(link)
        yield links


@pytest.mark.realtime
@pytest.mark.parametrize("held", [b"", b"G", "refused"], ids=["silent", "a byte", "refused"])
def test_strangers_do_not_keep_the_token_s_holder_out(tmp_path: Path, held: bytes | str) -> None:
    with (
        published(tmp_path / "e.db") as bus,
        served(bus.endpoint, token=TOKEN, pages=4) as web,
        listening(web.port, headers=BEARER) as page,
    ):
        live(page)
        data = head(web.port) + b"G" if isinstance(held, str) else held
        with connections(web.port, 300, data) as links:
            for _ in range(3):
                assert web.ask("/", headers=BEARER)[0] == 200
            with listening(web.port, headers=BEARER) as second:
                live(second)
            until(lambda: sum(not ended(link) for link in links) <= 196, "there is room for so many only")
        bus.event(event("e1"))
        page.until(lambda: "e1" in page.events(), "who was there before stayed")


def test_strangers_who_come_all_the_time_do_not_either() -> None:
    with served(NOBODY, token=TOKEN, pages=1) as web, ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connections(web.port, 25, b"GET / HT"))
            assert web.ask("/", headers=BEARER)[0] == 200


@pytest.mark.parametrize("first", [False, True], ids=["new", "after a request"])
def test_a_head_that_drips_in_has_a_deadline(monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    monkeypatch.setattr(page_connection, "REQUEST_HEAD", 0.2)
    monkeypatch.setattr(page_connection, "KEEP_ALIVE", 0.2)
    with served(NOBODY) as web, connections(web.port, 1) as (link,):
        if first:
            link.sendall(head(web.port, "GET", "/icon.svg"))
            assert link.recv(12) == b"HTTP/1.1 200"
        end = time.monotonic() + DEADLINE
        while not ended(link):
            assert time.monotonic() < end, "it drips for ever"
            try:
                link.sendall(b"x")
            except OSError:
                break
            select.select([link], [], [], 0.02)


def test_over_tls_whoever_never_begins_is_left_and_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_acceptor, "REQUEST_HEAD", 0.3)
    certificate, key = make_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with served(NOBODY, tls=web_server.Tls(certificate, key)) as web, connections(web.port, 50) as links:
        plain = socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE)
        with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as link:
            link.sendall(head(web.port))
            assert link.recv(12) == b"HTTP/1.1 200"
        until(lambda: all(map(ended, links)), "strangers' connections end")


@pytest.mark.realtime
def test_strangers_who_never_begin_tls_keep_nobody_out(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with served(NOBODY, tls=web_server.Tls(certificate, key)) as web, connections(web.port, 200) as links:
        until(lambda: sum(not ended(link) for link in links) <= 64, "there is room for so many only")
        plain = socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE)
        with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as link:
            link.sendall(head(web.port))
            assert link.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    ("path", "lines", "status"),
    [("/", (), 401), ("/", ("Host: again",), 400), ("/healthz", (), 200), ("/main.js?token=x", (), 401)],
)
def test_a_stranger_s_connection_is_closed_after_its_answer(
    path: str, lines: tuple[str, ...], status: int
) -> None:
    with served(NOBODY, token=TOKEN) as web, connections(web.port, 1) as (link,):
        link.sendall(head(web.port, "GET", path, *lines))
        answer = b""
        while data := link.recv(65536):
            answer += data
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"connection: close" in answer.lower()


def test_the_holder_s_connection_is_kept() -> None:
    with served(NOBODY, token=TOKEN) as web, connections(web.port, 1) as (link,):
        for _ in range(3):
            link.sendall(head(web.port, "GET", "/nothing", f"Authorization: Bearer {TOKEN}"))
            answer = b""
            while not answer.endswith(b"Not Found"):
                answer += link.recv(65536)
            assert answer.startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//", "http://\xff", "x" * 5000, "null", ""])
def test_an_origin_that_is_none_is_refused_without_a_word(
    caplog: pytest.LogCaptureFixture, origin: str
) -> None:
    with caplog.at_level(logging.WARNING), served(NOBODY) as web, connections(web.port, 1) as (link,):
        lines = (f"Origin: {origin}", "Content-Type: application/json", "Content-Length: 2")
        link.sendall(head(web.port, "POST", "/mark", *lines) + b"{}")
        assert link.recv(12) == b"HTTP/1.1 403"
    assert caplog.text == ""


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # TLS
        b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f" + bytes(54),  # ZMTP
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /mark HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /mark HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /mark HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: " + b"9" * 4000 + b"\r\n\r\n",
        b"POST /mark HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFF\r\n",
        b"POST /mark HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
        b"POST / HTTP/1.1\r\nHost: evil\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello there\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET / HTTP/1.1\nHost: 127.0.0.1\n\n",
        b"GET http://[ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /%ff%fe?%ff=%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: " + b'a="\\' * 2000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=" + b"0-1," * 3000 + b"\r\n\r\n",
        b"\r\n" * 50_000,
        b"\n" * 100_000,
    ],
)
def test_what_is_no_proper_request_costs_no_line_and_nobody_else(
    caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    with caplog.at_level(logging.WARNING), served(NOBODY) as web:
        with connections(web.port, 20) as links:
            for link in links:
                try:
                    link.sendall(data)
                except OSError:
                    continue
            assert web.ask("/healthz")[0] == 200
        assert web.ask("/")[0] == 200
    assert caplog.text == ""


def test_garbage_after_an_answer_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), served(NOBODY) as web, connections(web.port, 1) as (link,):
        link.sendall(head(web.port, "POST", "/", "Transfer-Encoding: chunked"))
        assert link.recv(12) == b"HTTP/1.1 405"
        link.sendall(b"no chunk\r\n")
        until(lambda: ended(link))
    assert caplog.text == ""


def test_two_requests_in_one_are_two_with_their_own_checks() -> None:
    """What a proxy in between might take for one request's body is never read as another's head."""
    with served(NOBODY, token=TOKEN) as web, connections(web.port, 1) as (link,):
        inner = head(web.port, "GET", "/nothing")
        lines = (f"Authorization: Bearer {TOKEN}", f"Content-Length: {len(inner)}")
        link.sendall(head(web.port, "GET", "/nothing", *lines) + inner + inner)
        answer = b""
        while data := link.recv(65536):
            answer += data
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"404", b"401"]


@pytest.mark.parametrize("ticks", range(6))
def test_a_wait_that_is_cancelled_while_it_ends_is_cancelled(ticks: int) -> None:
    """Else the page's end waits for ever for a task that has not heard of it."""

    async def scenario() -> None:
        box = ClientQueue()
        task = asyncio.create_task(box.wait(DEADLINE))
        for _ in range(3):
            await asyncio.sleep(0)
        box.fall_behind()
        for _ in range(ticks):
            await asyncio.sleep(0)
        cancelled = task.cancel()  # False: it had ended by then
        await asyncio.wait([task])
        assert task.cancelled() or not cancelled

    asyncio.run(scenario())


def test_a_fault_that_ends_the_news_ends_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else the page looks alive, and hears nothing for ever."""
    monkeypatch.setattr(PageState, "status", lambda *_: 1 / 0)
    stop, listening = threading.Event(), web_server.listen("127.0.0.1", 0)
    with published(tmp_path / "e.db") as bus:
        bus.status(status())
        with pytest.raises(ZeroDivisionError):
            web_server.serve(Settings(PublisherAddress(bus.endpoint)), listening, stop)
