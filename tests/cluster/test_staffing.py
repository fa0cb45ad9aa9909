"""A worker on each node: with an engine that does what the test says, and time that the test moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from streamer.cluster.staffing import JOIN, SILENT, Staffing
from streamer.cluster.worker_settings import WorkerSettings
from streamer.errors import StreamerError
from streamer.testing import FakeClock


class Engine:
    """A launcher that only remembers."""

    def __init__(self, *nodes: str) -> None:
        self.here = list(nodes)
        self.running: dict[str, str] = {}
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.broken = False

    def nodes(self) -> Sequence[str]:
        if self.broken:
            raise StreamerError("the engine does not answer")
        return list(self.here)

    def workers(self) -> Mapping[str, str]:
        return dict(self.running)

    def start(self, node: str, settings: WorkerSettings) -> None:
        self.started.append(node)
        self.running[settings.name] = node

    def stop(self, name: str) -> None:
        self.stopped.append(name)
        del self.running[name]

    def close(self) -> None: ...


class Controlled:
    def __init__(self, *nodes: str) -> None:
        self.engine, self.clock, self.notes = Engine(*nodes), FakeClock(), list[str]()
        self.heard: dict[str, float] = {}
        self.staffing = Staffing(
            self.engine,
            lambda: self.heard,
            lambda node: WorkerSettings("tcp://front:5556", name=node),
            self.notes.append,
            self.clock,
        )

    def look(self, after: float = 1.0) -> None:
        self.clock.advance(after)
        self.staffing.look()


def test_one_worker_a_node_and_one_for_a_node_that_comes() -> None:
    run = Controlled("a", "b")
    run.look()
    run.look()
    assert run.engine.started == ["a", "b"]
    run.engine.here.append("c")
    run.look()
    assert run.engine.started == ["a", "b", "c"]


def test_workers_that_went_on_without_a_controller_are_adopted() -> None:
    run = Controlled("a", "b")
    run.engine.running = {"a": "a", "b": "b"}
    run.heard = {"a": 0.2, "b": 0.4}
    run.look()
    assert (run.engine.started, run.engine.stopped) == ([], [])


def test_a_dead_one_is_made_anew_and_one_that_dies_again_and_again_ever_later() -> None:
    run = Controlled("a")
    starts = []
    for _ in range(200):
        run.look()
        starts.append(len(run.engine.started))
        run.engine.running.clear()  # it ends at once
    assert starts[0] == 1
    assert 5 < starts[-1] < 25
    run.look(60.0)
    run.heard = {"a": 0.1}
    run.look()
    run.heard.clear()
    run.engine.running.clear()
    count = len(run.engine.started)
    run.look()
    assert len(run.engine.started) == count + 1, "one that was heard is made anew at once"


def test_a_silent_one_is_ended_and_made_anew_once_it_is_gone() -> None:
    run = Controlled("a", "b")
    run.look()
    run.heard = {"a": 0.5, "b": 0.1}
    run.look()
    run.heard = {"a": 0.5, "b": SILENT + 1}
    run.look(SILENT + 1)
    assert run.engine.stopped == ["b"]
    assert run.engine.started == ["a", "b"]
    for second in range(20):  # the front has not heard the new one yet
        run.heard = {"a": 0.5, "b": SILENT + 2 + second}
        run.look()
    assert run.engine.started == ["a", "b", "b"]
    assert run.engine.stopped == ["b"]
    assert run.notes == ["worker b is ended: it was silent for 11 s"]


def test_one_that_never_joins_is_ended() -> None:
    run = Controlled("a")
    run.look()
    run.look()
    run.look(JOIN + 2)
    assert run.engine.stopped == ["a"]
    assert "did not join" in run.notes[0]


def test_a_worker_whose_machine_has_gone_is_ended() -> None:
    run = Controlled("a", "b")
    run.look()
    run.engine.here.remove("b")
    run.look()
    assert run.engine.stopped == ["b"]
    run.look()
    assert run.engine.started == ["a", "b"]


def test_an_engine_that_does_not_answer_ends_nobody() -> None:
    run = Controlled("a")
    run.look()
    run.engine.broken = True
    with pytest.raises(StreamerError):
        run.look()
    assert run.engine.stopped == []
