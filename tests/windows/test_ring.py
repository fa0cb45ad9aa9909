"""The ring: bounded in seconds and in number, one epoch, safe between threads."""

from __future__ import annotations

import math
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.types import Frame
from streamer.windows.ring import OLDER, Ring

IMAGE = np.zeros((2, 2, 3), np.uint8)


def frame(index: int, time: float, epoch: int = 0) -> Frame:
    return Frame("cam", index, epoch, time, time, 1.7e9 + time, None, IMAGE)


def test_it_keeps_the_seconds_asked_for_and_lets_older_ones_go() -> None:
    ring = Ring(2.0)
    for i in range(300):
        assert ring.append(frame(i, i / 30))
    times = [f.time for f in ring.frames()]
    assert times[-1] == 299 / 30
    assert times[OLDER] >= times[-1] - 2.0 > times[OLDER - 1]


def test_a_slow_camera_keeps_enough_frames_to_know_its_period() -> None:
    ring = Ring(0.5)
    for i in range(10):
        ring.append(frame(i, i * 1.0))
    assert [f.time for f in ring.frames()] == [6.0, 7.0, 8.0, 9.0]


def test_a_camera_faster_than_the_rate_is_thinned_and_still_covers_the_seconds() -> None:
    ring = Ring(4.0, rate=10.0)
    stored = sum(ring.append(frame(i, i / 120)) for i in range(120 * 20))
    frames = ring.frames()
    assert 190 <= stored <= 220
    assert frames[-1].time - frames[0].time >= 3.9
    steps = [b.time - a.time for a, b in pairwise(frames)]
    assert max(steps) < 0.13


def test_a_camera_at_the_rate_with_jitter_loses_nothing() -> None:
    random = np.random.default_rng(1)
    ring = Ring(4.0, rate=30.0)
    times = np.sort(np.arange(900) / 30 + random.uniform(-0.012, 0.012, 900))
    assert sum(ring.append(frame(i, float(t))) for i, t in enumerate(times)) == 900


def test_a_burst_does_not_push_out_the_past() -> None:
    ring = Ring(2.0, rate=30.0)
    for i in range(60):
        ring.append(frame(i, i / 30))
    for i in range(1000):
        ring.append(frame(60 + i, 2.0 + i * 1e-5))
    assert ring.frames()[0].time < 0.2
    assert len(ring) <= ring.capacity


@pytest.mark.parametrize("time", [1.0, 0.5, math.nan, math.inf, -math.inf])
def test_a_frame_that_is_not_newer_is_refused(time: float) -> None:
    ring = Ring(2.0)
    assert ring.append(frame(0, 1.0))
    assert not ring.append(frame(1, time))
    assert ring.newest is not None
    assert ring.newest.index == 0
    assert ring.append(frame(2, 1.1))


def test_another_epoch_empties_it() -> None:
    ring = Ring(10.0)
    for i in range(5):
        ring.append(frame(i, float(i)))
    assert ring.append(frame(5, 0.5, epoch=1))
    assert [f.index for f in ring.frames()] == [5]
    ring.clear()
    assert ring.frames() == ()
    assert ring.newest is None


@pytest.mark.parametrize(("seconds", "rate"), [(-1.0, None), (math.nan, None), (1.0, 0.0)])
def test_impossible_sizes_are_refused(seconds: float, rate: float | None) -> None:
    with pytest.raises(ValueError, match="a ring needs"):
        Ring(seconds, rate)


@given(
    st.lists(st.floats(0.0, 0.5), min_size=1, max_size=300),
    st.floats(0.0, 5.0),
    st.floats(1.0, 60.0),
)
def test_it_never_holds_more_than_its_capacity_and_stays_in_order(
    steps: list[float], seconds: float, rate: float
) -> None:
    ring = Ring(seconds, rate)
    now = 0.0
    for i, step in enumerate(steps):
        now += step
        ring.append(frame(i, now))
        times = [f.time for f in ring.frames()]
        assert len(times) <= math.ceil(seconds * rate * 1.05) + OLDER + 3 == ring.capacity
        assert all(a < b for a, b in pairwise(times))
        assert times[-1] >= now - 1.0 / rate  # thinning never leaves it stale


def test_a_reader_on_another_thread_always_sees_order() -> None:
    ring = Ring(1.0)
    done = threading.Event()
    wrong: list[tuple[float, ...]] = []

    def read() -> None:
        while not done.is_set():
            times = tuple(f.time for f in ring.frames())
            if list(times) != sorted(set(times)):
                wrong.append(times)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(5000):
        ring.append(frame(i, i / 50, epoch=i // 2000))
    done.set()
    reader.join(10.0)
    assert not reader.is_alive()
    assert not wrong
