"""What a webhook takes for an answer: odd receivers, slow ones, and what follows a status."""

from __future__ import annotations

import gc
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import Publisher
from tests.helpers.bridge_parts import Running, publish_events
from tests.helpers.bus_parts import DEADLINE, until
from tests.helpers.webhook_parts import Answer, Handler, Hook, Receiver, bus, receiver, silent

__all__ = ["bus", "receiver"]  # fixtures


def dripping(handler: Handler) -> None:
    """A byte now and then: each read is in time, the whole is not."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.server.ended.wait(0.1):
        handler.wfile.write(b"x")
        handler.wfile.flush()


def half_head(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 20")
    handler.close_connection = True


def garbage(handler: Handler) -> None:
    handler.wfile.write(b"hello\r\n\r\n")
    handler.close_connection = True


def hang_up(handler: Handler) -> None:
    handler.close_connection = True


def flooding(handler: Handler) -> None:
    """Headers without end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.server.ended.is_set():
        handler.wfile.write(b"X-Header: " + b"x" * 60_000 + b"\r\n")


def hesitating(handler: Handler) -> None:
    """Says "soon" without end."""
    while not handler.server.ended.wait(0.01):
        handler.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (flooding, "trying again"),
        (hesitating, "no whole answer within 0.4 s"),
        (silent, "no whole answer within 0.4 s"),
        (dripping, "no whole answer within 0.4 s"),
        (half_head, "trying again"),
        (garbage, "does not speak HTTP"),
        (hang_up, "closed the connection without an answer"),
    ],
)
def test_an_answer_that_is_none_is_tried_again(
    bus: Publisher, receiver: Receiver, tmp_path: Path, answer: Answer, said: str
) -> None:
    receiver.answers = [answer]
    hook = Hook(bus, receiver.url, tmp_path, timeout=0.4)
    with Running(hook):
        publish_events(bus, ["a"])
        until(lambda: 3 in receiver.seqs, "all arrive")
    assert receiver.seqs == [1, 1, 2, 3]
    assert hook.said(said), hook.lines


def test_a_receiver_that_stalls_before_http_is_left_in_time(
    bus: Publisher, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """It accepts connections, and never answers TLS."""
    gc.disable()
    request.addfinalizer(gc.enable)
    with socket.create_server(("127.0.0.1", 0)) as stalling:
        hook = Hook(bus, f"https://127.0.0.1:{stalling.getsockname()[1]}/", tmp_path, timeout=0.3)
        with Running(hook):
            publish_events(bus, ["a"])
            until(lambda: hook.said("no whole answer within 0.3 s"), "the deadline covers TLS")
            link, _ = stalling.accept()
        with link:
            link.settimeout(DEADLINE)
            while link.recv(4096):  # the connection is closed, not left to the garbage collector
                pass


def test_a_name_that_is_looked_up_for_long_holds_up_neither_deadline_nor_end(
    bus: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    real = socket.getaddrinfo

    def slow(host: Any, *more: Any, **named: Any) -> Any:
        if host not in ("slow.invalid", b"slow.invalid"):
            return real(host, *more, **named)
        released.wait(DEADLINE * 2)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    hook = Hook(bus, "http://slow.invalid/", tmp_path, timeout=0.3)
    try:
        with Running(hook):
            publish_events(bus, ["a"])
            until(lambda: hook.said("no whole answer within 0.3 s"), "the deadline covers the name")
    finally:
        released.set()


def half_body(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    handler.close_connection = True


def endless_body(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    handler.close_connection = True
    while not handler.server.ended.is_set():
        handler.wfile.write(b"x" * 65536)


def chunked_body(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n")


def last_words(handler: Handler) -> None:
    """Keeps the connection, it says; then closes it."""
    handler.say(200)
    handler.close_connection = True


@pytest.mark.parametrize("answer", [half_body, endless_body, chunked_body, last_words])
def test_an_accepted_event_is_accepted_whatever_follows_the_status(
    bus: Publisher, receiver: Receiver, tmp_path: Path, answer: Answer
) -> None:
    receiver.answers = [answer]
    with Running(Hook(bus, receiver.url, tmp_path)):
        publish_events(bus, ["a"])
        until(lambda: 3 in receiver.seqs, "all arrive")
    assert receiver.seqs == [1, 2, 3]


def test_the_connection_is_kept_while_the_receiver_does(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    ports = set()

    def note(handler: Handler) -> None:
        ports.add(handler.client_address[1])
        chunked_body(handler)

    receiver.answers = [note, note, note]
    with Running(Hook(bus, receiver.url, tmp_path)):
        publish_events(bus, ["a"])
        until(lambda: 3 in receiver.seqs, "all arrive")
    assert len(ports) == 1
