"""The subscriber: messages as values, gaps told, reconnecting by itself, and the same for asyncio."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq

from streamer.bus import (
    AsyncSubscriber,
    EventMessage,
    Gap,
    HeartbeatMessage,
    Message,
    PredictionMessage,
    StatusMessage,
    Subscriber,
    wire,
)
from streamer.cli import subscribe
from streamer.config import BusConfig
from streamer.errors import BusError
from streamer.types import CameraState, LabelScore, Phase
from tests.helpers import warm_processes
from tests.helpers.bus_parts import (
    DEADLINE,
    FREE,
    collect,
    connect,
    event,
    events_of,
    no_leaks,
    prediction,
    publisher,
    status,
    until,
)

pytestmark = pytest.mark.usefixtures("no_leaks")
__all__ = ["no_leaks"]


class Fake:
    """A publisher of raw messages, which can lose what it likes."""

    def __init__(self, context: zmq.Context[Any], heartbeat: dict[str, Any] | None = None) -> None:
        self.socket = context.socket(zmq.XPUB)
        self.socket.linger = 0
        self.socket.bind(FREE)
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.heartbeat = {"requests": None, "journal": "j", "started_at": 1.0} | (heartbeat or {})

    def wait_for_subscriber(self) -> None:
        assert self.socket.poll(5000)
        while self.socket.poll(100):
            self.socket.recv()

    def send(self, body: dict[str, Any], seq: int, session: str = "s1") -> None:
        message = wire.stamp(body, session, seq, time.time())
        self.socket.send_multipart([wire.topic_of(message).encode(), wire.encode(message)])

    def event(self, seq: int, session: str = "s1") -> None:
        self.send(wire.event_body(event(f"e{seq}")), seq, session)

    def beat(self, last: int, seq: int = 1, session: str = "s1") -> None:
        self.send(wire.heartbeat_body(last, {}, self.heartbeat), seq, session)


def test_everything_published_arrives_as_values() -> None:
    with publisher() as bus, Subscriber(bus.endpoint) as subscriber:
        connect(subscriber)
        bus.status(status("front", fps=12.0))
        bus.prediction(prediction("front"), LabelScore("waving", 0.6), 2)
        bus.event(event(camera="front"))
        found = collect(subscriber, lambda found: len({type(m) for m in found}) >= 3)
        kinds = {type(message): message for message in found}
    assert kinds[StatusMessage].fps == 12.0  # type: ignore[union-attr]
    assert kinds[PredictionMessage].stable == LabelScore("waving", 0.6)  # type: ignore[union-attr]
    assert kinds[EventMessage].label == "waving"  # type: ignore[union-attr]


def test_topics_choose_and_cam1_is_not_cam10() -> None:
    with publisher() as bus, Subscriber(bus.endpoint, topics=["event/cam1/", "status/"]) as subscriber:
        connect(subscriber)
        for name in ("cam10", "cam1", "cam"):
            bus.event(event(name, camera=name))
            bus.prediction(prediction(name), None, 1)
        bus.status(status("cam10"))
        found = collect(subscriber, lambda found: any(isinstance(m, StatusMessage) for m in found))
    assert [(m.type, getattr(m, "camera", None)) for m in found] == [("event", "cam1"), ("status", "cam10")]


def test_iterating_ends_after_the_timeout_and_receive_gives_none() -> None:
    with publisher() as bus, Subscriber(bus.endpoint, topics=["event/"], timeout=0.3) as subscriber:
        connect(subscriber)
        bus.event(event())
        assert [message.seq for message in subscriber if not isinstance(message, Gap)] == [1]
        began = time.monotonic()
        assert subscriber.receive(0.1) is None
        assert 0.05 < time.monotonic() - began < DEADLINE


def test_a_subscriber_may_come_first() -> None:
    with publisher() as first:
        endpoint = first.endpoint
    with Subscriber(endpoint, topics=["event/"]) as subscriber:
        assert subscriber.receive(0.05) is None
        assert not subscriber.connected
        with publisher(bus=BusConfig(bind=endpoint)) as bus:
            connect(subscriber)
            bus.event(event())
            assert events_of(collect(subscriber, lambda found: bool(found))) == [1]


def test_lost_messages_are_told_by_kind_and_number() -> None:
    with zmq.Context() as context, Subscriber((fake := Fake(context)).endpoint) as subscriber, fake.socket:
        fake.wait_for_subscriber()
        body = wire.prediction_body(prediction(), None, 1)
        for seq in (3, 4, 8):
            fake.send(body, seq)
        for seq in (10, 11, 14):
            fake.event(seq)
        fake.beat(16)
        found = collect(subscriber, lambda found: any(isinstance(m, HeartbeatMessage) for m in found))
    gaps = [(m.kind, m.first, m.last, m.count, m.reason) for m in found if isinstance(m, Gap)]
    assert gaps == [
        ("prediction", 5, 7, 3, "lost"),
        ("event", 12, 13, 2, "lost"),
        ("event", 15, 16, 2, "lost"),
    ]
    assert events_of(found) == [10, 11, 14]


def test_a_restart_is_no_gap_but_events_of_the_time_between_are() -> None:
    with zmq.Context() as context, Subscriber((fake := Fake(context)).endpoint) as subscriber, fake.socket:
        fake.wait_for_subscriber()
        body = wire.status_body(status(), 0)
        fake.send(body, 7)
        fake.beat(5)
        fake.send(body, 1, "s2")
        fake.beat(7, 1, "s2")
        found = collect(subscriber, lambda found: sum(isinstance(m, HeartbeatMessage) for m in found) == 2)
    assert [m for m in found if isinstance(m, Gap)] == [Gap("event", 6, 7, "lost")]


def test_a_gap_in_one_cameras_topic_is_not_invented() -> None:
    with publisher() as bus, Subscriber(bus.endpoint, topics=["prediction/a/", "event/a/"]) as subscriber:
        connect(subscriber)
        for number in range(20):
            bus.prediction(prediction("ab"[number % 2], number), None, 1)
            bus.event(event(f"e{number}", camera="ab"[number % 2]))
        found = collect(subscriber, lambda found: len(found) == 20)
    assert not any(isinstance(message, Gap) for message in found)


def test_who_wants_no_events_is_told_of_no_lost_ones() -> None:
    with (
        zmq.Context() as context,
        (fake := Fake(context)).socket,
        Subscriber(fake.endpoint, topics=["heartbeat/"]) as subscriber,
    ):
        fake.wait_for_subscriber()
        for beat in (1, 2, 3):
            fake.beat(beat * 10, beat)
        found = collect(subscriber, lambda found: len(found) == 3)
    assert {message.type for message in found} == {"heartbeat"}


def test_latest_gives_only_the_present() -> None:
    with publisher() as bus, Subscriber(bus.endpoint, topics=["prediction/"]) as subscriber:
        connect(subscriber)
        assert subscriber.latest() == {}
        for number in range(30):
            bus.prediction(prediction("a", number), None, 1)
            bus.prediction(prediction("b", number), None, 1)
        newest: dict[str, PredictionMessage] = {}
        until(
            lambda: (
                bool(newest.update(subscriber.latest()))
                or {m.raw["window"]["id"] for m in newest.values()} == {29}
            )
        )
        assert newest.keys() == {"a", "b"}
        assert subscriber.latest() == {}
        bus.prediction(prediction("a", 30), None, 1)
        assert subscriber.latest(timeout=DEADLINE)["a"].raw["window"]["id"] == 30


def test_a_snapshot_is_everything_as_it_stands() -> None:
    with publisher() as bus, Subscriber(bus.endpoint, topics=["event/"]) as subscriber:
        bus.status(status("front", CameraState.STALLED))
        bus.prediction(prediction("front"), None, 2)
        bus.event(event("open", camera="front"))
        bus.event(event("done", camera="front"))
        bus.event(event("done", Phase.END, camera="front"))
        bus.event(event("other", camera="yard"))
        until(lambda: bus.state().last_event_seq == 4)
        snapshot = subscriber.snapshot(DEADLINE)
    assert snapshot.last_event_seq == 4
    front, yard = snapshot.cameras["front"], snapshot.cameras["yard"]
    assert front.status is not None
    assert front.prediction is not None
    assert (front.status.state, [e.id for e in front.events], front.prediction.camera) == (
        "stalled",
        ["open"],
        "front",
    )
    assert (yard.status, yard.prediction, [e.id for e in yard.events]) == (None, None, ["other"])


def test_a_silent_publisher_is_noticed() -> None:
    """Alive at the socket, dead behind it: only missing heartbeats show it."""
    from streamer.testing import FakeClock

    clock = FakeClock()
    with (
        zmq.Context() as context,
        Subscriber((fake := Fake(context)).endpoint, clock=clock) as subscriber,
        fake.socket,
    ):
        fake.wait_for_subscriber()
        assert not subscriber.connected
        fake.beat(0)
        collect(subscriber, lambda found: bool(found))
        assert subscriber.connected
        clock.advance(3.1)
        assert not subscriber.connected


def test_rubbish_on_the_wire_is_counted_and_passed_over() -> None:
    with zmq.Context() as context, Subscriber((fake := Fake(context)).endpoint) as subscriber, fake.socket:
        fake.wait_for_subscriber()
        rubbish = [
            [b"event/x/"],
            [b"event/x/", b"no json"],
            [b"x", b"{}", b"y"],
            [b"", b"[]"],
            [b"\xff", b'{"type":"event"}'],
        ]
        for parts in rubbish:
            fake.socket.send_multipart(parts)
        fake.event(1)
        assert events_of(collect(subscriber, lambda found: bool(found))) == [1]
        assert subscriber.invalid == len(rubbish)


def test_a_forwarder_without_a_publisher_behind_it_is_waited_for() -> None:
    """A tunnel accepts and hangs up as long as nobody is behind it; that is no refusal."""
    with socket.create_server(("127.0.0.1", 0)) as tunnel:
        endpoint = f"tcp://127.0.0.1:{tunnel.getsockname()[1]}"
        with Subscriber(endpoint) as subscriber:
            tunnel.settimeout(DEADLINE)
            for _ in range(6):
                tunnel.accept()[0].close()
                assert subscriber.receive(0.02) is None


def test_a_request_that_fails_says_why() -> None:
    handlers = {"labels": lambda request, peer: {"labels": request["set"]}}
    with publisher(handlers=handlers) as bus, Subscriber(bus.endpoint) as subscriber:
        assert subscriber.request("labels", set=["a"], timeout=DEADLINE)["labels"] == ["a"]
        with pytest.raises(BusError, match="unknown_op"):
            subscriber.request("dance", timeout=DEADLINE)
    with (
        zmq.Context() as context,
        Subscriber((fake := Fake(context)).endpoint) as subscriber,
        fake.socket,
        pytest.raises(BusError, match="did not answer"),
    ):
        subscriber.snapshot(timeout=0.2)


@pytest.mark.parametrize("since", [None, 0.0], ids=["asking", "following"])
def test_requests_go_where_the_publisher_says_from_the_first_one_on(since: float | None) -> None:
    """On the next port nobody answers here, or somebody else."""
    with publisher(bus=BusConfig(bind=FREE, requests=FREE)) as bus:
        bus.event(event())
        until(lambda: bus.state().last_event_seq == 1)
        with Subscriber(bus.endpoint, topics=["event/"], since=since) as subscriber:
            assert subscriber.snapshot(DEADLINE).raw["session"] == bus.state().session
            if since is not None:
                assert events_of(collect(subscriber, lambda found: bool(found))) == [1]


@pytest.mark.parametrize("endpoint", ["localhost:5555", "tcp://localhost", "http://x", ""])
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(BusError):
        Subscriber(endpoint)


@pytest.mark.parametrize(
    "since", ["2h", ("seq",), ("seq", -1), ("row", 5), float("nan"), -3.0, ("seq", 1, "s", "j", 3, None)]
)
def test_a_wrong_since_is_refused(since: Any) -> None:
    with pytest.raises(BusError, match="since="):
        Subscriber("tcp://127.0.0.1:1", since=since)


def test_topics_given_as_one_word_are_a_mistake_worth_a_word() -> None:
    with pytest.raises(BusError, match=r"\['event/'\]"):
        Subscriber("tcp://127.0.0.1:1", topics="event/")  # type: ignore[arg-type]


def test_a_closed_subscriber_says_so() -> None:
    subscriber = Subscriber("tcp://127.0.0.1:1")
    subscriber.close()
    subscriber.close()
    with pytest.raises(BusError, match="closed"):
        subscriber.receive(0)


# ---- asyncio


def test_asyncio_has_the_same_names() -> None:
    for name in (n for n in dir(Subscriber) if not n.startswith("_")):
        assert hasattr(AsyncSubscriber, name)


def test_asyncio_follows_catches_up_and_asks() -> None:
    async def follow(endpoint: str) -> tuple[list[Message], int, dict[str, PredictionMessage]]:
        found: list[Message] = []
        async with AsyncSubscriber(endpoint, topics=["event/"], since=0.0, timeout=DEADLINE) as subscriber:
            async for message in subscriber:
                found.append(message)
                if len(found) == 5:
                    break
            snapshot = await subscriber.snapshot(DEADLINE)
            assert await subscriber.receive(0.05) is None
            return found, snapshot.last_event_seq, await subscriber.latest()

    with publisher() as bus:
        for number in range(5):
            bus.event(event(f"e{number}"))
        found, last, latest = asyncio.run(follow(bus.endpoint))
    assert events_of(found) == [1, 2, 3, 4, 5]
    assert (last, latest) == (5, {})


def test_asyncio_lets_others_run_and_can_be_cancelled() -> None:
    async def main(endpoint: str) -> int:
        ticks = 0
        async with AsyncSubscriber(endpoint, topics=["event/"]) as subscriber:
            waiting = asyncio.create_task(subscriber.receive())
            for _ in range(20):
                await asyncio.sleep(0.005)
                ticks += 1
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        return ticks

    with publisher() as bus:
        assert asyncio.run(main(bus.endpoint)) == 20


# ---- streamer subscribe


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    subscribe.add_arguments(parser)
    return parser.parse_args(words)


def test_subscribe_prints_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    with publisher() as bus:
        bus.event(event("e1", camera="front\x1b[2J"))
        bus.event(event("e1", Phase.END, camera="front"))
        assert (
            subscribe.run(arguments(bus.endpoint, "--since", "1h", "--topic", "event/", "--count", "2")) == 0
        )
    first, second = capsys.readouterr().out.splitlines()
    assert "waving started (0.80)" in first
    assert "\x1b" not in first
    assert "front: waving ended after" in second


def test_subscribe_tells_people_of_no_action_only_where_events_are_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with publisher() as bus:
        bus.event(replace(event("e1", label="still"), background=True))
        bus.event(event("e2"))
        for words, wanted in (([], ["waving"]), (["--topic", "event/"], ["still", "waving"])):
            follow = ["--since", "0", "--count", str(len(wanted))]
            assert subscribe.run(arguments(bus.endpoint, *follow, *words)) == 0
            said = capsys.readouterr().out
            assert [label for label in ("still", "waving") if f"cam0: {label} started" in said] == wanted


def test_subscribe_prints_json_as_it_was_sent(capsys: pytest.CaptureFixture[str]) -> None:
    with publisher() as bus:
        for number in range(3):
            bus.event(event(f"e{number}"))
        assert (
            subscribe.run(
                arguments(bus.endpoint, "--json", "--since", "seq:1", "--topic", "event/", "--count", "2")
            )
            == 0
        )
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["seq"] for item in objects] == [2, 3]
    assert objects[0]["type"] == "event"


def test_lines_of_json_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\u009b2Jb\u202e"
    with publisher() as bus:
        bus.event(event("e1", camera=name))
        words = ("--json", "--since", "1h", "--topic", "event/", "--count", "1")
        assert subscribe.run(arguments(bus.endpoint, *words)) == 0
    line = capsys.readouterr().out.rstrip("\n")
    assert line.isprintable()
    assert json.loads(line)["camera"] == name


def test_subscribe_goes_on_behind_what_it_has_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--json", "--topic", "event/", "--state", str(tmp_path / "state.json"))
    with publisher() as bus:
        for number in range(5):
            bus.event(event(f"e{number}"))
        until(lambda: bus.state().last_event_seq == 5)
        assert subscribe.run(arguments(bus.endpoint, *words, "--since", "1h", "--count", "3")) == 0
        assert subscribe.run(arguments(bus.endpoint, *words, "--since", "1h", "--count", "2")) == 0
    assert [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()] == [1, 2, 3, 4, 5]


def test_every_message_has_words_for_people() -> None:
    with publisher() as bus, Subscriber(bus.endpoint) as subscriber:
        connect(subscriber)
        bus.status(status(fps=3.0, detail="fine"))
        bus.prediction(prediction(), None, 2)
        bus.event(event(phase=Phase.UPDATE))
        found = collect(subscriber, lambda found: len(found) >= 3)
    lines = [subscribe.as_text(message) for message in [*found, Gap("event", 3, 4, "expired")]]
    text = "\n".join(line for line in lines if line)
    for words in (
        "running, 3.0 fps, fine",
        "waving 0.75, still 0.25 (stable: unknown)",
        "waving lasts (0.80)",
        "2 event message(s)",
    ):
        assert words in text


def test_subscribe_ends_after_silence(capsys: pytest.CaptureFixture[str]) -> None:
    assert subscribe.run(arguments("tcp://127.0.0.1:1", "--timeout", "0.2")) == subscribe.NOTHING_HEARD
    with publisher() as bus:
        assert subscribe.run(arguments(bus.endpoint, "--topic", "event/", "--timeout", "0.5")) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", [("--timeout", "-1"), ("--count", "0"), ("--since", "x"), ("nonsense",)])
def test_mistakes_are_one_line(words: tuple[str, ...]) -> None:
    with pytest.raises(BusError) as caught:
        subscribe.run(arguments(*words))
    assert "\n" not in str(caught.value)


@contextmanager
def start_command(*words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "streamer", "subscribe", *words]
    with warm_processes.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()  # where the test failed it would be waited for without end


@pytest.mark.realtime
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_subscribe_ends_well_on_ctrl_c_and_when_its_reader_leaves() -> None:
    with publisher() as bus:
        with start_command(bus.endpoint, "--json", "--topic", "heartbeat/") as child:
            assert child.stdout is not None
            assert child.stderr is not None
            assert child.stdout.readline()
            os.kill(child.pid, signal.SIGINT)
            child.stdout.read()
            assert (child.wait(10), child.stderr.read()) == (130, "")
        with start_command(bus.endpoint, "--json", "--topic", "heartbeat/") as child:
            assert child.stdout is not None
            assert child.stderr is not None
            assert child.stdout.readline()
            child.terminate()
            child.stdout.read()
            assert (child.wait(10), child.stderr.read()) == (0, "")
        with start_command(bus.endpoint, "--json", "--topic", "heartbeat/") as child:
            assert child.stdout is not None
            assert child.stderr is not None
            assert child.stdout.readline()
            child.stdout.close()
            assert (child.wait(10), child.stderr.read()) == (0, "")


@pytest.mark.realtime
def test_a_publisher_that_goes_and_comes_is_told_on_stderr(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with publisher() as bus:
            child = stack.enter_context(start_command(bus.endpoint, "--topic", "event/", "--json"))
            assert child.stdout is not None
            assert child.stderr is not None
            until(lambda: bus.state().subscribers >= 1)
            while not select.select([child.stdout], [], [], 0.05)[0]:
                bus.event(event())  # until it hears us
        assert "is silent" in child.stderr.readline()
        with publisher(bus=BusConfig(bind=bus.endpoint)) as again:
            assert "is there again" in child.stderr.readline()
            again.event(event("back"))
            assert any('"back"' in line for line in child.stdout)


@pytest.mark.soak
def test_a_reader_that_pauses_for_long_reads_on() -> None:
    """Longer than any heartbeat's timeout, with a full queue: libzmq used to end the process here."""
    with publisher() as bus:
        readers = [Subscriber(bus.endpoint, topics=["heartbeat/"], high_water_mark=1) for _ in range(6)]
        for reader in readers:
            assert reader.receive(10) is not None
        for _ in range(2):
            threading.Event().wait(22)
            for reader in readers:
                for _ in range(3):
                    assert reader.receive(10) is not None
        for reader in readers:
            reader.close()


@pytest.mark.realtime
def test_subscribe_tells_the_past_before_the_present_and_no_predictions_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with publisher(tmp_path / "events.db") as bus:
        for number in range(700):  # more than a page of answers
            bus.event(event(f"e{number}"))
        stop = threading.Event()

        def present() -> None:
            while not stop.wait(0.01):
                bus.status(status())
                bus.prediction(prediction(), None, 2)

        talking = threading.Thread(target=present)
        talking.start()
        try:
            assert subscribe.run(arguments(bus.endpoint, "--since", "1h", "--count", "702", "--json")) == 0
        finally:
            stop.set()
            talking.join()
    types = [json.loads(line)["type"] for line in capsys.readouterr().out.splitlines()]
    assert types == ["event"] * 700 + ["status"] * 2
