"""The places in other histories that a publisher in front of others keeps: the newest, and those in use."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from streamer.bus import journal
from streamer.bus.forwarded_events import Origin
from tests.helpers.bus_parts import event, publisher, until


def place(name: str, seq: int = 0) -> Origin:
    return Origin(f"worker-{name}", name, "session", seq)


def forwarded(name: str, seq: int) -> dict[str, object]:
    told = event(f"{name}-{seq}")
    moment = {"started_at": 1.0, "decided_at": 1.0, "ended_at": None}
    what = {"id": told.id, "label": "waving", "phase": "start", "score": 0.5, "peak": 0.5, **moment}
    return {
        "type": "event", "camera": "cam0", "model": "m", "event": what, "worker": f"worker-{name}",
        "origin": place(name, seq).as_json,
    }  # fmt: skip


def kept(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as db:
        return {name for (name,) in db.execute("SELECT journal FROM origins")}


def test_of_many_histories_the_places_are_kept_that_may_still_be_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MOST_ORIGINS", 3)
    file = tmp_path / "events.db"
    with publisher(file) as front:
        for name in ("followed", "active", "gone"):
            front.begin_at(place(name))
        front.forward(forwarded("active", 1))
        front.begin_at(place("new"), {"followed"})
        until(lambda: front.origin("new") is not None and front.origin("gone") is None)
        assert front.origin("active") == place("active", 1)
        assert kept(file) == {"followed", "active", "new"}
    with publisher(file, keeps_open=True) as front:
        front.begin_at(place("newer"), {"new"})
        until(lambda: front.origin("newer") is not None and front.origin("followed") is None)
        front.forward(forwarded("active", 1))
        front.begin_at(place("last"), {"active"})
        until(lambda: front.origin("last") is not None)
        assert front.state().last_event_seq == 1, "nothing came twice"
    assert kept(file) == {"active", "newer", "last"}
