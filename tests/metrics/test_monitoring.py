"""Metrics and health of real pipelines and of a process of its own, scraped."""

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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from streamer.config import CameraConfig, Config, JournalConfig, MetricsConfig
from streamer.metrics.monitoring import Monitoring
from streamer.pipeline.pipeline import Pipeline
from streamer.testing import FakeRecognizer
from tests.helpers import warm_processes
from tests.helpers.cameras import QUICK
from tests.helpers.http_get import get
from tests.helpers.monitoring_parts import (
    PATIENCE,
    health,
    scrape,
    unix,
    until,
    value,
)
from tests.helpers.pipelines import QUIET
from tests.helpers.servers.mjpeg import MjpegCamera

pytestmark = pytest.mark.usefixtures("no_thread_left")

ROOT = Path(__file__).resolve().parents[2]
ROUNDED = 1e-5  # seconds by which a latency in a message differs from the measured one


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
        self.process = warm_processes.start(
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
