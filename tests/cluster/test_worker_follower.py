"""What follows a worker, by itself: a publisher on one side, what stands for the front on the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import Publisher
from streamer.bus.forwarded_events import Origin
from streamer.cluster import worker_follower
from streamer.cluster.lease_renewal import JournalPlace, Renewal
from streamer.cluster.worker_follower import Follower
from tests.helpers.bus_parts import event, publisher, until


class Front:
    """Takes what is forwarded; `waiting` is how much it has not sent."""

    def __init__(self) -> None:
        self.waiting, self.taken = 0, list[str]()
        self.heard_times = self.looks = 0
        self._origins: dict[str, Origin] = {}

    def begin_at(self, origin: Origin, followed: Any) -> None:
        self._origins[origin.journal] = origin

    def origin(self, journal: str) -> Origin | None:
        return self._origins.get(journal)

    def wanted(self, topic: str) -> bool:
        return False

    def forward(self, body: dict[str, Any], *, may_start: bool = True) -> None:
        self.taken.append(body["event"]["id"])

    # ---- members

    def heard(self, name: str) -> None:
        self.heard_times += 1

    def may_start(self, *_: object) -> bool:
        return True


@contextmanager
def followed(worker: Publisher, front: Any) -> Iterator[None]:
    state = worker.state()
    place = JournalPlace(state.journal, state.session, 0)
    told = Renewal(1, "w1", "p", 1, worker.endpoint, worker.requests_endpoint or "", place, {}, {})
    follower = Follower(told, None, front, front, pytest.fail)
    follower.start()
    yield
    follower.stop()
    follower.join()


@pytest.mark.realtime
def test_nothing_is_taken_while_the_front_is_far_behind_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_follower, "MOST_WAITING", 10)
    front = Front()
    with publisher(tmp_path / "worker.db") as worker, followed(worker, front):
        worker.event(event("e0"))
        until(lambda: front.taken == ["e0"])
        front.waiting = 11
        before = front.heard_times
        until(lambda: front.heard_times > before + 20, "it is heard of all the same")
        names = [f"e{number}" for number in range(1, 3000)]  # more than any queue on the way holds
        for name in names:
            worker.event(event(name))
        until(lambda: worker.state().last_event_seq == 3000)
        assert front.taken == ["e0"]
        front.waiting = 10
        until(lambda: front.taken == ["e0", *names], f"{len(front.taken)}")
