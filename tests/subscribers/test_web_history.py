"""The page's history and corrections: what is found, in which order, and what reaches the run."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import Publisher
from streamer.errors import RequestError
from streamer.types import Phase
from tests.helpers.bus_parts import event, until
from tests.helpers.web_parts import JSON, MARK, NOBODY, act, bus, published, served

__all__ = ["bus"]  # fixtures


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
