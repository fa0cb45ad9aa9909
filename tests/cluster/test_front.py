"""A front and its workers as subscribers see them: real sockets, real pipelines with a scripted model."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from streamer.bus import EventMessage, HeartbeatMessage, PredictionMessage, StatusMessage, Subscriber, wire
from streamer.bus.key_store import allow, new_pair
from streamer.bus.request_client import RequestClient
from streamer.cli import command_line
from streamer.cluster import front_leases, worker_follower
from streamer.cluster.front import Front
from streamer.cluster.front_leases import Members
from streamer.cluster.front_stats import FrontStats
from streamer.cluster.worker import run_worker
from streamer.cluster.worker_settings import WorkerSettings
from streamer.config import BusConfig, CameraConfig, Config, EventsConfig, JournalConfig
from streamer.errors import BusError, ConfigError, RequestError
from streamer.system.clock import SYSTEM_CLOCK
from streamer.testing import FakeCamera, FakeRecognizer
from streamer.types import Track, Window
from tests.helpers.bus_parts import DEADLINE, FREE, collect, event, publisher, until
from tests.helpers.web_parts import Listener, Served

BOTH = {"w1", "w2"}


def busy(window: Window) -> list[float]:
    return [0.1, 0.9]


def scripted(*_: Any) -> FakeRecognizer:
    return FakeRecognizer(busy, interval=0.05)


def draw(n: int) -> Any:
    # more different pictures than a camera remembers: fewer look frozen after two seconds
    return np.full((48, 64, 3), 140 + n % 60, np.uint8)


@contextmanager
def worker(front: Front, folder: Path, name: str, **more: Any) -> Iterator[threading.Thread]:
    stop = threading.Event()
    join = more.pop("join", front.requests_endpoint)
    settings = WorkerSettings(join, name, more.pop("capacity", 8), state=str(folder / name), **more)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            run_worker(settings, stop, load=scripted)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = threading.Thread(target=run, name=name)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(30.0)
    if failed:
        raise failed[0]


def configured(folder: Path, url: str, *names: str, **more: Any) -> Config:
    return Config(
        cameras=tuple(CameraConfig(name=name, source=url) for name in names),
        bus=more.pop("bus", BusConfig(bind=FREE, heartbeat=0.2)),
        journal=JournalConfig(path=str(folder / "front.db")),
        events=EventsConfig(min_on=0.1),
        **more,
    )


def workers_of(page: Listener) -> list[dict[str, str]]:
    return [state["workers"] for state in page.of("state")]


def watching(front: Front, *workers: str) -> Callable[[], bool]:
    return lambda: set(front.members.owners().values()) == set(workers)


def of(kind: type, camera: str) -> Callable[[list[Any]], bool]:
    return lambda found: any(isinstance(m, kind) and m.camera == camera for m in found)


def both_are_told_of(found: list[Any]) -> bool:
    beats = [m for m in found if isinstance(m, HeartbeatMessage) and set(m.cameras.values()) == {"running"}]
    return bool(beats) and of(EventMessage, "a")(found) and of(EventMessage, "b")(found)


def test_the_screen_of_a_front_knows_of_whom_an_event_is_and_what_is_no_action() -> None:
    stats = FrontStats(SYSTEM_CLOCK, Members(SYSTEM_CLOCK.monotonic, 0))
    still, person = (
        replace(event("e1", label="still"), background=True),
        replace(event("e2"), track=Track(3, (0.1, 0.2, 0.3, 0.4)), follows=True),
    )
    with publisher("", sinks=[stats]) as bus:
        bus.event(still)
        bus.event(person)
        until(lambda: len(stats.stats(bus.state()).recent) == 2)
        told, other = stats.stats(bus.state()).recent
    assert (told.background, told.track) == (True, None)
    assert (other.background, other.track) == (False, Track(3, (0.1, 0.2, 0.3, 0.4)))


@pytest.mark.realtime
def test_subscribers_see_one_publisher(tmp_path: Path) -> None:
    schema = jsonschema.Draft202012Validator(wire.schema())
    with FakeCamera(draw) as camera:
        config = configured(tmp_path, camera.url, "a", "b")
        with (
            Front(config) as front,
            # with room for more the one who has loaded the model first may be given both cameras
            worker(front, tmp_path, "w1", capacity=1),
            worker(front, tmp_path, "w2", capacity=1),
        ):
            with Subscriber(front.endpoint, since=0.0) as subscriber:
                first = collect(subscriber, of(StatusMessage, "a"))
                detail = next(m for m in first if isinstance(m, StatusMessage)).detail
                assert "unplaced" in detail or "waiting for the workers" in detail
                until(watching(front, "w1", "w2"))
                found = collect(subscriber, both_are_told_of)
                predictions = [m for m in [*first, *found] if isinstance(m, PredictionMessage)]
                assert {m.raw["worker"] for m in predictions} == BOTH
                events = [m for m in found if isinstance(m, EventMessage)]
                assert [m.seq for m in events] == list(range(events[0].seq, events[0].seq + len(events)))
                assert all(set(m.raw["origin"]) == {"worker", "journal", "session", "seq"} for m in events)
                assert "lease" not in events[0].raw
                beat = [m for m in found if isinstance(m, HeartbeatMessage)][-1]
                assert {name: told["state"] for name, told in beat.raw["workers"].items()} == dict.fromkeys(
                    BOTH, "working"
                )
                for message in [*first, *found]:
                    schema.validate(dict(message.raw))
                snapshot = subscriber.snapshot(DEADLINE)
                assert set(snapshot.cameras) == {"a", "b"}
                assert all(one.events and one.prediction for one in snapshot.cameras.values())
                with pytest.raises(BusError, match="labels of their own"):
                    subscriber.request("labels", labels=["x"], camera="a", timeout=10.0)
                with pytest.raises(BusError, match="no camera 'nobody'"):
                    subscriber.request("labels", labels=["x"], camera="nobody", timeout=10.0)
                with pytest.raises(BusError, match="not_collecting"):
                    subscriber.request("mark", camera="a", event="e", timeout=10.0)
                now = time.time()

                def labels() -> list[str]:
                    """Of the workers' model, in its order; none while nobody watches a camera."""
                    told = subscriber.request("features", timeout=10.0)
                    assert told["pictures"]["clips"] is False
                    return list(told.get("labels", ()))

                until(lambda: labels() == ["calm", "busy"])
                scores = subscriber.request("scores", camera="b", since=now - 60, until=now, timeout=10.0)
                assert scores["times"]
            stats = front.stats()
            assert {one.status.camera for one in stats.cameras} == {"a", "b"}
            assert {event.camera for event in stats.recent} == {"a", "b"}
            until(  # on a crowded machine a lease may run out: its events end, and begin again
                lambda: all(
                    one.open_events and one.models and one.models[0].top for one in front.stats().cameras
                )
            )
            assert stats.cluster is not None
            assert dict(stats.cluster.workers) == dict.fromkeys(BOTH, "working")
            assert not stats.cluster.unplaced


@pytest.mark.realtime
def test_a_worker_without_cameras_has_their_models_loaded(tmp_path: Path) -> None:
    """So that the camera of one that dies does not wait for its model."""
    with FakeCamera(draw) as camera:
        config = configured(tmp_path, camera.url, "a")
        with Front(config) as front, worker(front, tmp_path, "w1"), worker(front, tmp_path, "w2"):
            members = front.members
            until(lambda: len(set(members.owners().values())) == 1, "one of them has the camera")
            (model,) = {model.id for model in config.models_of(config.cameras[0])}
            for name in sorted(BOTH):
                until(lambda name=name: model in members.member(name).told.loaded, f"{name} has it")  # type: ignore[misc, union-attr]


@pytest.mark.realtime
def test_subscribe_and_the_page_work_on_a_front(tmp_path: Path) -> None:
    with FakeCamera(draw) as camera:
        config = configured(tmp_path, camera.url, "a")
        with Front(config) as front, worker(front, tmp_path, "w1"):
            words = ["subscribe", front.endpoint, "--json", "--topic", "event/", "--since", "1h"]
            program = [sys.executable, "-m", "streamer", *words, "--count", "1"]
            done = subprocess.run(program, capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout.splitlines()[0])["worker"] == "w1"
            served = Served(front.endpoint)
            try:
                until(lambda: bool(served.json("/history?limit=5")["events"]))
                page = Listener(served.port)
                page.until(
                    lambda: {"w1": "working"} in [*page.of("workers"), *workers_of(page)], "its worker"
                )
                page.close()
                assert served.json("/healthz")["status"] == "ok"
            finally:
                served.stop()


@pytest.mark.realtime
def test_a_worker_that_ends_or_is_drained_hands_its_cameras_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeCamera(draw) as camera:
        config = configured(tmp_path, camera.url, "a", "b")
        with Front(config) as front, Subscriber(front.endpoint, since=0.0) as subscriber:
            with worker(front, tmp_path, "w1"):
                until(watching(front, "w1"))
                collect(subscriber, of(EventMessage, "a"))
            with worker(front, tmp_path, "w2"):
                until(watching(front, "w2"))
                found = collect(subscriber, of(PredictionMessage, "a"))
                ends = [m for m in found if isinstance(m, EventMessage) and m.phase == "end"]
                assert {m.reason for m in ends} <= {"stopped", "worker lost"}
                with worker(front, tmp_path, "w3"), RequestClient(front.requests_endpoint or "") as client:
                    until(lambda: "w3" in front.members.states())
                    assert client.ask("drain", 5.0, worker="w2")["cameras"] == ["a", "b"]
                    until(watching(front, "w3"))
                    assert client.ask("workers", 5.0)["workers"]["w2"]["state"] == "drained"
                    with pytest.raises(RequestError, match="no worker 'w9'"):
                        client.ask("drain", 5.0, worker="w9")
                    where = ["--requests", front.requests_endpoint or ""]
                    assert command_line.main(["cluster", "workers", *where]) == 0
                    assert command_line.main(["cluster", "undrain", "w2", *where]) == 0
                    assert command_line.main(["cluster", "drain", "w9", *where]) == 2
                    said = capsys.readouterr()
                    assert "w2  drained  -" in said.out
                    assert "no worker 'w9'" in said.err
                    found = collect(subscriber, lambda got: any(m.raw.get("worker") == "w3" for m in got))
                    moved = [m for m in found if isinstance(m, EventMessage) and m.reason == "moved"]
                    assert {m.raw["worker"] for m in moved} == {"w2"}


@pytest.mark.realtime
def test_edited_cameras_come_and_go(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text("one")
    with FakeCamera(draw) as camera:
        configs = {name: configured(tmp_path, camera.url, *name) for name in ("ab", "bc")}
        read = {"now": "ab"}
        with (
            Front(configs["ab"], config_file=file, reload=lambda: configs[read["now"]]) as front,
            worker(front, tmp_path, "w1"),
            Subscriber(front.endpoint) as subscriber,
        ):
            until(lambda: set(front.members.owners()) == {"a", "b"})
            read["now"] = "bc"
            file.write_text("another one")
            until(lambda: set(front.members.owners()) == {"b", "c"})
            collect(subscriber, lambda got: any(
                isinstance(m, HeartbeatMessage) and m.cameras == dict.fromkeys("bc", "running") for m in got
            ))  # fmt: skip


@pytest.mark.realtime
def test_only_a_workers_key_lets_join(tmp_path: Path) -> None:
    keys = {name: tmp_path / name for name in ("front", "one", "reader", "stranger")}
    new_pair(keys["front"], "server")
    for name in ("one", "reader", "stranger"):
        new_pair(keys[name], "client")
        (keys[name] / "server.key").write_bytes((keys["front"] / "server.key").read_bytes())
    allow(keys["front"], str(keys["one"] / "client.key"), "worker-one")
    allow(keys["front"], str(keys["reader"] / "client.key"), "reader")
    with FakeCamera(draw) as camera:
        bus = BusConfig(bind=FREE, heartbeat=0.2, keys=str(keys["front"]))
        with Front(configured(tmp_path, camera.url, "a", bus=bus)) as front:
            where = front.requests_endpoint or ""
            with (
                RequestClient(where, keys["reader"]) as client,
                pytest.raises(RequestError, match="read"),
            ):
                client.ask("join", 5.0, v=1, name="x")
            with (
                RequestClient(where, keys["stranger"]) as client,
                pytest.raises(BusError, match="allowed"),
            ):
                client.ask("join", 1.0, v=1, name="x")
            with RequestClient(where) as client, pytest.raises(BusError, match="did not answer"):
                client.ask("join", 1.0, v=1, name="x")
            with worker(front, tmp_path, "w1", keys=str(keys["one"])):
                with Subscriber(front.endpoint, keys=keys["reader"]) as subscriber:
                    collect(subscriber, of(EventMessage, "a"))
                told = front.members.member("w1")
                assert told is not None
                with pytest.raises(BusError), Subscriber(told.told.endpoint, timeout=DEADLINE) as subscriber:
                    list(subscriber)  # whom the front has not let in gets nothing from a worker


def test_a_worker_says_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="cannot be called"):
        WorkerSettings("tcp://127.0.0.1:1", "../x")
    with pytest.raises(ConfigError, match="at least 1"):
        WorkerSettings("tcp://127.0.0.1:1", capacity=0)
    with pytest.raises(BusError, match="no endpoint"):
        run_worker(WorkerSettings("nonsense"), threading.Event())
    assert WorkerSettings("tcp://127.0.0.1:1").known_as


def test_a_worker_that_is_forgotten_is_followed_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_leases, "FORGOTTEN", 0.5)
    with FakeCamera(draw) as camera, Front(configured(tmp_path, camera.url, "a")) as front:
        with worker(front, tmp_path, "pod-1"):
            until(lambda: front.members.member("pod-1") is not None)
        until(lambda: front.members.member("pod-1") is None)
        until(lambda: "follow-pod-1" not in [thread.name for thread in threading.enumerate()])


@pytest.mark.realtime
def test_a_worker_that_is_started_anew_is_followed_by_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two would forward its history beside each other: what the older one still has would come too late."""
    counting, following, most = threading.Lock(), {"now": 0}, []

    class Counted(Subscriber):
        def __enter__(self) -> Counted:
            with counting:
                following["now"] += 1
                most.append(following["now"])
            return self

        def __exit__(self, *error: Any) -> None:
            super().__exit__(*error)
            with counting:
                following["now"] -= 1

    monkeypatch.setattr(worker_follower, "Subscriber", Counted)
    with FakeCamera(draw) as camera, Front(configured(tmp_path, camera.url, "a")) as front:
        for number in (1, 2, 3):
            with worker(front, tmp_path, "w1"):
                until(lambda number=number: len(most) >= number)  # type: ignore[misc]
                until(watching(front, "w1"))
    assert set(most) == {1}


@pytest.mark.realtime
def test_a_worker_whose_message_could_not_be_taken_is_followed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, take = [ValueError("what is that?")], worker_follower.Follower._take

    def once(self: Any, *told: Any) -> None:
        if failing:
            raise failing.pop()
        take(self, *told)

    monkeypatch.setattr(worker_follower.Follower, "_take", once)
    monkeypatch.setattr(worker_follower, "AGAIN", 0.05)
    with FakeCamera(draw) as camera, Front(configured(tmp_path, camera.url, "a")) as front:
        with Subscriber(front.endpoint, since=0.0) as subscriber, worker(front, tmp_path, "w1"):
            collect(subscriber, of(EventMessage, "a"))
        assert not failing
