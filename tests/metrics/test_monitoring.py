"""Metrics, health and life signs: real processes, real scrapes, real sockets."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamer.cli.command_line import main
from streamer.config import CameraConfig, Config, JournalConfig, MetricsConfig
from streamer.errors import ConfigError
from streamer.metrics import http_server
from streamer.metrics.counters import BOUNDS, LABELS, OTHER, Counters
from streamer.metrics.health import judge
from streamer.metrics.http_server import Reply, Server, address_of, json_reply
from streamer.metrics.monitoring import Monitoring, status_line
from streamer.metrics.prometheus import buckets, registry
from streamer.metrics.systemd import Notifier
from streamer.pipeline.pipeline import Pipeline
from streamer.system.addresses import is_loopback
from streamer.testing import FakeRecognizer
from streamer.types import (
    CameraState,
    CameraStats,
    CameraStatus,
    Event,
    Frame,
    InferenceStats,
    Moment,
    Phase,
    Prediction,
    PublisherState,
    Stats,
    Window,
)
from tests.helpers.cameras import QUICK
from tests.helpers.http_get import get
from tests.helpers.pipelines import QUIET
from tests.helpers.servers.mjpeg import MjpegCamera

pytestmark = pytest.mark.usefixtures("no_thread_left")

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds for a process of its own, on a crowded machine
ROUNDED = 1e-5  # seconds by which a latency in a message differs from the measured one
NOW = 1000.0
LIMITS = MetricsConfig()
unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs unix sockets")


def until(condition: Callable[[], bool], what: str = "") -> None:
    """Wait for something that another thread or process does."""
    end, waiting = time.monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < end, f"did not happen in time: {what or condition}"
        waiting.wait(0.02)


# --- what counts as unhealthy ---


def camera(
    name: str, state: CameraState = CameraState.RUNNING, *, age: float = 0.1, **more: Any
) -> CameraStats:
    return CameraStats(CameraStatus(name, state, 0.0, newest=NOW - age, **more))


def stats(*cameras: CameraStats, **more: Any) -> Stats:
    lane = InferenceStats("demo", None, NOW - 0.2)
    made = Stats(NOW, 1.8e9, 500.0, cameras or (camera("cam0"),), inference=(lane,), publisher=bus())
    return replace(made, **{"ready_since": NOW - 400, "last_loop": NOW - 0.1, **more})


def bus(ago: float | None = 0.1, **more: Any) -> PublisherState:
    last_loop = None if ago is None else NOW - ago
    return PublisherState(**{"last_loop": last_loop, "durable": True, "wants_durable": True, **more})


def codes(seen: Stats, config: MetricsConfig = LIMITS) -> list[str]:
    return [problem.code for problem in judge(seen, config).problems]


def test_all_is_well() -> None:
    verdict = judge(stats(), LIMITS)
    assert (verdict.healthy, verdict.ready, verdict.alive, verdict.degraded) == (True, True, True, ())


@pytest.mark.parametrize(
    ("waiting", "given", "stuck"),
    [
        (None, 100.0, False),  # nothing is asked: no camera, or nothing new
        (100.0, 100.0, True),
        (100.0, 1.0, False),  # many cameras for a slow model: somebody waits, and others are served
        (1.0, 100.0, False),  # video has just come back
        (29.0, 100.0, False),
    ],
)
def test_inference_is_stuck_when_nothing_is_given_although_asked(
    waiting: float | None, given: float, stuck: bool
) -> None:
    since = None if waiting is None else NOW - waiting
    seen = stats(inference=(InferenceStats("demo", None, NOW), InferenceStats("large", since, NOW - given)))
    assert codes(seen) == ["inference_stuck"] * stuck
    assert judge(seen, LIMITS).alive is not stuck
    if stuck:
        assert "large has recognised nothing for 100 s" in judge(seen, LIMITS).problems[0].detail


def test_a_model_that_never_answered_is_stuck_since_it_was_ready() -> None:
    assert codes(stats(inference=(InferenceStats("m", NOW - 50, None),))) == ["inference_stuck"]
    assert codes(stats(inference=(InferenceStats("m", NOW - 50, None),), ready_since=NOW - 10)) == []


def test_one_camera_away_is_no_illness_unless_asked_for() -> None:
    away = camera("yard", CameraState.RECONNECTING, age=90.0, detail="no route to host")
    verdict = judge(stats(camera("door"), away), LIMITS)
    assert (verdict.healthy, verdict.degraded) == (True, ("yard reconnecting (no route to host)",))
    assert codes(stats(camera("door"), away), MetricsConfig(every_camera=True)) == ["camera_lost"]


def test_all_cameras_away_is_but_not_at_once_and_no_reason_to_restart() -> None:
    def away(age: float) -> list[CameraStats]:
        return [camera(name, CameraState.RECONNECTING, age=age) for name in ("door", "yard")]

    assert codes(stats(*away(29.0))) == []
    assert codes(stats(*away(31.0))) == ["cameras_lost"]
    assert judge(stats(*away(31.0)), LIMITS).alive
    assert codes(stats(away(31.0)[0], camera("yard"))) == []
    assert codes(stats(away(31.0)[0], camera("film", CameraState.ENDED))) == ["cameras_lost"]


def test_a_camera_that_never_came_is_lost_some_time_after_the_start() -> None:
    never = CameraStats(CameraStatus("door", CameraState.CONNECTING, 0.0))
    assert codes(stats(never)) == ["cameras_lost"]
    assert codes(stats(never, ready_since=NOW - 5)) == []


def test_a_frozen_picture_is_said() -> None:
    assert judge(stats(camera("door", picture="frozen")), LIMITS).degraded == ("door frozen picture",)


@pytest.mark.parametrize(
    ("state", "wanted", "restart_helps"),
    [
        (bus(None), ["bus_failed"], True),
        (bus(31), ["bus_failed"], True),
        (bus(durable=False), ["journal_failed"], False),
        (bus(durable=False, wants_durable=False), [], False),
    ],
)
def test_bus_and_history(state: PublisherState, wanted: list[str], restart_helps: bool) -> None:
    assert codes(stats(publisher=state)) == wanted
    assert judge(stats(publisher=state), LIMITS).alive is not restart_helps


def test_loading_takes_its_time_and_is_not_ready() -> None:
    never = CameraStats(CameraStatus("door", CameraState.CONNECTING, 0.0))
    seen = stats(never, ready_since=None, last_loop=NOW - 1000)
    verdict = judge(seen, LIMITS)
    assert (verdict.healthy, verdict.ready) == (True, False)
    assert status_line(seen, verdict) == "loading the model"


def test_a_main_loop_that_stands_still_is_ill() -> None:
    assert codes(stats(last_loop=NOW - 31)) == ["program_stuck"]
    assert "failing: the main loop" in status_line(
        stats(last_loop=NOW - 31), judge(stats(last_loop=NOW - 31), LIMITS)
    )


# --- numbers ---


def counted(labels: tuple[str, ...] = (), seconds: tuple[float, ...] = ()) -> Stats:
    counters = Counters()
    at = Moment(0.0, 0.0)
    for number, label in enumerate(labels):
        counters.event(Event(str(number), "cam0", "m", label, Phase.START, 0.8, 0.9, at, at))
    frame = Frame("cam0", 0, 0, 0.0, 0.0, 0.0, None, np.zeros((1, 1, 3), np.uint8))
    scores = np.ones(1, np.float32)
    for one in seconds:
        made = Prediction("cam0", "m", Window("cam0", 1, (frame,), 0.25), ("still",), scores)
        counters.prediction(made, None, {}, 1, {"inference": one})
    return counters.stats()


def test_a_histogram_is_what_prometheus_means() -> None:
    histogram = counted(seconds=(0.0005, 0.001, 0.0011, 0.3, 99.0)).durations["inference", "m"]
    found = dict(buckets(histogram))
    assert (found["0.001"], found["0.0025"], found["0.25"], found["0.5"]) == (2, 3, 3, 4)
    assert (found["30.0"], found["+Inf"]) == (4, 5)
    assert list(found) == [*map(str, BOUNDS), "+Inf"]


def test_words_that_change_for_ever_do_not_fill_the_memory() -> None:
    words = tuple(f"word {number}" for number in range(LABELS + 50))
    started = counted(labels=(*words, "word 3")).started
    assert len(started) == LABELS + 1
    assert started["cam0", OTHER] == 50
    assert started["cam0", "word 3"] == 2


def test_what_recording_wrote_and_lost_is_told() -> None:
    text = _encoded(stats(recording={"clips": 3, "lost": 2}))
    assert 'streamer_recording_total{kind="clips"} 3.0' in text
    assert 'streamer_recording_total{kind="lost"} 2.0' in text


def test_hostile_names_are_escaped() -> None:
    name = 'a"b\\c\nd{}🚪'
    text = _encoded(stats(camera(name)))
    samples = [s for f in text_string_to_metric_families(text) for s in f.samples if "camera" in s.labels]
    assert samples
    assert {sample.labels["camera"] for sample in samples} == {name}


def _encoded(seen: Stats) -> str:
    from prometheus_client.exposition import generate_latest

    return generate_latest(registry(lambda: seen, LIMITS)).decode()


def test_device_memory_is_told_where_cuda_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    if not torch.cuda.is_initialized():
        assert "device_memory" not in _encoded(stats()), "asking must not start CUDA"
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (3_000, 10_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 2_000)
    text = _encoded(stats())
    assert 'streamer_device_memory_used_bytes{device="cuda:0"} 7000.0' in text
    assert 'streamer_device_memory_reserved_bytes{device="cuda:0"} 2000.0' in text

    def failed(index: int) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.cuda, "mem_get_info", failed)
    assert "streamer_healthy 1.0" in _encoded(stats()), "a device that has failed does not blind the rest"


def test_importing_it_brings_no_prometheus() -> None:
    code = (
        "import sys, streamer.metrics.monitoring, streamer.cli.run; print('prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_prometheus_client_missing_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    words = ["run", "demo", "--bind", "", "--set", "journal.path=", "--ui", "none", "--metrics", "0"]
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        'streamer: metrics need prometheus-client: pip install "streamer[metrics]"'
    )


# --- foreign words ---

EVIL = "gate\x1b]0;x\x07\x9b31m\ud800\nall is well"


def test_a_cameras_own_words_do_not_steer_the_terminal_of_who_asks() -> None:
    """curl prints /healthz, systemctl the status; half a surrogate pair cannot even be sent."""
    seen = stats(camera(EVIL, CameraState.RECONNECTING, age=90.0, detail=EVIL))
    reply = json_reply(503, judge(seen, LIMITS).report(seen))
    text = reply.body.decode()
    assert text.rstrip("\n").isprintable()
    assert json.loads(text)["cameras"] == {EVIL: "reconnecting"}


@unix
def test_a_status_for_systemd_is_one_printable_line(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with notify_socket(path) as listening:
        assert Notifier({"NOTIFY_SOCKET": path}).send(STATUS=EVIL)
        said = listening.recv(4096).decode()
    assert said.isprintable()
    assert said.startswith("STATUS=gate")


# --- the server ---


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("9464", ("127.0.0.1", 9464)),
        ("[::1]:9464", ("::1", 9464)),
        ("0.0.0.0:9464", ("0.0.0.0", 9464)),
        ("localhost:9464", ("127.0.0.1", 9464)),
        ("metrics.example:80", ("metrics.example", 80)),
    ],
)
def test_without_a_host_it_is_this_machine_alone(text: str, wanted: tuple[str, int]) -> None:
    assert address_of(text) == wanted
    assert MetricsConfig(listen=text).listen == text
    assert is_loopback(wanted[0]) is (wanted[0] in ("127.0.0.1", "::1"))


@pytest.mark.parametrize(
    "text", ["*:9464", "localhost", "127.0.0.1:", "127.0.0.1:99999", "http://x:1", "x:-1", ""]
)
def test_an_address_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"give HOST:PORT"):
        address_of(text)
    if text and "99999" not in text:
        with pytest.raises(ValueError, match=r"give HOST:PORT"):
            MetricsConfig(listen=text)


@contextmanager
def serving(pages: dict[str, Any] | None = None) -> Iterator[tuple[str, int]]:
    made = Server("127.0.0.1:0", pages or {"/healthz": lambda accept: Reply(200, "text/plain", b"well\n")})
    host, _, port = made.address.partition(":")
    try:
        yield host, int(port)
    finally:
        made.close()
        until(lambda: not [t for t in threading.enumerate() if t.name == "metrics-answer"])


def send(address: tuple[str, int], data: bytes) -> bytes:
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(data)
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:9464\r\n\r\n", 200),
        (b"GET /healthz?x=1 HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\n\n", 200),
        (b"HEAD /healthz HTTP/1.1\r\n\r\n", 405),
        (b"POST /healthz HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"DELETE / HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET http://other/healthz HTTP/1.1\r\n\r\n", 404),
        (b"GET /healthz\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET /healthz HTTP/2\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: [::1]:9464\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: rebound.example:9464\r\n\r\n", 421),
        (b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.rebound.example\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 3000 + b"\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_answered(request_: bytes, status: int) -> None:
    with serving() as address:
        answer = send(address, request_)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"\r\nConnection: close\r\n" in answer
        assert int(re.findall(rb"Content-Length: (\d+)", answer)[0]) == len(answer.partition(b"\r\n\r\n")[2])
        assert send(address, b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"well\n"), "it lives on"


def test_a_page_that_fails_is_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    def broken(accept: str) -> Reply:
        raise RuntimeError("secret")

    with serving({"/metrics": broken}) as address:
        answer = send(address, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer


def test_sockets_that_say_nothing_keep_nobody_out() -> None:
    with serving() as address, ExitStack() as held:
        for _ in range(3 * http_server.MOST_CONNECTIONS):
            held.enter_context(socket.create_connection(address, timeout=10))
            assert send(address, b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"well\n")


def test_refused_clients_that_stay_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "LINGER", PATIENCE)
    monkeypatch.setattr(http_server, "DEADLINE", PATIENCE)
    with serving() as address, ExitStack() as held:
        for _ in range(2 * http_server.MOST_CONNECTIONS):
            refused = held.enter_context(socket.create_connection(address, timeout=10))
            refused.sendall(b"POST /healthz HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
            assert refused.recv(4096).startswith(b"HTTP/1.1 405 ")
            assert send(address, b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"well\n")


def test_clients_that_do_not_take_their_answer_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "DEADLINE", PATIENCE)
    large = Reply(200, "text/plain", bytes(16 << 20))  # more than the sockets' buffers hold
    pages = {"/metrics": lambda accept: large, "/healthz": lambda accept: Reply(200, "text/plain", b"well\n")}
    with serving(pages) as address, ExitStack() as held:
        for _ in range(2 * http_server.MOST_CONNECTIONS):
            greedy = held.enter_context(socket.create_connection(address, timeout=10))
            greedy.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert greedy.recv(16), "its answer has begun"
            assert send(address, b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"well\n")


def test_a_head_that_comes_byte_by_byte_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "DEADLINE", 0.5)
    with serving() as address, socket.create_connection(address, timeout=10) as dripping:

        def gone() -> bool:
            try:
                dripping.sendall(b"T")  # each byte comes long before the deadline of a single read
                return dripping.recv(100, socket.MSG_DONTWAIT) == b""
            except BlockingIOError:
                return False
            except OSError:
                return True

        until(gone, "who takes longer than the deadline is let go")


def test_an_address_for_other_machines_answers_to_every_name() -> None:
    made = Server("0.0.0.0:0", {"/healthz": lambda accept: Reply(200, "text/plain", b"well\n")})
    try:
        address = "127.0.0.1", int(made.address.rpartition(":")[2])
        answer = send(address, b"GET /healthz HTTP/1.1\r\nHost: monitor.example:9464\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
    finally:
        made.close()


def test_a_page_that_fails_at_every_scrape_is_logged_once_a_minute(warnings_of_streamer: list[str]) -> None:
    def broken(accept: str) -> Reply:
        raise RuntimeError("secret")

    with serving({"/metrics": broken}) as address:
        for _ in range(20):
            assert send(address, b"GET /metrics HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 500 ")
    assert warnings_of_streamer == ["/metrics could not be answered"]


def test_a_port_in_use_is_one_line_and_leaves_nothing_running(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ["run", "demo", "--bind", "", "--set", "journal.path=", "--ui", "none", "--metrics", address]
        assert main(words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"streamer: metrics cannot be served at {address}: ")
    assert line.endswith("give another address with --metrics")


# --- a pipeline that becomes unhealthy ---


def health(address: str) -> tuple[int, dict[str, Any]]:
    status, text = get(address, "/healthz")
    return status, json.loads(text)


def scrape(address: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(name, labels) -> value of every sample."""
    status, text = get(address, "/metrics")
    assert status == 200
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def value(found: dict[Any, float], name: str, **labels: str) -> float:
    return found.get((f"streamer_{name}", tuple(sorted(labels.items()))), math.nan)


@contextmanager
def watching(config: Config, recognizer: Any) -> Iterator[str]:
    """A pipeline that runs on a thread of its own; gives the address of its metrics."""
    stop = threading.Event()
    with (
        Pipeline(config, recognizer=recognizer) as pipeline,
        Monitoring(config.metrics, pipeline.stats) as watch,
    ):
        running = threading.Thread(target=pipeline.run, args=(stop,))
        running.start()
        try:
            yield watch.address
        finally:
            stop.set()
            running.join(PATIENCE)


def live(*cameras: CameraConfig, **more: Any) -> Config:
    limits = {"listen": "127.0.0.1:0", "lost_after": 2.0, **more.pop("metrics", {})}
    settings = {**QUIET, "pace": "realtime", "capture": QUICK.model_copy(update={"give_up": False}), **more}
    return Config(cameras=cameras, metrics=MetricsConfig.model_validate(limits), **settings)


@pytest.mark.realtime
def test_a_model_that_blocks_turns_it_red_and_green_again() -> None:
    go, blocked = threading.Event(), threading.Event()
    go.set()

    def score(window: Any) -> tuple[float, float]:
        if not go.is_set():
            blocked.set()
        go.wait(PATIENCE)
        return 0.9, 0.1

    config = live(CameraConfig(name="demo", source="demo"), loop=True, metrics={"stuck_after": 2.0})
    with watching(config, FakeRecognizer(score)) as address:
        until(lambda: get(address, "/readyz")[0] == 200, "ready")
        until(lambda: value(scrape(address), "windows_given_total", camera="demo", model="scripted") > 0)
        until(lambda: health(address)[0] == 200, "well")
        go.clear()
        assert blocked.wait(PATIENCE)
        until(lambda: health(address)[0] == 503, "red")
        report = health(address)[1]
        assert (report["status"], report["ready"]) == ("failing", False)
        assert "inference_stuck" in [problem["code"] for problem in report["problems"]]
        assert get(address, "/readyz")[0] == 503
        assert value(scrape(address), "healthy") == 0
        go.set()
        until(lambda: health(address)[0] == 200, "green again")
        assert value(scrape(address), "healthy") == 1


@pytest.mark.realtime
def test_a_camera_that_is_killed() -> None:
    """Its state changes, one of two is no illness, both are; and it mends."""
    with MjpegCamera() as door, MjpegCamera() as yard:
        cameras = (CameraConfig(name="door", source=door.url), CameraConfig(name="yard", source=yard.url))
        with watching(live(*cameras), FakeRecognizer(lambda _: (0.9, 0.1))) as address:

            def running(name: str) -> bool:
                return value(scrape(address), "camera_state", camera=name, state="running") == 1

            until(lambda: running("door") and running("yard"), "both run")
            before = scrape(address)
            door.stop()
            until(lambda: value(scrape(address), "camera_state", camera="door", state="reconnecting") == 1)
            assert not running("door")

            def said() -> tuple[int, str, list[str]]:
                status, report = health(address)
                return status, report["status"], [" ".join(line.split()[:2]) for line in report["degraded"]]

            until(lambda: said() == (200, "degraded", ["door reconnecting"]), "one of two is no illness")
            yard.stop()
            until(lambda: health(address)[0] == 503, "red when the last one is gone")
            assert [problem["code"] for problem in health(address)[1]["problems"]] == ["cameras_lost"]
            yard.start()
            until(lambda: health(address)[0] == 200, "green when one is back")
            after = scrape(address)
            assert value(after, "camera_reconnects_total", camera="yard") >= 1
            assert value(after, "camera_readers_hanging", camera="yard") == 0
            for name in ("frames_captured_total", "frames_stored_total"):
                assert value(after, name, camera="yard") > value(before, name, camera="yard")


def test_a_history_that_another_program_holds_is_red(tmp_path: Path) -> None:
    journal = JournalConfig(path=str(tmp_path / "events.db"))
    demo = CameraConfig(name="demo", source="demo")
    with (
        watching(live(demo, loop=True, journal=journal), FakeRecognizer(lambda _: (0.9, 0.1))) as first,
        watching(live(demo, loop=True, journal=journal), FakeRecognizer(lambda _: (0.9, 0.1))) as second,
    ):
        until(lambda: get(first, "/readyz")[0] == 200)
        assert [problem["code"] for problem in health(second)[1]["problems"]] == ["journal_failed"]
        assert (value(scrape(first), "journal_durable"), value(scrape(second), "journal_durable")) == (1, 0)


# --- a process of its own ---


class Demo:
    """`streamer run demo` with JSON lines, until it is told to stop."""

    def __init__(self, *words: str, **environment: str) -> None:
        command = [sys.executable, "-m", "streamer", "run", "demo", "--ui", "json", "--loop", "--bind", "",
                   "--set", "journal.path=", "--metrics", "127.0.0.1:0", *words]  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        self.messages: list[dict[str, Any]] = []
        self.address = ""
        self._told = False
        self._readers = [threading.Thread(target=read) for read in (self._read_out, self._read_err)]

    def __enter__(self) -> Demo:
        for reader in self._readers:
            reader.start()
        end = time.monotonic() + PATIENCE
        waiting = threading.Event()
        while not self.address:
            assert time.monotonic() < end
            assert self.process.poll() is None
            waiting.wait(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._told:
            self.stop()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            for reader in self._readers:
                reader.join(20)

    def stop(self) -> None:
        """Once: a second signal would mean at once."""
        self._told = True
        self.process.send_signal(signal.SIGTERM)

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        self.messages.extend(json.loads(line) for line in self.process.stdout)

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"metrics on http://(\S+)/metrics", line):
                self.address = found[1]

    def of(self, kind: str, before: float) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["type"] == kind and m["sent_at"] <= before]


class Systemd:
    """What a service manager hears, on a socket of its own."""

    def __init__(self, path: str) -> None:
        self.said: list[str] = []
        self._path = path
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._listen)

    def __enter__(self) -> dict[str, str]:
        if not hasattr(socket, "AF_UNIX"):
            return {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._path)
        self._socket.settimeout(0.1)  # how late it sees that it is over; nothing is decided by it
        self._reader.start()
        return {"NOTIFY_SOCKET": self._path, "WATCHDOG_USEC": "900000"}

    def __exit__(self, *_: object) -> None:
        if self._reader.ident is not None:
            self._over.set()
            self._reader.join(PATIENCE)
            self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                self.said.append(self._socket.recv(4096).decode())
            except TimeoutError:
                if self._over.is_set():
                    return


@dataclass
class DemoRun:
    """The demo, run once as a service, scraped twice."""

    demo: Demo
    scrapes: list[tuple[float, dict[Any, float], float]]  # before, what was found, after
    text: str  # the last scrape
    said: list[str]  # to systemd


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    scrapes = []
    systemd = Systemd(str(tmp_path_factory.mktemp("systemd") / "notify"))
    with systemd as environment, Demo("--hop", "0.1", **environment) as demo:
        until(lambda: get(demo.address, "/readyz")[0] == 200, "ready")
        for least in (5, 25):
            until(lambda: given(scrape(demo.address)) >= least, f"{least} windows")  # noqa: B023
            until(lambda: starts(demo, time.time()) != [], "an event")
            scrapes.append((time.time(), scrape(demo.address), time.time()))
        text = get(demo.address, "/metrics")[1]
        if environment:
            until(lambda: any("1 of 1 cameras running" in word for word in systemd.said), "a status")
        demo.stop()
        demo.process.wait(PATIENCE)
    assert demo.process.returncode == 0
    return DemoRun(demo, scrapes, text, systemd.said)


def given(found: dict[Any, float]) -> float:
    return value(found, "windows_given_total", camera="demo", model="demo")


@pytest.mark.realtime
def test_counters_grow_and_agree_with_the_messages(demo_run: DemoRun) -> None:
    demo, ((_, first, _), (before, second, after)) = demo_run.demo, demo_run.scrapes
    for name in ("frames_captured_total", "frames_stored_total"):
        assert value(second, name, camera="demo") > value(first, name, camera="demo") > 0
    assert given(second) > given(first)
    # a message is stamped a little after it is counted
    assert len(demo.of("prediction", before)) <= given(second) <= len(demo.of("prediction", after)) + 10
    earlier, later = starts(demo, before), starts(demo, after)
    assert earlier
    for label in set(earlier):
        told = value(second, "events_total", camera="demo", label=label)
        assert earlier.count(label) <= told <= later.count(label) + 1
    asked = value(second, "windows_asked_total", camera="demo", model="demo")
    skipped = [v for (n, _), v in second.items() if n == "streamer_windows_skipped_total"]
    assert 0 <= asked - given(second) - sum(skipped) <= 2, "asked = given + skipped + one that waits"
    captured = value(second, "frames_captured_total", camera="demo")
    dropped = [v for (n, _), v in second.items() if n == "streamer_frames_dropped_total"]
    assert abs(captured - value(second, "frames_stored_total", camera="demo") - sum(dropped)) <= 1
    assert (value(second, "healthy"), value(second, "ready")) == (1, 1)


def starts(demo: Demo, before: float) -> list[str]:
    return [m["event"]["label"] for m in demo.of("event", before) if m["event"]["phase"] == "start"]


@pytest.mark.realtime
def test_latencies_agree_with_the_messages(demo_run: DemoRun) -> None:
    found = demo_run.scrapes[1][1]
    messages = [m["latency_ms"] for m in demo_run.demo.of("prediction", math.inf)]
    for stage in ("preprocess", "inference", "capture_to_publish"):
        told = value(found, f"{stage}_seconds_sum", model="demo")
        count = int(value(found, f"{stage}_seconds_count", model="demo"))
        assert count == given(found)
        counted = messages[:count]  # they are counted in the order in which they are published
        assert len(counted) == count
        heard = sum(row[stage] for row in counted) / 1000
        if stage == "capture_to_publish":  # what the bus adds is in its messages alone
            assert 0 < told <= heard + ROUNDED * count
        else:
            assert told == pytest.approx(heard, abs=ROUNDED * count), stage
        assert value(found, f"{stage}_seconds_bucket", model="demo", le="+Inf") == count


@pytest.mark.realtime
def test_what_the_process_costs_is_told(demo_run: DemoRun) -> None:
    second = demo_run.scrapes[1][1]
    assert second["process_resident_memory_bytes", ()] > 50e6
    assert second["process_open_fds", ()] > 3
    assert value(second, "process_threads") >= 4
    assert value(second, "model_info", model="demo", family="timesformer", device="cpu",
                 precision=_label(second, "precision"), engine=_label(second, "engine")) == 1  # fmt: skip


def _label(found: dict[Any, float], key: str) -> str:
    return next(dict(labels)[key] for name, labels in found if name == "streamer_model_info")


@pytest.mark.realtime
def test_names_and_units_follow_the_conventions(demo_run: DemoRun) -> None:
    """What `promtool check metrics` asks for, and promtool itself where it is installed."""
    text = demo_run.text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helped = set(re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE))
    ours = {name for name in kinds if name.startswith("streamer_")}
    assert len(ours) >= 30
    for name in ours:
        assert name in helped
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert name.endswith("_total") is (kinds[name] == "counter")
        assert not re.search(r"(_ms|_millis|_milliseconds|_mb|_kb|_percent)(_|$)", name), "base units"
        if kinds[name] == "histogram":
            assert name.endswith("_seconds")
    promtool = shutil.which("promtool")
    if promtool:
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


# --- systemd ---


@contextmanager
def notify_socket(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(PATIENCE)
        yield listening


@unix
def test_a_message_to_a_socket_by_path(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    notifier = Notifier({"NOTIFY_SOCKET": path})
    assert not notifier.send(READY=1), "nobody listens: nobody's problem"
    with notify_socket(path) as listening:
        assert notifier.send(READY=1, STATUS="all\nis  well\nWATCHDOG=1")
        assert listening.recv(4096) == b"READY=1\nSTATUS=all is well WATCHDOG=1", "one line each"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the abstract namespace is Linux's")
def test_a_message_to_an_abstract_socket() -> None:
    name = f"streamer-test-{os.getpid()}"
    with notify_socket(f"\0{name}") as listening:
        assert Notifier({"NOTIFY_SOCKET": f"@{name}"}).send(WATCHDOG=1)
        assert listening.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),  # meant for another process
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_when_the_watchdog_wants_to_hear(environment: dict[str, str], interval: float | None) -> None:
    assert Notifier(environment).interval == interval


@pytest.mark.parametrize("path", ["", "vsock:2:1234", "relative"])
def test_nothing_happens_where_no_socket_is_named(path: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": path})
    assert not notifier.wanted
    assert not notifier.send(READY=1)


@pytest.mark.realtime
@unix
def test_a_service_says_when_it_is_ready_lives_and_stops(demo_run: DemoRun) -> None:
    said = demo_run.said

    def first(word: str) -> int:
        return next(index for index, line in enumerate(said) if word in line)

    ready = first("READY=1")
    before = [line for line in said[:ready] if "WATCHDOG=1" in line or "EXTEND_TIMEOUT_USEC" in line]
    assert before, "it says that it is alive while the model is loaded"
    assert any("WATCHDOG=1" in line for line in said[ready:])
    assert first("1 of 1 cameras running") >= ready
    assert said[-1].startswith("STOPPING=1")
    assert sum("READY=1" in line for line in said) == 1


@unix
def test_a_stuck_program_is_not_said_to_live_and_a_lost_camera_is_no_reason_to_restart(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "notify")
    lost = stats(camera("door", CameraState.RECONNECTING, age=100.0))
    stuck = stats(inference=(InferenceStats("demo", NOW - 100, NOW - 100),))
    with notify_socket(path) as listening:
        for seen, alive in ((lost, True), (stuck, False)):
            looked = threading.Semaphore(0)

            def look(seen: Stats = seen, looked: threading.Semaphore = looked) -> Stats:
                looked.release()
                return seen

            notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "60000"})
            with Monitoring(MetricsConfig(), look, notifier=notifier):
                for _ in range(3):
                    assert looked.acquire(timeout=PATIENCE)
            said = []
            while not said or not said[-1].startswith("STOPPING=1"):
                said.append(listening.recv(4096).decode())
            assert ("WATCHDOG=1" in said) is alive
            assert any(word.startswith("STATUS=failing: ") for word in said)
