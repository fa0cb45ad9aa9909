"""The page's server: what it tells browsers, what it keeps from strangers, and that nobody slows anybody."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import Publisher, key_store
from streamer.bus.position import Position
from streamer.cli import web
from streamer.config import BusConfig
from streamer.errors import BusError, ConfigError, RequestError
from streamer.recording.files import CLIP, SNAPSHOT, place
from streamer.subscribers.web import page_address, publisher_feed, publisher_requests
from streamer.subscribers.web.access_control import OPEN, AccessRules
from streamer.subscribers.web.client_queues import MOST_WAITING, ClientQueues, sse
from streamer.subscribers.web.login import FORGOTTEN, MOST_ADDRESSES, MOST_WRONG, LoginTries
from streamer.testing import FakeClock
from streamer.types import CameraState, LabelScore, Phase
from tests.helpers.bus_parts import DEADLINE, FREE, event, prediction, publisher, status, until
from tests.helpers.web_parts import Listener, listening, live, published, served

TOKEN = "a-token-of-more-than-sixteen"
NOBODY = "tcp://127.0.0.1:9"  # where no publisher is
MARK = {"camera": "cam0", "event": "e1", "label": "running"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Publisher]:
    with published(tmp_path / "events.db") as made:
        yield made


def act(bus: Publisher, name: str, label: str = "waving", camera: str = "cam0") -> None:
    bus.event(event(name, Phase.START, label=label, camera=camera))
    bus.event(event(name, Phase.END, label=label, camera=camera))


# ---- the stream


def test_a_page_gets_cameras_the_present_and_events(bus: Publisher) -> None:
    bus.status(status(state=CameraState.RECONNECTING, detail="unplugged"))
    bus.prediction(prediction(), LabelScore("waving", 0.9), 2)
    bus.event(event("e1"))
    with served(bus.endpoint) as web, listening(web.port) as page:
        page.until(lambda: any(state["cameras"] for state in page.of("state")))
        page.until(lambda: "e1" in page.events())
        (camera,) = page.of("state")[-1]["cameras"]
        assert camera["status"]["state"] == "reconnecting"
        assert camera["status"]["detail"] == "unplugged"
        assert camera["predictions"][0]["stable"] == {"label": "waving", "display": "waving", "score": 0.9}
        live(page)
        bus.event(event("e1", Phase.END))
        page.until(lambda: page.events()["e1"]["phase"] == "end")
        last = Position.of_cursor(page.last)
        assert last is not None
        assert (last.seq, last.session) == (2, bus.state().session)
        assert last.journal
        bus.status(status("cam1"))
        page.until(lambda: any(told["camera"] == "cam1" for told in page.of("status")))


def test_display_names_travel(tmp_path: Path) -> None:
    with published(tmp_path / "e.db", display=lambda label: {"waving": "يلوّح"}.get(label, label)) as bus:
        bus.event(event("e1"))
        with served(bus.endpoint) as web, listening(web.port) as page:
            page.until(lambda: "e1" in page.events())
            assert page.events()["e1"]["display"] == "يلوّح"


@pytest.mark.realtime
def test_a_page_says_so_where_the_publisher_is_absent_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.bus.subscriber_protocol.SILENCE", 1.5)  # heartbeats come every second
    with published("") as bus:
        endpoint, requests = bus.endpoint, bus.requests_endpoint
    with served(endpoint) as web, listening(web.port) as page:
        page.until(lambda: page.of("state"))
        assert page.of("state")[0]["link"]["state"] == "connecting"
        assert web.ask("/")[0] == 200
        with published(tmp_path / "e.db", endpoint, requests) as again:
            live(page)
            act(again, "e1")
            page.until(lambda: "e1" in page.events())
        page.until(lambda: any(link["state"] == "silent" for link in page.of("link")))


def test_nothing_is_missed_when_the_publisher_is_restarted(tmp_path: Path) -> None:
    with published(tmp_path / "e.db") as bus:
        endpoint, requests = bus.endpoint, bus.requests_endpoint
        with served(endpoint) as web, listening(web.port) as page:
            live(page)
            for number in range(20):
                act(bus, f"a{number}")
            bus.event(event("open"))
            bus.close()
            for turn in "bc":
                with published(tmp_path / "e.db", endpoint, requests) as again:
                    for number in range(20):
                        act(again, f"{turn}{number}")
            wanted = {f"{turn}{number}" for turn in "abc" for number in range(20)} | {"open"}
            with published(tmp_path / "e.db", endpoint, requests):
                page.until(lambda: set(page.events()) == wanted, "all events")
            assert {told["phase"] for told in page.events().values()} == {"end"}
            assert page.events()["open"]["reason"] == "program stopped"


@pytest.mark.parametrize("window", [900.0, 0.0], ids=["from memory", "from the history"])
def test_nothing_is_missed_when_the_page_s_server_is_restarted(
    bus: Publisher, monkeypatch: pytest.MonkeyPatch, window: float
) -> None:
    monkeypatch.setattr("streamer.subscribers.web.publisher_feed.WINDOW", window)
    with served(bus.endpoint) as web, listening(web.port) as page:
        live(page)
        act(bus, "before")
        page.until(lambda: page.events().get("before", {}).get("phase") == "end")
        port, last = web.port, page.last
    for number in range(30):
        act(bus, f"away{number}")
    until(lambda: bus.state().last_event_seq == 62)
    with served(bus.endpoint, port), listening(port, last) as page:
        live(page)
        act(bus, "after")
        page.until(lambda: page.events().get("after", {}).get("phase") == "end")
        found = page.events()
        assert {f"away{number}" for number in range(30)} <= set(found)
        assert {told["phase"] for told in found.values()} == {"end"}
        assert ("before" in found) == (window > 0), "only what is missing is taken from the history"


def test_a_gap_that_cannot_be_filled_is_told(bus: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.subscribers.web.publisher_feed.WINDOW", 0.0)
    monkeypatch.setattr("streamer.subscribers.web.event_stream.PAGES", 2)
    monkeypatch.setattr("streamer.subscribers.web.event_stream.PAGE", 3)
    for number in range(20):
        act(bus, f"e{number}")
    until(lambda: bus.state().last_event_seq == 40)
    with served(bus.endpoint) as web:
        with listening(web.port) as page:
            live(page)
            assert page.of("state")[-1]["complete"] is True
            last = Position.of_cursor(page.last)
        assert last is not None
        with listening(web.port, last._replace(seq=1).cursor) as page:
            live(page)
            assert page.of("state")[-1]["complete"] is False
            assert len(page.of("state")[-1]["missed"]) == 4


@pytest.mark.parametrize("last", ["nonsense", "1-a", "1-a-b\nevent: x", "9" * 400, "-1-a-b", "7-x-y"])
def test_a_wrong_place_is_no_place(bus: Publisher, last: str) -> None:
    act(bus, "e1")
    with served(bus.endpoint) as web, listening(web.port, last.replace("\n", " ")) as page:
        live(page)
        page.until(lambda: "e1" in page.events())


def test_what_the_run_offers_is_asked_until_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_requests, "ANSWER", 0.3)
    monkeypatch.setattr(publisher_feed, "AGAIN", 0.1)
    asked: list[Any] = []

    def features(request: Any, peer: object) -> Any:
        asked.append(request)
        return Future() if len(asked) < 3 else {"pictures": {"clips": True}, "marks": True}

    with (
        published(tmp_path / "e.db", handlers={"features": features}) as bus,
        served(bus.endpoint) as web,
        listening(web.port) as page,
    ):
        page.until(lambda: page.of("state") and page.of("state")[-1]["features"]["marks"], "offers")
        assert page.of("state")[-1]["features"]["known"]
    assert len(asked) >= 3


@pytest.mark.realtime
def test_fifty_pages_and_one_that_never_reads(bus: Publisher) -> None:
    with served(bus.endpoint) as web:
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.connect(("127.0.0.1", web.port))
        deaf.sendall(f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n\r\n".encode())
        pages = [Listener(web.port) for _ in range(49)]
        for page in pages:
            live(page)
        for number in range(600):  # more than a mailbox holds, and than sockets buffer for the one
            bus.event(event(f"e{number:03}-{'x' * 300}"))
        bus.event(event("last"))
        for page in pages:
            page.until(lambda page=page: "last" in page.events(), "the last event")  # type: ignore[misc]
            assert len(page.events()) == 601
        assert web.ask("/healthz")[0] == 200
        for page in pages:
            page.close()
        began = time.monotonic()
    assert time.monotonic() - began < 3.0, "it ends although one page still hangs"
    deaf.close()


def test_a_page_that_is_too_far_behind_gets_the_state_anew() -> None:
    queues = ClientQueues(1)
    box = queues.join()
    box.caught_up()
    for number in range(3):
        queues.publish(("prediction", "cam0"), sse("prediction", {"n": number}))
    assert box.take() == b'event: prediction\ndata: {"n":2}\n\n'
    for number in range(MOST_WAITING + 1):
        queues.publish(("event", number), sse("event", {"n": number}))
    assert box.behind
    assert box.take() == b""


def test_there_are_only_so_many_pages(bus: Publisher) -> None:
    with served(bus.endpoint, pages=2) as web:
        with listening(web.port) as one, listening(web.port) as two:
            live(one)
            live(two)
            status, headers, _ = web.ask("/stream")
            assert (status, headers["retry-after"]) == (503, "10")
            assert web.ask("/stream", "HEAD")[0] == 503
            assert web.ask("/")[0] == 200
        until(lambda: web.ask("/stream", "HEAD")[0] == 200, "the places are free again")


def test_a_publisher_that_refuses_our_key_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.subscribers.web.publisher_feed.AGAIN", 0.2)
    for name in ("server", "client"):
        key_store.new_pair(tmp_path, name)
    secret = BusConfig(bind=FREE, keys=str(tmp_path))
    with publisher(tmp_path / "e.db", bus=secret) as bus:
        bus.event(event("e1"))
        with served(bus.endpoint, keys=tmp_path) as web, listening(web.port) as page:

            def refusals() -> list[str]:  # it may have been refused before the page was there
                links = [*page.of("link"), *(state["link"] for state in page.of("state"))]
                return [link["detail"] for link in links if link["state"] == "refused"]

            page.until(refusals)
            assert "streamer keys allow" in refusals()[0]
            key_store.allow(tmp_path, str(tmp_path / "client.key"), None)
            live(page)
            page.until(lambda: "e1" in page.events())
            until(lambda: b'"e1"' in web.ask("/history")[2], "the history is asked with the key too")


# ---- history and corrections


@pytest.fixture
def full(bus: Publisher) -> Publisher:
    """130 events: cam0 and cam1 take turns, every tenth is a fall."""
    for number in range(130):
        act(bus, f"e{number}", "falling" if number % 10 == 0 else "waving", f"cam{number % 2}")
    until(lambda: bus.state().last_event_seq == 260)
    return bus


def test_history_is_newest_first_and_complete_in_pages(full: Publisher) -> None:
    with served(full.endpoint) as web:
        found: list[str] = []
        page = web.json("/history?limit=40")
        while True:
            found += [told["id"] for told in page["events"] if told["id"] not in found]
            if page["next"] is None:
                break
            page = web.json(f"/history?limit=40&until={page['next']!r}")
        assert found == [f"e{number}" for number in reversed(range(130))]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("camera=cam1&limit=200", 65),
        ("label=falling", 13),
        ("label=falling&camera=cam1", 0),
        ("text=FALL", 13),
        ("text=cam1&limit=200", 65),
        ("text=nothing+like+it", 0),
        ("camera=unknown", 0),
        ("since=99999999999", 0),
        ("until=5", 0),
    ],
)
def test_history_is_searched(full: Publisher, asked: str, wanted: int) -> None:
    with served(full.endpoint) as web:
        told = web.json(f"/history?{asked}")
        assert len(told["events"]) == wanted
        assert told["next"] is None


def test_no_action_is_found_only_where_it_is_named(bus: Publisher) -> None:
    bus.event(dataclasses.replace(event("e1", label="still"), background=True))
    bus.event(event("e2"))
    until(lambda: bus.state().last_event_seq == 2)
    with served(bus.endpoint) as web:
        for asked, wanted in (("", ["e2"]), ("label=still", ["e1"]), ("text=STILL", ["e1"])):
            assert [told["id"] for told in web.json(f"/history?{asked}")["events"]] == wanted


def test_an_event_that_ended_after_the_time_asked_for_has_its_end(bus: Publisher) -> None:
    bus.event(event("long"))
    until(lambda: bus.state().last_event_seq == 1)
    between = time.time() + 0.001
    until(lambda: time.time() > between + 0.001)
    bus.event(event("long", Phase.END))
    until(lambda: bus.state().last_event_seq == 2)
    with served(bus.endpoint) as web:
        (told,) = web.json(f"/history?until={between!r}")["events"]
        assert told["phase"] == "end"


@pytest.mark.parametrize("asked", ["since=x", "since=-1", "until=nan", "limit=1e9", f"text={'x' * 300}"])
def test_a_search_that_makes_no_sense_is_refused(asked: str) -> None:
    with served(NOBODY) as web:
        status, _, body = web.ask(f"/history?{asked}")
        assert (status, json.loads(body)["code"]) == (400, "bad_request")


@pytest.mark.realtime
def test_no_publisher_no_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.subscribers.web.publisher_requests.ANSWER", 0.3)
    with served(NOBODY) as web:
        status, _, body = web.ask("/history")
        assert (status, json.loads(body)["code"]) == (502, "no_answer")


def test_a_correction_reaches_the_run(tmp_path: Path) -> None:
    asked: list[Mapping[str, Any]] = []

    def mark(request: Mapping[str, Any], _peer: object) -> dict[str, Any]:
        asked.append(request)
        if request["camera"] == "cam9":
            raise RequestError("unknown_event", "this event is not kept any more")
        return {"type": "marked", "event": request["event"]}

    with published(tmp_path / "e.db", handlers={"mark": mark}) as bus, served(bus.endpoint) as web:
        for label in ("running", None):
            told = web.json("/mark", method="POST", headers=JSON, body={**MARK, "label": label})
            assert told["event"] == "e1"
            assert {key: asked[-1][key] for key in ("op", "camera", "event", "label")} == {
                "op": "mark", "camera": "cam0", "event": "e1", "label": label,
            }  # fmt: skip
        status, _, body = web.ask("/mark", "POST", JSON, {**MARK, "camera": "cam9"})
        assert status == 502
        assert json.loads(body) == {"error": "this event is not kept any more", "code": "unknown_event"}


def test_a_run_that_keeps_no_corrections_says_so(bus: Publisher) -> None:
    with served(bus.endpoint) as web:
        status, _, body = web.ask("/mark", "POST", JSON, MARK)
        assert (status, json.loads(body)["code"]) == (501, "unknown_op")


# ---- strangers


def test_headers_keep_browsers_strict(bus: Publisher) -> None:
    with served(bus.endpoint) as web:
        for path in ("/", "/main.js", "/nothing", "/history", "/healthz", "/mark"):
            _, headers, _ = web.ask(path)
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self';")
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["referrer-policy"] == "same-origin"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "server" not in headers


def test_the_page_needs_nothing_from_elsewhere_and_no_inline_script() -> None:
    found: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    folder = Path(page_address.__file__).parent / "page"
    Reader().feed((folder / "index.html").read_text("utf-8"))
    assert found
    for tag, attrs in found:
        assert not any(name.startswith("on") or name == "style" for name in attrs), (tag, attrs)
        assert tag != "style"
        assert tag != "script" or "src" in attrs
    for file in folder.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|innerHTML|insertAdjacentHTML|\beval\(", text), file


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:{port}", 200), ("127.0.0.1", 200), ("[::1]:{port}", 200), ("LOCALHOST", 200),
     ("evil.example", 421), ("127.0.0.1.evil.example:{port}", 421), ("", 421)],
)  # fmt: skip
def test_other_names_for_this_machine_are_refused(host: str, status: int) -> None:
    with served(NOBODY) as web:
        assert web.ask("/", headers={"Host": host.format(port=web.port)})[0] == status


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),  # no browser
        ({"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({"Origin": "http://evil.example"}, True),
        ({"Origin": "http://127.0.0.1:1"}, True),  # another program on this machine
        ({"Origin": "null"}, True),
        ({"Origin": "http://127.0.0.1.evil.example:{port}"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
    ],
)
def test_corrections_from_other_sites_are_refused(
    bus: Publisher, headers: dict[str, str], refused: bool
) -> None:
    with served(bus.endpoint) as web:
        sent = {name: value.format(port=web.port) for name, value in headers.items()}
        status = web.ask("/mark", "POST", {**JSON, **sent}, MARK)[0]
        assert status == (403 if refused else 501)  # 501: asked, and this publisher keeps none


def test_other_sites_cannot_read_or_embed() -> None:
    with served(NOBODY) as web:
        for path in ("/stream", "/history", "/preview?camera=a", "/main.js", "/recording?kind=clip"):
            for site in ("cross-site", "same-site"):
                assert web.ask(path, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"})[0] == 403
        follow = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert web.ask("/", headers=follow)[0] == 200
        assert web.ask("/", headers={**follow, "Sec-Fetch-Dest": "iframe"})[0] == 403


def raw(port: int, data: bytes) -> bytes:
    """What a server answers to bytes that no library would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as link:
        link.sendall(data)
        answer = b""
        try:
            while part := link.recv(65536):
                answer += part
                if b"\r\n\r\n" in answer:
                    break
        except ConnectionResetError:
            pass
        return answer


def test_large_and_odd_requests_are_refused(bus: Publisher) -> None:
    with served(bus.endpoint) as web:
        assert web.ask("/mark", "POST", JSON, {**MARK, "label": "x" * 5000})[0] == 413
        assert web.ask("/mark", "POST", JSON, {**MARK, "label": "x" * 600})[0] == 400
        head = f"POST /mark HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nContent-Type: application/json\r\n"
        chunks = f"{head}Transfer-Encoding: chunked\r\n\r\n" + f"1000\r\n{'x' * 4096}\r\n" * 2
        assert b" 413 " in raw(web.port, chunks.encode())
        host = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n"
        assert b" 431 " in raw(web.port, f"{host}X: {'x' * 40_000}\r\n\r\n".encode())
        assert b" 400 " in raw(web.port, f"{host}X: {'x' * 200_000}".encode())
        assert web.ask(f"/?{'x' * 20_000}")[0] == 431
        assert b" 400 " in raw(web.port, f"{host}Host: evil.example\r\n\r\n".encode())
        for body in (b"", b"no", b"[]", b"{}", b'{"camera":1,"event":"e"}', b"[" * 3000, b"\xff\xfe"):
            assert web.ask("/mark", "POST", JSON, body)[0] == 400
        assert web.ask("/mark", "POST", {"Content-Type": "text/plain"}, MARK)[0] == 415
        for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
            assert web.ask("/", method)[0] == 405
        assert web.ask("/mark", "GET")[0] == 405
        assert web.ask("/history", "POST")[0] == 405
        assert b" 421 " in raw(web.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert web.ask("/healthz")[0] == 200


PATHS = [
    "/",
    "/main.js",
    "/page.css",
    "/stream",
    "/history",
    "/preview?camera=a",
    "/recording",
    "/recordings",
]


def test_with_a_token_nothing_is_shown_without_it(
    bus: Publisher, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with served(bus.endpoint, token=TOKEN) as web:
        for path in (one for one in PATHS if one not in OPEN):
            assert web.ask(path)[0] == 401
            for wrong in ("", "x", TOKEN[:-1], TOKEN + "x", "é"):
                assert web.ask(path, headers={"Authorization": f"Bearer {wrong}"})[0] in (401, 429)
                assert web.ask(path, headers={"Cookie": f"streamer-{web.port}={wrong}"})[0] == 401
        assert web.ask("/mark", "POST", JSON, MARK)[0] == 401
    with served(bus.endpoint, token=TOKEN) as web:
        assert web.ask("/?token=wrong")[0] == 401
        assert web.ask(f"/history?token={TOKEN}")[0] == 401, "only the page's own address takes it"
        assert web.ask("/healthz")[0] == 200
        assert web.ask("/", headers={"Authorization": f"Bearer {TOKEN}"})[0] == 200

        status, headers, _ = web.ask(f"/?token={TOKEN}")
        cookie = headers["set-cookie"]
        assert status == 200
        assert TOKEN not in cookie
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        own = {"Cookie": cookie.split(";")[0]}
        assert web.ask("/", headers=own)[0] == 200
        with listening(web.port, headers=own) as page:
            live(page)
        assert web.ask("/mark", "POST", {**JSON, **own}, MARK)[0] == 501
        assert web.ask("/mark", "POST", {**JSON, **own, "Origin": "http://evil.example"}, MARK)[0] == 403
    shown = capfd.readouterr()
    assert TOKEN not in caplog.text + shown.out + shown.err


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_the_token_is_asked_for_in_a_form_and_kept_in_a_cookie() -> None:
    with served(NOBODY, token=TOKEN) as web:
        status, headers, body = web.ask("/")
        assert (status, headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert b'action="/login"' in body
        assert web.ask("/page.css")[0] == 200, "the form is no naked page"

        def post(body: bytes, **more: str) -> tuple[int, dict[str, str], bytes]:
            return web.ask("/login", "POST", {**FORM, **more}, body)

        assert post(b"token=wrong")[0] == 401
        assert b"not the token" in post(b"token=wrong")[2]
        assert post(b"x" * 5000)[0] == 400
        assert post(b"\xff\xfe")[0] == 400
        assert post(b"token=" + TOKEN.encode(), Origin="http://evil.example")[0] == 403
        status, headers, _ = post(b"token=" + TOKEN.encode(), Origin=f"http://127.0.0.1:{web.port}")
        assert (status, headers["location"]) == (303, "/")
        cookie = headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert "secure" not in cookie.lower()
        own = {"Cookie": cookie.split(";")[0]}
        assert web.ask("/", headers=own)[0] == 200
        status, headers, _ = web.ask("/logout", "POST", own)
        assert (status, "Max-Age=0" in headers["set-cookie"]) == (303, True)
    with served(NOBODY, rules=AccessRules(TOKEN, secure=True)) as web:
        assert (
            "secure" in web.ask("/login", "POST", FORM, b"token=" + TOKEN.encode())[1]["set-cookie"].lower()
        )


def test_wrong_tokens_are_limited_for_each_address() -> None:
    clock = FakeClock()
    tries = LoginTries(clock)
    for _ in range(MOST_WRONG):
        assert tries.wait("10.0.0.9") == 0
        tries.wrong("10.0.0.9")
    assert 0 < tries.wait("10.0.0.9") <= FORGOTTEN
    assert tries.wait("::ffff:10.0.0.9") > 0, "the same address, as IPv6 writes it"
    assert tries.wait("10.0.0.8") == 0
    clock.advance(FORGOTTEN + 1)
    assert tries.wait("10.0.0.9") == 0
    for number in range(MOST_WRONG):
        tries.wrong(f"2001:db8::{number}")
    assert tries.wait("2001:db8::abcd") > 0, "a household has 64 bits of addresses"
    for number in range(3 * MOST_ADDRESSES):
        tries.wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(tries._wrong) == MOST_ADDRESSES

    with served(NOBODY, token=TOKEN) as web:
        cookie = web.ask(f"/?token={TOKEN}")[1]["set-cookie"].split(";")[0]
        answers = [web.ask("/login", "POST", FORM, b"token=x")[0] for _ in range(MOST_WRONG + 2)]
        assert answers == [401] * MOST_WRONG + [429] * 2
        status, headers, body = web.ask("/login", "POST", FORM, b"token=" + TOKEN.encode())
        assert (status, "try again in" in body.decode()) == (429, True), "not even the right one is looked at"
        assert 0 < int(headers["retry-after"]) <= FORGOTTEN
        assert web.ask("/", headers={"Authorization": f"Bearer {TOKEN}"})[0] == 429
        assert web.ask("/", headers={"Cookie": cookie})[0] == 200, "who is logged in stays so"


def test_static_files_are_those_of_the_page_only() -> None:
    with served(NOBODY) as web:
        for path in (
            "/../command.py",
            "/%2e%2e/command.py",
            "//etc/passwd",
            "/index.html",
            "/page/../app.py",
        ):
            assert web.ask(path)[0] == 404


# ---- recordings


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    for suffix, data in ((SNAPSHOT, b"\xff\xd8\xffsnapshot"), (CLIP, bytes(range(256)) * 10)):
        file = place(folder, "front door/1", "e1", 1_700_000_000.0, suffix)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return folder


OWN = "camera=front+door%2F1&event=e1"
NONE: dict[str, Any] = {"kinds": [], "from": None, "to": None}


def test_recordings_are_found_by_event_and_read_in_parts(recorded: Path) -> None:
    with served(NOBODY, recordings=recorded) as web:
        assert web.json(f"/recordings?{OWN}") == {**NONE, "kinds": ["snapshot", "clip"]}
        status, headers, body = web.ask(f"/recording?{OWN}&kind=snapshot")
        assert (status, headers["content-type"], body) == (200, "image/jpeg", b"\xff\xd8\xffsnapshot")
        status, headers, body = web.ask(f"/recording?{OWN}&kind=clip", headers={"Range": "bytes=10-19"})
        assert (status, headers["content-range"], body) == (206, "bytes 10-19/2560", bytes(range(10, 20)))
        assert headers["content-type"] == "video/mp4"
        assert web.json("/recordings?camera=front+door%2F1&event=other") == NONE
        assert web.ask("/recording")[0] == 404


@pytest.mark.parametrize(
    "bad", ["../secret", "..%2F..%2Fsecret", "%2Fetc%2Fpasswd", "e1%00", "x" * 600, "..", ""]
)
def test_no_name_leads_out_of_the_recordings(recorded: Path, bad: str) -> None:
    with served(NOBODY, recordings=recorded) as web:
        for query in (f"camera={bad}&event=e1", f"camera=front+door%2F1&event={bad}", f"{OWN}&kind={bad}"):
            for kind in ("clip", "snapshot"):
                asked = query if "kind=" in query else f"{query}&kind={kind}"
                assert web.ask(f"/recording?{asked}")[0] == 404


def test_no_link_leads_out_of_the_recordings(recorded: Path, tmp_path: Path) -> None:
    file = place(recorded, "cam0", "e2", 1_700_000_000.0, CLIP)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / file.name).write_bytes(b"secret")
    file.parent.parent.mkdir(parents=True)
    file.parent.symlink_to(outside)
    with served(NOBODY, recordings=recorded) as web:
        assert web.ask("/recording?camera=cam0&event=e2&kind=clip")[0] == 404


def test_without_a_folder_there_are_no_recordings() -> None:
    with served(NOBODY) as web:
        assert web.json(f"/recordings?{OWN}") == NONE
        assert web.ask(f"/recording?{OWN}&kind=clip")[0] == 404


# ---- the command


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    web.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("8080", ("127.0.0.1", 8080)), ("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:0", ("[::1]", 0)),
     ("my-host:1", ("my-host", 1))],
)  # fmt: skip
def test_bind_is_read(text: str, wanted: tuple[str, int]) -> None:
    assert page_address.parse_bind(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "127.0.0.1:", "127.0.0.1:99999", "http://a:1", "::1:80"])
def test_a_wrong_bind_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write HOST:PORT"):
        page_address.parse_bind(text)


def test_other_interfaces_need_a_token_and_the_error_has_the_line() -> None:
    with pytest.raises(ConfigError) as refused:
        web.run(options("--bind", "0.0.0.0:8080"))
    assert "streamer web --bind 0.0.0.0:8080 --token-file web.token" in str(refused.value)
    assert "\n" not in str(refused.value)
    for host in ("127.0.0.1", "localhost", "[::1]", "127.8.8.8"):
        page_address.check_exposure(host, 1, None, "")
    page_address.check_exposure("0.0.0.0", 1, TOKEN, "")


def test_a_token_file_is_read_only_where_it_is_safe(tmp_path: Path) -> None:
    file = tmp_path / "web.token"

    def read(*given: str | None, **variables: str) -> str | None:
        return page_address.read_token(*(*given, None, None)[:2], variables)

    for content, mode, wrong in [
        (None, 0, "cannot read"), (TOKEN, 0o644, "chmod 600"), ("short", 0o600, "at least 16"),
        ("", 0o600, "at least 16"), (f"{TOKEN} {TOKEN}", 0o600, "one line"),
    ]:  # fmt: skip
        if content is not None:
            file.write_text(content)
            file.chmod(mode)
        with pytest.raises(ConfigError, match=wrong) as refused:
            read(str(file))
        assert TOKEN not in str(refused.value)
    file.write_text(f"{TOKEN}\n")
    assert read(str(file)) == TOKEN
    assert read(None, "WEB", WEB=TOKEN) == TOKEN
    assert read(WEB=TOKEN) is None
    with pytest.raises(ConfigError, match="no such variable"):
        read(None, "WEB")
    with pytest.raises(ConfigError, match="one of them"):
        read("x", "WEB")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["http://x"], BusError), (["--pages", "0"], ConfigError),
        (["--keys", "/nowhere"], BusError), (["--tls-cert", "x"], ConfigError),
        (["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], ConfigError),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_before_anything_is_served(
    words: list[str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        web.run(options("--bind", "127.0.0.1:0", *words))


def test_a_run_may_make_the_folder_of_recordings_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "later"
    settings = web.settings_of(options("--recordings", str(folder)), "127.0.0.1", 8080, None)
    assert folder in dataclasses.astuple(settings)
    assert "later: there is no such folder yet" in capsys.readouterr().err


def test_a_port_in_use_is_said() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="the port is in use"),
    ):
        web.run(options("--bind", f"127.0.0.1:{taken.getsockname()[1]}"))


@pytest.mark.realtime
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_leaves_within_three_seconds_with_pages_open(bus: Publisher, number: int, code: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "streamer", "web", bus.endpoint, "--bind", "127.0.0.1:0"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        assert child.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", child.stderr.readline())
        assert found
        with listening(int(found[1])) as one, listening(int(found[1])) as two:
            live(one)
            live(two)
            began = time.monotonic()
            child.send_signal(number)
            assert child.wait(DEADLINE) == code
            assert time.monotonic() - began < 3.0
            one.take(1.0)
            two.take(1.0)
        said = child.stderr.read()
        assert "Traceback" not in said
        assert "ERROR" not in said
    finally:
        child.kill()
        child.wait()
        assert child.stderr is not None
        child.stderr.close()


def test_the_command_imports_no_server_until_it_runs() -> None:
    names = "('starlette', 'uvicorn', 'zmq')"
    code = f"import sys, streamer.cli.web; print([name for name in {names} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
