"""The numbers the screen shows: rates, latencies, open events, counters."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamer.metrics.counters import (
    LATENCY_WINDOWS,
    NOTES,
    OPEN_EVENTS,
    RECENT_EVENTS,
    Counters,
)
from streamer.metrics.rate import Rate, percentiles
from streamer.testing import FakeClock
from streamer.types import (
    CameraState,
    CameraStatus,
    Event,
    Frame,
    LabelScore,
    LaneResult,
    Moment,
    Phase,
    Prediction,
    PublisherState,
    Track,
    Tracks,
    Window,
)
from streamer.windows.sliding_windows import Windows

LABELS = ("still", "left", "right", "waving")


def prediction(camera: str = "cam0", scores: tuple[float, ...] = (0.1, 0.2, 0.0, 0.7)) -> Prediction:
    frame = Frame(camera, 0, 0, 0.0, 0.0, 0.0, None, np.zeros((1, 1, 3), np.uint8))
    return Prediction(camera, "m", Window(camera, 1, (frame,), 0.25), LABELS, np.asarray(scores, np.float32))


def status(camera: str = "cam0", state: CameraState = CameraState.RUNNING) -> CameraStatus:
    return CameraStatus(camera, state, 0.0)


def event(id: str, phase: Phase, camera: str = "cam0", peak: float = 0.8) -> Event:
    at = Moment(0.0, 0.0)
    return Event(id, camera, "m", "waving", phase, 0.8, peak, at, at, at if phase is Phase.END else None)


def test_a_steady_rate_is_exact_and_not_off_by_one() -> None:
    rate = Rate()
    for i in range(5):
        rate.add(100 + 0.1 * i)
    assert rate.value(100.4) == pytest.approx(10.0)


def test_a_rate_sinks_while_nothing_comes_and_is_zero_in_the_end() -> None:
    rate = Rate()
    for i in range(21):
        rate.add(float(i) / 2)
    values = [rate.value(10.0 + age) for age in (0.0, 0.5, 1.0, 3.0, 9.0, 11.0)]
    assert values[0] == values[1] == pytest.approx(2.0)
    assert values == sorted(values, reverse=True)
    assert values[2] < 2.0
    assert values[-1] == 0.0


def test_a_rate_follows_a_change_and_recovers_after_a_pause() -> None:
    rate = Rate()
    for i in range(100):
        rate.add(float(i))
    for i in range(200):
        rate.add(1000 + i / 10)
    assert rate.value(1019.9) == pytest.approx(10.0, rel=0.02)


def test_windows_rarer_than_the_rates_own_span_are_still_counted() -> None:
    rate = Rate()
    rate.add(0.0)
    rate.add(25.0)
    assert rate.value(25.0) == pytest.approx(1 / 25)


@pytest.mark.parametrize("times", [(), (5.0,), (5.0, 5.0)])
def test_no_rate_before_there_is_one(times: tuple[float, ...]) -> None:
    rate = Rate()
    for time in times:
        rate.add(time)
    assert rate.value(5.0) == 0.0


def test_percentiles_are_values_that_occurred() -> None:
    assert percentiles([3.0]) == (3.0, 3.0)
    assert percentiles(list(range(101))) == (50, 95)


def test_the_rate_of_all_is_right_for_cameras_that_come_in_batches() -> None:
    clock = FakeClock()
    counters = Counters(clock=clock)
    for camera in ("a", "b", "c", "d"):
        counters.camera_status(status(camera))
    for _ in range(10):
        for camera in ("a", "b", "c", "d"):
            counters.prediction(prediction(camera), None, {}, 2, {})
        clock.advance(1.0)
    assert counters.stats().windows_per_s == pytest.approx(4.0)


def test_latency_forgets_what_is_long_ago() -> None:
    counters = Counters(clock=FakeClock())
    for seconds in [9.0] * 10 + [0.1] * LATENCY_WINDOWS:
        counters.prediction(prediction(), None, {}, 2, {"inference": seconds})
    assert counters.stats().latency == {"inference": (0.1, 0.1)}


def test_events_that_end_without_a_window_take_the_label_that_was_believed_away() -> None:
    counters = Counters(clock=FakeClock())
    counters.camera_status(status())
    counters.camera_models("cam0", {"m": 1.0})
    begun, believed = event("a", Phase.START), LabelScore("waving", 0.8)
    counters.result(LaneResult("cam0", "m", prediction(), 2, believed, {}, (begun,), (begun,)))
    camera = counters.stats().cameras[0]
    assert (camera.main.stable, camera.main.windows, camera.open_events) == (believed, 1, (begun,))
    counters.result(LaneResult("cam0", "m", None, 2, None, {}, (), (event("a", Phase.END),)))
    camera = counters.stats().cameras[0]
    assert (camera.main.stable, camera.main.windows, camera.open_events) == (None, 1, ())


def test_a_prediction_shows_its_best_labels_and_their_smoothed_scores() -> None:
    counters = Counters(clock=FakeClock())
    counters.camera_status(status())
    smoothed = {"still": 0.3, "left": 0.1, "right": 0.1, "waving": 0.5}
    counters.prediction(prediction(), LabelScore("still", 0.3), smoothed, 2, {})
    camera = counters.stats().cameras[0].main
    assert [entry.label for entry in camera.top] == ["waving", "left"]
    assert camera.smoothed == {"waving": 0.5, "left": 0.1, "still": 0.3}
    assert camera.stable == LabelScore("still", 0.3)
    assert camera.windows == 1


def test_an_event_is_one_entry_that_is_brought_up_to_date() -> None:
    counters = Counters(clock=FakeClock())
    counters.camera_status(status())
    counters.event(event("a", Phase.START))
    counters.event(event("b", Phase.START))
    counters.event(event("a", Phase.UPDATE, peak=0.9))
    stats = counters.stats()
    assert [(e.id, e.peak) for e in stats.recent] == [("a", 0.9), ("b", 0.8)]
    assert [e.id for e in stats.cameras[0].open_events] == ["a", "b"]
    counters.event(event("a", Phase.END))
    stats = counters.stats()
    assert [(e.id, e.phase) for e in stats.recent] == [("a", Phase.END), ("b", Phase.START)]
    assert [e.id for e in stats.cameras[0].open_events] == ["b"]


def test_memory_is_bounded() -> None:
    counters = Counters(clock=FakeClock())
    counters.camera_status(status())
    for i in range(500):
        counters.event(event(f"e{i}", Phase.START))
        counters.note(f"note {i}")
    stats = counters.stats()
    assert len(stats.recent) == RECENT_EVENTS
    assert stats.recent[-1].id == "e499"
    assert len(stats.cameras[0].open_events) == OPEN_EVENTS
    assert stats.notes == tuple(f"note {i}" for i in range(500 - NOTES, 500))


def test_a_note_said_twice_stands_once_at_the_end() -> None:
    counters = Counters(clock=FakeClock())
    for text in ("a", "b", "a"):
        counters.note(text)
    assert counters.stats().notes == ("b", "a")


def test_a_camera_that_does_not_run_asks_for_nothing() -> None:
    counters = Counters(clock=FakeClock())
    counters.camera_models("cam0", {"m": 4.0})
    counters.camera_status(status())
    assert counters.stats().cameras[0].main.asked_per_s == 4.0
    counters.camera_status(status(state=CameraState.RECONNECTING))
    assert counters.stats().cameras[0].main.asked_per_s == 0.0


@pytest.mark.parametrize("whole", [True, False])
def test_people_ask_for_windows_too(whole: bool) -> None:
    counters = Counters(clock=FakeClock())
    counters.camera_models("cam0", {"m": 4.0}, whole=whole)
    counters.camera_status(status())
    one = prediction()
    known, new = Track(7, (0.1, 0.1, 0.2, 0.4)), Track(8, (0.5, 0.1, 0.2, 0.4))
    counters.tracks(Tracks("cam0", 1.0, 0, (known, new)))
    assert counters.stats().cameras[0].main.asked_per_s == 4.0 * whole, "nobody has a window yet"
    counters.prediction(replace(one, window=replace(one.window, track=known)), None, {}, 1, {})
    assert counters.stats().cameras[0].main.asked_per_s == 4.0 * (whole + 1)
    counters.tracks(Tracks("cam0", 2.0, 0, (new,)))
    assert counters.stats().cameras[0].main.asked_per_s == 4.0 * whole, "they have left"


def test_uptime_and_bus_and_order_of_cameras() -> None:
    clock = FakeClock()
    counters = Counters(clock=clock)
    for camera in ("z", "a", "m", "a"):
        counters.camera_status(status(camera))
    clock.advance(12.5)
    bus = PublisherState(endpoint="tcp://127.0.0.1:5555", subscribers=2)
    stats = counters.stats(publisher=bus)
    assert (stats.uptime, stats.publisher) == (12.5, bus)
    assert [camera.status.camera for camera in stats.cameras] == ["z", "a", "m"]


def test_a_snapshot_does_not_change_afterwards() -> None:
    counters = Counters(clock=FakeClock())
    counters.camera_status(status())
    counters.prediction(prediction(), None, {"waving": 0.5}, 1, {})
    before = counters.stats()
    counters.prediction(prediction(), None, {"waving": 0.9}, 1, {})
    counters.event(event("a", Phase.START))
    assert before.cameras[0].main.smoothed == {"waving": 0.5}
    assert before.recent == ()


def test_windows_are_asked_for_what_they_count() -> None:
    counters = Counters(clock=FakeClock())
    counters.camera_status(status())
    counters.camera_models("cam0", {"m": 4.0, "more": 1.0})
    windows = Windows("cam0", 2, 0.5, 0.25, False)
    counters.lane("m", {"cam0": windows})
    assert counters.stats().cameras[0].main.lacking == pytest.approx(0.5)
    for index in range(31):
        time = index / 10
        image = np.zeros((1, 1, 3), np.uint8)
        windows.add(Frame("cam0", index, 0, time, time, time, None, image))
    counters.prediction(prediction(), None, {}, 1, {})
    stats = counters.stats()
    main, other = stats.cameras[0].models
    assert (main.asked, dict(main.skipped)) == (windows.due, windows.skipped)
    assert main.asked == sum(main.skipped.values()) + 1 > 5
    assert main.lacking is None
    assert main.waiting_since is not None
    assert (other.model, other.asked, other.windows) == ("more", 0, 0)
    (lane,) = stats.inference
    assert (lane.model, lane.waiting_since, lane.newest) == ("m", main.waiting_since, main.newest)


def test_many_threads_report_while_others_look() -> None:
    counters = Counters(clock=FakeClock())
    counters.camera_status(status())
    errors: list[BaseException] = []
    start = threading.Barrier(5)

    def report(name: str) -> None:
        try:
            start.wait(5)
            for i in range(300):
                counters.prediction(prediction(), None, {"waving": 0.5}, 2, {"inference": 0.01})
                counters.event(event(f"{name}{i}", Phase.START))
                counters.event(event(f"{name}{i}", Phase.END))
                counters.stats()
        except Exception as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    threads = [threading.Thread(target=report, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    start.wait(5)
    for thread in threads:
        thread.join(30)
    assert not errors
    camera = counters.stats().cameras[0]
    assert camera.main.windows == 1200
    assert camera.open_events == ()


def test_metrics_import_nothing_heavy(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, streamer.metrics.counters, streamer.dashboard;"
        "print([m for m in ('torch', 'cv2', 'zmq', 'rich', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
