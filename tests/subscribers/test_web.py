"""The page's server: what it tells browsers, and that nobody slows anybody."""

from __future__ import annotations

import socket
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import Publisher, key_store
from streamer.bus.position import Position
from streamer.config import BusConfig
from streamer.subscribers.web import publisher_feed, publisher_requests
from streamer.subscribers.web.client_queues import MOST_WAITING, ClientQueues, sse
from streamer.types import CameraState, LabelScore, Phase
from tests.helpers.bus_parts import FREE, event, prediction, publisher, status, until
from tests.helpers.web_parts import Listener, act, bus, listening, live, published, served

__all__ = ["bus"]  # fixtures


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


@pytest.mark.realtime
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
