"""The numbers as Prometheus reads them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamer.cli.command_line import main
from streamer.metrics.counters import BOUNDS, LABELS, OTHER, Counters
from streamer.metrics.prometheus import buckets, registry
from streamer.system.install_extras import command_for
from streamer.types import (
    CameraState,
    CameraStats,
    CameraStatus,
    Event,
    Frame,
    Moment,
    Phase,
    Prediction,
    RecordingStats,
    Stats,
    Window,
)
from tests.helpers.monitoring_parts import (
    LIMITS,
    camera,
    stats,
)

pytestmark = pytest.mark.usefixtures("no_thread_left")

ROOT = Path(__file__).resolve().parents[2]


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
    text = _encoded(stats(recording=RecordingStats({"clips": 3, "lost": 2})))
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
        f"streamer: the page of metrics needs prometheus-client (extra metrics): {command_for('metrics')}"
    )


def test_people_are_counted_where_they_are_followed() -> None:
    follows = CameraStatus("hall", CameraState.RUNNING, 0.0, following=3)
    other = CameraStatus("yard", CameraState.RUNNING, 0.0)
    cameras = (CameraStats(follows, left_out={"max": 2}), CameraStats(other))
    text = _encoded(replace(counted(), cameras=cameras))
    assert 'streamer_people{camera="hall"} 3.0' in text
    assert 'streamer_people_left_out_total{camera="hall",cause="max"} 2.0' in text
    assert 'streamer_people{camera="yard"}' not in text
