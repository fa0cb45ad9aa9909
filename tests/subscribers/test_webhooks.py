"""Webhooks: every event reaches a real HTTP receiver, signed, in order, whatever the receiver does."""

from __future__ import annotations

import gc
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import EventMessage, Publisher
from streamer.bus.position import Position
from streamer.cli.command_line import main
from streamer.errors import BusError, ConfigError
from streamer.subscribers import bridge
from streamer.subscribers.event_filter import EventFilter
from streamer.subscribers.publisher_address import PublisherAddress
from streamer.subscribers.state_file import StateFile
from streamer.subscribers.webhook import signing
from streamer.subscribers.webhook.http_client import parse_target
from streamer.subscribers.webhook.webhook_bridge import GONE, Settings, WebhookBridge, judge, retry_after
from streamer.testing import FakeClock
from tests.helpers.bridge_parts import (
    ROOT,
    Running,
    history_of,
    kill,
    publish_events,
    start_command,
    start_publisher,
)
from tests.helpers.bus_parts import DEADLINE, free_pair, publisher, until
from tests.helpers.certificates import make_certificate

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
posix = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.next(dict(self.headers), body)
        answer(self)

    def do_GET(self) -> None:
        self.server.followed = True
        self.say(200)

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Receiver(ThreadingHTTPServer):
    """Answers with what `answers` holds, one after the other, then with 204; keeps all that came."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.answers: list[Answer] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.followed = False
        self.ended = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def next(self, headers: dict[str, str], body: bytes) -> Answer:
        with self._lock:
            self.got.append((headers, body))
            return self.answers.pop(0) if self.answers else lambda handler: handler.say(204)

    def handle_error(self, *_: object) -> None:
        pass  # a bridge that hangs up is what some tests want

    def close(self) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    @property
    def keys(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]

    @property
    def seqs(self) -> list[int]:
        return [json.loads(body)["seq"] for _, body in self.got]


def status(code: int, **headers: str) -> Answer:
    return lambda handler: handler.say(code, **headers)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def bus() -> Iterator[Publisher]:
    with publisher() as made:
        yield made


class Waits(FakeClock):
    """Waits are over at once, and written down."""

    def __init__(self) -> None:
        super().__init__(wall=time.time())
        self.waits: list[float] = []

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        return super().wait(event, seconds) or event.wait(0.002)


class Hook(WebhookBridge):
    """A webhook from `bus` to `url` that begins at the history's begin."""

    def __init__(self, bus: Publisher, url: str, folder: Path, **more: Any) -> None:
        self.lines: list[str] = []
        self.accepted: list[int] = []
        self.clock = Waits()
        more = {"since": 0.0, "events": EventFilter(), "timeout": 5.0, "secrets": ()} | more
        self.state = folder / "state.json"
        settings = Settings(
            PublisherAddress(bus.endpoint), parse_target(url), self.state, folder / "dead.jsonl", **more
        )
        super().__init__(settings, clock=self.clock, tell=self.lines.append)

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def _deliver(self, message: EventMessage) -> bool:
        accepted = super()._deliver(message)
        if accepted:
            self.accepted.append(message.seq)
        return accepted


def test_each_event_is_posted_in_order_as_it_was_sent(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    with Running(Hook(bus, receiver.url, tmp_path, secrets=signing.parse_secrets(SECRET, "test"))):
        publish_events(bus, ["a", "b"], camera="Tür/1", label="Wäsche")
        until(lambda: len(receiver.got) == 6, "six messages")
    assert receiver.seqs == [1, 2, 3, 4, 5, 6]
    headers, body = receiver.got[0]
    told = json.loads(body)
    assert told["idempotency_key"] == headers["webhook-id"] == f"{bus.state().session}-1"
    assert (told["type"], told["camera"], told["event"]["phase"]) == ("event", "Tür/1", "start")
    assert headers["Content-Type"] == "application/json"
    assert documented_verifier()(headers, body, SECRET), "the receiver of docs/integrations.md accepts it"
    assert len(set(receiver.keys)) == 6


def documented_verifier() -> Callable[[Mapping[str, str], bytes, str], bool]:
    """The example for receivers, as it stands in the document."""
    text = (ROOT / "docs" / "integrations.md").read_text("utf-8")
    found = re.search(r"```python\n(# verify\.py.*?)```", text, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    verify: Callable[[Mapping[str, str], bytes, str], bool] = names["verify"]
    return verify


def test_the_documented_receiver_refuses_what_is_forged_altered_or_old() -> None:
    verify, body, now = documented_verifier(), b'{"seq":1}', int(time.time())

    def signed(at: int, secret: str = SECRET) -> dict[str, str]:
        made = signing.signature(signing.parse_secrets(secret, "test"), "x-1", at, body)
        return {"webhook-id": "x-1", "webhook-timestamp": str(at), "webhook-signature": made}

    assert verify(signed(now), body, SECRET)
    other = "whsec_" + "A" * 32
    assert verify(signed(now, f"{other} {SECRET}"), body, SECRET), "one of two secrets is enough"
    assert not verify(signed(now, other), body, SECRET)
    assert not verify(signed(now), body + b" ", SECRET)
    assert not verify(signed(now - 3600), body, SECRET)
    assert not verify({}, body, SECRET)


def test_the_signature_is_that_of_the_specification() -> None:
    keys = signing.parse_secrets(SECRET, "test")
    made = signing.signature(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="  # of its own reference libraries


@pytest.mark.parametrize("text", ["hello", "whsec_", "whsec_!!!", "whsec_" + "A" * 8, "MfKQ9r8GKYqrTwjU" * 2])
def test_a_bad_secret_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="openssl rand") as caught:
        signing.parse_secrets(text, "--secret-file f")
    assert text.removeprefix("whsec_") not in str(caught.value).replace("echo", "") or text in ("whsec_",)


def test_only_what_was_asked_for_is_sent_and_the_rest_is_passed_by(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    wanted = {"events": EventFilter(("door",), ("waving", "falling"), ("start",))}
    hook = Hook(bus, receiver.url, tmp_path, **wanted)
    with Running(hook):
        publish_events(bus, ["a"], camera="door")
        publish_events(bus, ["b"], camera="yard")
        publish_events(bus, ["c"], camera="door", label="still")
        publish_events(bus, ["d"], camera="door", label="falling")
        publish_events(bus, ["e"], camera="door", label="falling")
        until(lambda: 13 in receiver.seqs, "the last wanted one, sent when the one before was accepted")
    assert receiver.seqs == [1, 10, 13]
    assert position(hook.state) in range(10, 16)


def position(state: Path) -> int:
    if not state.exists():
        return 0
    since = json.loads(state.read_text())["since"]
    return int(since[1]) if isinstance(since, list) else 0


@pytest.mark.parametrize("code", [500, 502, 503, 429, 408])
def test_a_receiver_in_trouble_gets_the_same_event_until_it_takes_it(
    bus: Publisher, receiver: Receiver, tmp_path: Path, code: int
) -> None:
    receiver.answers = [status(code)] * 12
    hook = Hook(bus, receiver.url, tmp_path)
    with Running(hook):
        publish_events(bus, ["a"])
        until(lambda: len(receiver.got) == 15, "all three arrive")
    assert receiver.seqs == [1] * 13 + [2, 3]
    assert len({body for _, body in receiver.got[:13]}) == 1, "one key, one body"
    assert [line for line in hook.lines if f"answered {code}" in line] == [
        f"http://127.0.0.1:{receiver.server_address[1]}/... answered {code}"
        f" {Handler.responses[code][0]}; trying again"
    ], "said once, not each time"
    assert hook.said("deliveries work again")
    assert hook.clock.waits[:12] == sorted(hook.clock.waits[:6]) + hook.clock.waits[6:12]
    assert all(30 <= wait <= 60 for wait in hook.clock.waits[6:12]), "bounded, with jitter"


@pytest.mark.parametrize(("asked", "least"), [("7", 7.0), ("100000", 600.0)])
def test_retry_after_is_honoured_within_bounds(
    bus: Publisher, receiver: Receiver, tmp_path: Path, asked: str, least: float
) -> None:
    receiver.answers = [status(429, Retry_After=asked)]
    hook = Hook(bus, receiver.url, tmp_path)
    with Running(hook):
        publish_events(bus, ["a"])
        until(lambda: len(receiver.got) == 4, "all arrive")
    assert hook.clock.waits == [least]


def test_retry_after_may_be_a_date_or_nonsense() -> None:
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1445412480 - 5) == 5
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1445412480 + 5) == 0
    assert [retry_after(text, 0.0) for text in (None, "", "soon", "-5", "1e9", "nan", "9" * 400)][:6] == [
        0
    ] * 6
    assert retry_after("9" * 400, 0.0) in (0.0, 600.0)


def test_a_refused_event_is_parked_after_some_attempts_and_the_next_goes_on(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = [status(404)] * 3
    hook = Hook(bus, receiver.url, tmp_path, give_up=3)
    with Running(hook):
        publish_events(bus, ["a"])
        until(lambda: len(receiver.got) == 5, "the others arrive")
    assert receiver.seqs == [1, 1, 1, 2, 3]
    (line,) = (tmp_path / "dead.jsonl").read_text().splitlines()
    parked = json.loads(line)
    assert (parked["status"], parked["attempts"], parked["message"]["seq"]) == (404, 3, 1)
    assert parked["key"] == receiver.keys[0]
    assert (tmp_path / "dead.jsonl").stat().st_mode & 0o77 == 0
    assert hook.said("refused 3 times, the last with 404 Not Found")


def test_without_giving_up_a_refused_event_is_tried_for_ever(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = [status(403)] * 20
    with Running(Hook(bus, receiver.url, tmp_path, give_up=0)):
        publish_events(bus, ["a"])
        until(lambda: len(receiver.got) == 23, "it arrives at last")
    assert receiver.seqs == [1] * 21 + [2, 3]


def test_redirects_are_not_followed(bus: Publisher, receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [status(302, Location=receiver.url)]
    hook = Hook(bus, receiver.url, tmp_path, give_up=1)
    with Running(hook):
        publish_events(bus, ["a"])
        until(lambda: len(receiver.got) == 3, "the others arrive")
    assert not receiver.followed
    assert hook.said("redirects are not followed")


def test_410_ends_it_and_the_event_is_not_counted_as_delivered(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = [status(204), status(410)]
    hook = Hook(bus, receiver.url, tmp_path)
    with Running(hook) as running:
        publish_events(bus, ["a"])
        running.end()
    assert (running.code, running.error) == (GONE, None)
    assert hook.said("answered 410 Gone: it wants no more events; ended")
    assert position(hook.state) == 1


def silent(handler: Handler) -> None:
    handler.server.ended.wait(10)


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


@pytest.mark.realtime
def test_a_receiver_that_is_not_there_yet_gets_everything_later(bus: Publisher, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    hook = Hook(bus, f"http://127.0.0.1:{port}/hook", tmp_path)
    with Running(hook):
        publish_events(bus, [f"e{n}" for n in range(500)])  # more than a reader's queue and a page hold
        until(lambda: len(hook.clock.waits) > 5, "some attempts failed")
        late = Receiver(port)
        until(lambda: len(set(late.seqs)) == 1500, "everything arrives")
        late.close()
    assert late.seqs == list(range(1, 1501))
    assert len([line for line in hook.lines if "Connection refused" in line]) == 1


def test_a_missing_part_of_the_history_is_told_and_passed_by(receiver: Receiver, tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "events.db"
    with publisher(path) as bus:
        publish_events(bus, ["a", "b"])
        until(lambda: path.exists() and len(history_of(path)) == 6, "written")
    db = sqlite3.connect(path)
    db.execute("DELETE FROM events WHERE seq <= 4")
    db.commit()
    db.close()
    with publisher(path) as bus:
        hook = Hook(bus, receiver.url, tmp_path, since=("seq", 1))
        with Running(hook):
            until(lambda: 6 in receiver.seqs, "what is left arrives")
    assert receiver.seqs == [5, 6]
    assert hook.said("3 event message(s), numbers 2 to 4, cannot be had any more (no longer in")


def test_a_restart_goes_on_behind_the_last_accepted_event(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    hook = Hook(bus, receiver.url, tmp_path)
    with Running(hook):
        publish_events(bus, ["a"])
        until(lambda: hook.accepted == [1, 2, 3], "the first three, and that they were accepted is known")
    publish_events(bus, ["b"])
    with Running(Hook(bus, receiver.url, tmp_path)):
        until(lambda: len(receiver.got) >= 6, "the next three")
    assert receiver.seqs == [1, 2, 3, 4, 5, 6]


def test_stopping_does_not_wait_for_a_receiver(bus: Publisher, receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [silent]
    with Running(Hook(bus, receiver.url, tmp_path, timeout=60.0)):
        publish_events(bus, ["a"])
        until(lambda: len(receiver.got) == 1, "it waits for an answer")
        began = time.monotonic()
    assert time.monotonic() - began < 5, "not the 60 s of its time-out"


# ---- encryption


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_tls_is_verified(
    bus: Publisher, receiver: Receiver, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    url = receiver.url.replace("http:", "https:")
    doubting = Hook(bus, url, tmp_path, context=ssl.create_default_context())
    with Running(doubting):
        publish_events(bus, ["a"])
        until(lambda: doubting.said("its certificate is not trusted"), "it is refused")
    assert receiver.got == []
    trusting = Hook(bus, url, tmp_path, context=ssl.create_default_context(cafile=str(certificate[0])))
    with Running(trusting):
        until(lambda: len(receiver.got) == 3, "it is trusted")
    assert receiver.seqs == [1, 2, 3]


# ---- the command


def test_secrets_appear_nowhere(bus: Publisher, receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [status(500)]
    url = receiver.url.replace("http://", "http://alice:pass%40word@") + "/T0KEN?sig=s1gned"
    hook = Hook(bus, url, tmp_path, secrets=signing.parse_secrets(SECRET, "test"))
    with Running(hook):
        publish_events(bus, ["a"])
        until(lambda: 3 in receiver.seqs, "all arrive")
    import base64

    assert receiver.got[0][0]["Authorization"] == "Basic " + base64.b64encode(b"alice:pass@word").decode()
    told = (
        " ".join(hook.lines) + repr(hook._settings) + hook.state.read_text() + " ".join(os.listdir(tmp_path))
    )
    for secret in ("alice", "pass", "word", "T0KEN", "s1gned", SECRET[6:], "MfKQ"):
        assert secret not in told


def test_the_default_state_file_tells_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from argparse import ArgumentParser

    from streamer.cli import webhook

    parser = ArgumentParser()
    webhook.add_arguments(parser)
    made = webhook.settings_of(parser.parse_args(["--url", "https://u:pw@example.invalid/T0KEN?x=1"]))
    assert made.state.name.startswith("webhook-tcp-127-0-0-1-5555-https-example-invalid-")
    other = webhook.settings_of(parser.parse_args(["--url", "https://u:pw@example.invalid/0THER"]))
    assert other.state != made.state
    assert not any(secret in str(made.state) for secret in ("T0KEN", "pw"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "where to?"),
        (["--url", "ftp://x/"], "no address for webhooks"),
        (["--url", "https://"], "no address for webhooks"),
        (["--url", "http://x:99999/"], "no address for webhooks"),
        (["--url", "http://x/", "--phase", "begin"], "--phase 'begin'"),
        (["--url", "http://x/", "--timeout", "0"], "--timeout 0"),
        (["--url", "http://x/", "--give-up", "-1"], "--give-up -1"),
        (["--url", "http://x/", "--secret-file", "/nowhere"], "--secret-file: cannot read"),
        (["--url", "https://x/", "--ca", "/nowhere"], "--ca /nowhere"),
        (["--url", "http://x/", "--since", "yesterday"], "no point in time"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["webhook", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@posix
def test_a_secret_file_that_others_can_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    file.chmod(0o644)
    assert main(["webhook", "--url", "http://127.0.0.1:1/", "--secret-file", str(file)]) == 2
    error = capsys.readouterr().err
    assert "chmod 600" in error
    assert SECRET not in error


@posix
def test_a_dead_letter_file_that_others_can_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And so is a key of our own, which the page's and MQTT's TLS have."""
    from streamer.subscribers.stderr_lines import warn_if_exposed

    file = tmp_path / "dead.jsonl"
    warn_if_exposed(file, "--dead-letters")
    file.touch(0o600)
    warn_if_exposed(file, "--dead-letters")
    assert capsys.readouterr().err == ""
    file.chmod(0o644)
    words = ["--url", "http://127.0.0.1:1/", "--dead-letters", str(file), "--state", "/proc/nowhere/state"]
    assert main(["webhook", *words]) == 2
    assert f"--dead-letters: {file}: others on this machine can read it" in capsys.readouterr().err


def test_two_bridges_do_not_share_a_state_file(bus: Publisher, receiver: Receiver, tmp_path: Path) -> None:
    first = Hook(bus, receiver.url, tmp_path)
    with Running(first):
        until(lambda: first.state.exists(), "it runs")
        with Running(Hook(bus, receiver.url, tmp_path)) as second:
            second.end()
    assert isinstance(second.error, BusError)
    assert "in use" in str(second.error)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"since": null}', '{"since": ["seq", "x"]}', '{"since": 1, "extra": 2}']
)
def test_a_damaged_state_file_is_not_taken_for_a_new_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(BusError, match="is damaged"):
        StateFile(tmp_path / "state.json", 1.0)
    StateFile(tmp_path / "other.json", 1.0).close()
    (tmp_path / "state.json").unlink()
    StateFile(tmp_path / "state.json", 1.0).close()  # the lock was given back


def test_a_state_file_is_there_before_the_first_event(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.json", 123.5)
    assert json.loads((tmp_path / "state.json").read_text())["since"] == 123.5
    state.close()
    again = StateFile(tmp_path / "state.json", 999.0)
    assert again.position == Position.at(123.5)
    again.close()


def test_a_full_disk_costs_doubles_not_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    clock = FakeClock()
    state = StateFile(tmp_path / "state.json", 1.0, clock=clock, on_problem=lines.append)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    clock.advance(1)
    with monkeypatch.context() as patched:
        patched.setattr("streamer.system.atomic_files.os.replace", full)
        state.move(Position("seq", 5))
        state.tick()
        clock.advance(6)
        state.tick()
    assert len(lines) == 1
    assert "No space left" in lines[0]
    clock.advance(6)
    state.tick()
    assert len(lines) == 2
    assert Position.of(json.loads((tmp_path / "state.json").read_text())["since"]) == Position("seq", 5)
    state.close()


def test_keys_tell_messages_apart_and_hold_no_full_stop(bus: Publisher) -> None:
    from streamer.bus.messages import parse

    def message(session: str, seq: int) -> Any:
        raw = {"v": 1, "type": "event", "session": session, "seq": seq, "sent_at": 1.0, "camera": "c",
               "event": {"id": "1.5-1", "phase": "start", "label": "x", "score": 0.5, "peak": 0.5,
                         "started_at": 1.0, "decided_at": 1.0, "ended_at": None}}  # fmt: skip
        return parse(raw)

    pairs = [("a", 11), ("a1", 1), ("a-1", 1), ("a_2d_1", 1), ("a.1", 1), ("\n", 1)]
    keys = [bridge.idempotency_key(message(*pair)) for pair in pairs]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", key) for key in keys)


def test_answers_and_what_they_mean() -> None:
    codes = 199, 200, 299, 304, 400, 401, 404, 408, 410, 425, 429, 500, 599
    meant = {code: judge(code) for code in codes}
    assert meant == {
        199: "refused", 200: "accepted", 299: "accepted", 304: "refused", 400: "refused", 401: "refused",
        404: "refused", 408: "later", 410: "gone", 425: "later", 429: "later", 500: "later", 599: "later",
    }  # fmt: skip


# ---- kill -9 of everybody

RECEIVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(body) < int(self.headers["Content-Length"]):
            return  # the sender was killed while it sent
        with open(sys.argv[2], "ab") as book:
            book.write(self.headers["webhook-id"].encode() + b" " + body + b"\\n")
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
"""


class Crashes:
    def __init__(self, folder: Path) -> None:
        self.history, self.book, self.log = folder / "events.db", folder / "book", folder / "log"
        self.endpoint = f"tcp://127.0.0.1:{free_pair()}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.book.touch()
        secret = folder / "secret"
        secret.touch(0o600)
        secret.write_text(SECRET)
        url, state = f"http://127.0.0.1:{self.port}/", str(folder / "state.json")
        self.words = ["webhook", self.endpoint, "--url", url, "--state", state, "--since", "seq:0"]
        self.words += ["--max-wait", "0.1", "--secret-file", str(secret), "--phase", "start,update,end"]
        self.running = {"receiver": self.receive(), "bridge": self.bridge(), "publisher": self.publish(0.02)}

    def receive(self) -> subprocess.Popen[Any]:
        words = [sys.executable, "-c", RECEIVER, str(self.port), str(self.book)]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    def bridge(self) -> subprocess.Popen[Any]:
        return start_command(self.words, self.log)

    def publish(self, pause: float) -> subprocess.Popen[Any]:
        return start_publisher(self.endpoint, self.history, pause)

    def again(self, name: str, make: Callable[[], subprocess.Popen[Any]]) -> None:
        size = self.book.stat().st_size
        until(lambda: self.book.stat().st_size > size, "events flow: a kill before that would test nothing")
        kill(self.running[name])
        self.running[name] = make()

    def received(self) -> list[tuple[str, bytes]]:
        lines = self.book.read_bytes().splitlines()
        return [(key.decode(), body) for key, _, body in (line.partition(b" ") for line in lines)]

    def close(self) -> None:
        for child in self.running.values():
            if child.poll() is None:
                kill(child)


@pytest.mark.realtime
@posix
def test_kills_of_bridge_receiver_and_publisher_lose_nothing(tmp_path: Path) -> None:
    crashes = Crashes(tmp_path)
    try:
        for _ in range(2):
            crashes.again("bridge", crashes.bridge)
            crashes.again("receiver", crashes.receive)
            crashes.again("publisher", lambda: crashes.publish(0.02))
        crashes.again("publisher", lambda: crashes.publish(0))
        truth = {row["seq"] for row in history_of(tmp_path / "events.db")}
        until(lambda: {json.loads(body)["seq"] for _, body in crashes.received()} >= truth, "all arrive")
    finally:
        crashes.close()
    got = crashes.received()
    bodies: dict[str, set[bytes]] = {}
    for key, body in got:
        bodies.setdefault(key, set()).add(body)
    assert all(len(different) == 1 for different in bodies.values()), "no key with two bodies"
    sent = {(row["session"], row["seq"], row["event"]["id"], row["event"]["phase"]) for row in
            history_of(tmp_path / "events.db")}  # fmt: skip
    arrived = [json.loads(body) for _, body in got]
    assert {(m["session"], m["seq"], m["event"]["id"], m["event"]["phase"]) for m in arrived} == sent
    assert len(bodies) == len(sent) > 30
    firsts = list(dict.fromkeys(message["seq"] for message in arrived))
    assert firsts == sorted(firsts), "in order"
    print(f"{len(sent)} events, {len(got) - len(sent)} doubles")
