"""Windows: chosen by time, at any camera rate; fresh for live sources, complete for files."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.types import Frame, Window
from streamer.windows.sampling import Hole, choose
from streamer.windows.sliding_windows import AHEAD, Windows

IMAGE = np.zeros((2, 2, 3), np.uint8)
SLACK = 1e-5
CHECKPOINTS = [(8, 32 / 30), (16, 4 / 30), (16, 16 / 30), (8, 0.1)]  # T, interval


def frame(index: int, time: float, epoch: int = 0) -> Frame:
    return Frame("cam", index, epoch, time, 5000.0 + time, 1.7e9 + time, None, IMAGE)


def steady(fps: float, seconds: float, start: float = 100.0, first: int = 0, epoch: int = 0) -> list[Frame]:
    return [frame(first + i, start + i / fps, epoch) for i in range(int(seconds * fps) + 1)]


def watch(windows: Windows, frames: Iterable[Frame]) -> list[Window]:
    """A model that takes no time: each window is taken when it becomes ready."""
    taken: list[Window] = []

    def take() -> None:
        windows.on_ready = None
        while (window := windows.take()) is not None:
            taken.append(window)
        windows.on_ready = take

    windows.on_ready = take
    for one in frames:
        windows.add(one)
    return taken


def play(windows: Windows, frames: Iterable[Frame]) -> list[Window]:
    """A whole file."""
    taken = watch(windows, frames)
    windows.close()
    assert windows.finished
    return taken


def is_nearest(window: Window, end: float, times: np.ndarray) -> bool:
    """By brute force: none of `times` is nearer to a position of the window than the chosen frame."""
    for k, chosen in enumerate(reversed(window.frames)):
        wanted = end - k * window.interval
        if abs(chosen.time - wanted) > np.abs(times - wanted).min() + SLACK:
            return False
    return True


def assert_accounts(windows: Windows) -> None:
    waiting = windows.ready_since() is not None
    assert windows.due == windows.taken + sum(windows.skipped.values()) + waiting


# ---- any checkpoint at any camera rate


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("fps", [1, 2, 5, 7.5, 10, 15, 24, 25, 29.97, 30, 50, 59.94, 60])
@pytest.mark.parametrize(("count", "interval"), CHECKPOINTS)
def test_every_checkpoint_gets_windows_at_every_rate(
    count: int, interval: float, fps: float, complete: bool
) -> None:
    span, hop = (count - 1) * interval, 0.5
    frames = steady(fps, span + 6.0)
    windows = Windows("cam", count, interval, hop, complete)
    taken = (play if complete else watch)(windows, frames)

    assert len(taken) >= 3
    expected = 5.0 / max(
        hop, 1 / fps
    )  # from the first full span on, less what a slow camera needs to be known
    assert len(taken) >= expected - 2
    assert set(windows.skipped) <= {"no_frame"} | ({"gap"} if fps < 3 else set())
    assert_accounts(windows)
    for window in taken:
        assert len(window.frames) == count
        assert window.missing == count - len({f.index for f in window.frames})
        if 1 / fps <= interval:
            assert window.missing == 0
        elif 1 / fps >= 2 * interval:
            assert window.missing > 0


def test_the_published_spacing_of_timesformer_is_every_32nd_frame_of_a_30_fps_file() -> None:
    frames = steady(30, 20.0, start=0.0)
    first, second, *_ = play(Windows("cam", 8, 32 / 30, 1.0, True), frames)
    assert [f.index for f in first.frames] == [0, 32, 64, 96, 128, 160, 192, 224]
    assert [f.index for f in second.frames] == [30, 62, 94, 126, 158, 190, 222, 254]


def test_a_clip_that_is_exactly_one_span_long_gives_one_window_even_with_rounded_times() -> None:
    for rounded in (lambda t: t, lambda t: math.floor(t * 1000) / 1000):
        frames = [frame(i, rounded(i * 32 / 30)) for i in range(8)]
        (window,) = play(Windows("cam", 8, 32 / 30, 0.5, True), frames)
        assert [f.index for f in window.frames] == list(range(8))


def test_a_single_frame_model_works() -> None:
    taken = watch(Windows("cam", 1, 1.0, 0.5, False), steady(10, 2.0, start=0.0))
    assert [w.end for w in taken] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])


@pytest.mark.parametrize(
    ("count", "interval", "hop"),
    [(0, 1.0, 1.0), (8, 0.0, 1.0), (8, 1.0, 0.0), (8, math.nan, 1.0), (8, 1.0, -1)],
)
def test_numbers_that_make_no_window_are_refused(count: int, interval: float, hop: float) -> None:
    with pytest.raises(ValueError, match="a window needs"):
        Windows("cam", count, interval, hop, False)


# ---- gaps


@pytest.mark.parametrize("complete", [False, True])
def test_a_gap_makes_windows_incomplete_until_it_has_passed(complete: bool) -> None:
    frames = [f for f in steady(30, 30.0, start=0.0) if not 12.0 < f.time < 14.0]
    windows = Windows("cam", 8, 1.0, 0.5, complete)
    taken = (play if complete else watch)(windows, frames)
    ends = [w.end for w in taken]
    # a position may be half an interval from its frame; the hole reaches from 12 to 14
    assert not [end for end in ends if 12.6 < end < 13.4]
    if complete:  # the ends 13, 14, ... 20 have a position at 13; the end 12.5 has the frame of 12 again
        assert windows.skipped == {"gap": 8, "no_frame": 1}
    for window in [] if complete else taken:
        assert not any(12.5 < window.end - k < 13.5 for k in range(8))
    assert windows.skipped["gap"] >= 8
    assert any(end > 21.0 for end in ends)
    assert_accounts(windows)


@pytest.mark.parametrize("complete", [False, True])
def test_a_gap_shorter_than_half_an_interval_on_each_side_costs_nothing(complete: bool) -> None:
    frames = [f for f in steady(30, 20.0, start=0.0) if not 12.0 < f.time < 12.9]
    windows = Windows("cam", 8, 1.0, 0.5, complete)
    (play if complete else watch)(windows, frames)
    assert "gap" not in windows.skipped


def test_one_long_gap_is_never_taken_for_a_slow_camera() -> None:
    frames = [f for f in steady(30, 20.0, start=0.0) if not 8.0 < f.time < 9.5]
    windows = Windows("cam", 16, 4 / 30, 0.1, False)
    for window in watch(windows, frames):
        steps = [b.time - a.time for a, b in pairwise(window.frames)]
        assert max(steps) < 0.3
    assert windows.skipped["gap"] >= 20  # (1.5 s + the span of 2 s) / 0.1 s, less what ends within reach


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize(("before", "after"), [(30, 5), (5, 30), (30, 1), (1, 30), (60, 2)])
def test_a_camera_that_changes_its_rate_recovers(before: float, after: float, complete: bool) -> None:
    early = steady(before, 20.0, start=0.0)
    late = steady(after, 20.0, start=early[-1].time + 1 / after, first=len(early))
    windows = Windows("cam", 16, 4 / 30, 0.1, complete)
    ends = [w.end for w in (play if complete else watch)(windows, early + late)]
    again = min(end for end in ends if end > late[0].time)
    span = 2.0
    assert again <= late[0].time + max(span, 2 / after) + 0.2
    assert_accounts(windows)


def test_a_file_of_varying_rate_gives_windows() -> None:
    random = np.random.default_rng(3)
    times = np.cumsum(random.choice([1 / 60, 1 / 30, 1 / 15, 1 / 10], 900))
    windows = Windows("cam", 16, 4 / 30, 0.25, True)
    taken = play(windows, [frame(i, float(t)) for i, t in enumerate(times)])
    assert len(taken) > 0.95 * windows.due


@pytest.mark.parametrize("complete", [False, True])
def test_a_time_line_that_jumps_by_years_costs_nothing(complete: bool) -> None:
    frames = steady(30, 3.0, start=0.0) + steady(30, 3.0, start=1e9, first=100)
    windows = Windows("cam", 8, 0.1, 0.1, complete)
    taken = (play if complete else watch)(windows, frames)
    assert {w.start > 1e8 for w in taken} == {True, False}
    assert all(w.end - w.start < 0.8 for w in taken)
    assert_accounts(windows)


# ---- breaks of the time line


@pytest.mark.parametrize("complete", [False, True])
def test_no_window_mixes_epochs(complete: bool) -> None:
    frames = steady(30, 5.0, 0.0) + steady(30, 5.0, 5.1, first=200, epoch=1) + steady(30, 0.4, 11, 500, 2)
    windows = Windows("cam", 8, 0.2, 0.1, complete)
    taken = (play if complete else watch)(windows, frames)
    assert {w.epoch for w in taken} == {0, 1}
    assert all(len({f.epoch for f in w.frames}) == 1 for w in taken)
    assert min(w.end for w in taken if w.epoch == 1) >= 5.1 + 1.4 - SLACK


def test_a_window_that_waits_when_the_video_breaks_off_is_not_given() -> None:
    windows = Windows("cam", 8, 0.1, 0.1, False)
    for one in steady(30, 1.0):
        windows.add(one)
    assert windows.ready_since() is not None
    windows.add(frame(100, 200.0, epoch=1))
    assert windows.ready_since() is None
    assert windows.take() is None
    assert windows.skipped["interrupted"] == 1
    assert_accounts(windows)


def test_late_frames_of_an_old_epoch_and_times_without_sense_are_refused() -> None:
    windows = Windows("cam", 8, 0.1, 0.1, False)
    assert windows.add(frame(0, 1.0, epoch=1))
    assert not windows.add(frame(1, 2.0, epoch=0))
    assert not windows.add(frame(2, math.nan, epoch=1))
    assert not windows.add(frame(3, 1.0, epoch=1))
    assert not windows.add(frame(4, 0.9, epoch=1))
    assert windows.add(frame(5, 1.1, epoch=1))


@pytest.mark.parametrize("complete", [False, True])
def test_one_absurd_time_does_not_silence_a_camera_for_ever(complete: bool) -> None:
    frames = [*steady(30, 2.0, 0.0), frame(99, 1e7), *steady(30, 2.0, 2.1, first=100)]
    taken = (play if complete else watch)(Windows("cam", 8, 0.1, 0.1, complete), frames)
    assert max(w.end for w in taken) > 4.0


def test_waiting_says_how_much_video_is_still_needed() -> None:
    windows = Windows("cam", 8, 1.0, 0.5, False)
    assert windows.waiting == 7.0
    watch(windows, steady(10, 3.0, 0.0))
    assert windows.waiting == pytest.approx(4.0)
    watch(windows, steady(10, 5.0, 3.1, first=50))
    assert windows.waiting is None
    windows.add(frame(500, 50.0, epoch=1))
    assert windows.waiting == 7.0


# ---- live: fresh beats complete


def test_a_free_model_gets_a_window_each_hop_and_the_grid_does_not_drift() -> None:
    windows = Windows("cam", 8, 0.1, 0.25, False)
    taken = watch(windows, steady(29.97, 60.0, start=0.0))
    for n, window in enumerate(taken):
        due = 0.7 + n * 0.25
        assert due - SLACK <= window.end < due + 1 / 29.97 + SLACK
    assert windows.skipped == {}


def test_a_busy_model_gets_the_newest_window_and_hops_are_counted() -> None:
    windows = Windows("cam", 8, 0.1, 0.1, False)
    frames = steady(30, 10.0, start=0.0)
    ends = []
    for i, one in enumerate(frames):
        windows.add(one)
        if i % 30 == 29 and (window := windows.take()) is not None:  # a window takes a second
            assert window.frames[-1] is one
            ends.append(window.end)
    assert len(ends) == 10
    assert windows.skipped["busy"] == pytest.approx(10.0 / 0.1 - 7 - 10, abs=3)
    assert_accounts(windows)


def test_ready_since_is_the_arrival_of_the_first_hop_that_waits() -> None:
    windows = Windows("cam", 8, 0.1, 0.1, False)
    for one in steady(10, 2.0, start=0.0):
        windows.add(one)
    assert windows.ready_since() == pytest.approx(5000.7)
    windows.take()
    assert windows.ready_since() is None


def test_a_hole_that_opens_while_the_model_is_busy_gives_the_newest_whole_window() -> None:
    windows = Windows("cam", 8, 0.1, 0.1, False)
    for one in [*steady(30, 2.0, start=0.0), frame(61, 2.3), frame(62, 2.34)]:
        windows.add(one)
    window = windows.take()
    assert window is not None
    assert window.end <= 2.0 + SLACK


def test_on_ready_is_called_once_for_a_window_that_waits_and_without_the_lock() -> None:
    calls = []
    windows = Windows("cam", 8, 0.1, 0.1, False)

    def ready() -> None:
        other = threading.Thread(target=lambda: calls.append(windows.ready_since()))
        other.start()
        other.join(5.0)
        assert not other.is_alive()

    windows.on_ready = ready
    for one in steady(30, 3.0, start=0.0):
        windows.add(one)
    assert calls == [pytest.approx(5000.7)]
    windows.take()
    windows.close()
    assert calls[1:] == [None]
    assert windows.finished
    assert not windows.add(frame(999, 99.0))


def test_memory_is_bounded() -> None:
    windows = Windows("cam", 8, 32 / 30, 0.5, False, rate=30.0)
    for one in steady(240, 30.0):
        windows.add(one)
    assert len(windows._ring) <= math.ceil((7 * 32 / 30 + 0.5) * 30 * 1.05) + 6


@st.composite
def cameras(draw: st.DrawFn) -> list[Frame]:
    """A camera with a rate, jitter, lost frames and reconnects."""
    fps = draw(st.floats(1.0, 60.0))
    jitter = draw(st.floats(0.0, 0.45))
    loss = draw(st.sampled_from([0.0, 0.02, 0.2]))
    breaks = draw(st.floats(0.0, 0.01))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    frames, time, epoch = [], 100.0, 0
    for i in range(min(400, int(12 * fps) + 4)):
        time += 1 / fps
        if random.random() < breaks:
            time, epoch = time + random.uniform(0.0, 3.0), epoch + 1
        if random.random() >= loss:
            frames.append(frame(i, time + float(random.uniform(-jitter, jitter)) / fps, epoch))
    return frames


@settings(max_examples=80, deadline=None)
@given(
    cameras(),
    st.sampled_from([8, 16]),
    st.floats(0.05, 0.6),
    st.floats(0.05, 2.0),
    st.floats(0.0, 1.5),
    st.booleans(),
)
def test_any_camera_gives_the_nearest_frames_of_one_epoch_and_every_hop_is_accounted_for(
    frames: list[Frame], count: int, interval: float, hop: float, work: float, complete: bool
) -> None:
    windows = Windows("cam", count, interval, hop, complete, rate=400.0)
    free, taken = 0.0, []
    times = {e: np.array([f.time for f in frames if f.epoch == e]) for e in {f.epoch for f in frames}}
    if complete:
        taken = play(windows, frames)
    else:
        for number, one in enumerate(frames, 1):
            assert windows.add(one)
            if one.time >= free and (window := windows.take()) is not None:
                of_epoch = times[window.epoch]
                # older than the newest frame only where that one stands behind a hole
                seen = tuple(f for f in frames[:number] if f.epoch == one.epoch)
                behind = isinstance(choose(seen, len(seen) - 1, one.time, count, interval), Hole)
                assert window.end == one.time or behind
                assert is_nearest(window, window.end, of_epoch[of_epoch <= window.end])
                free = one.time + work
                taken.append(window)
            assert_accounts(windows)
    assert_accounts(windows)

    ends: list[tuple[int, float]] = []
    for number, window in enumerate(taken, 1):
        assert window.id == number
        assert len(window.frames) == count
        assert len({f.epoch for f in window.frames}) == 1
        assert all(a.time <= b.time for a, b in pairwise(window.frames))
        ends.append((window.epoch, window.end))
        if complete:
            first = times[window.epoch][0]
            near = round((window.end - first - window.span) / hop)
            dues = [first + window.span + n * hop for n in range(max(0, near - 40), near + 41)]
            assert any(is_nearest(window, due, times[window.epoch]) for due in dues)
    assert all(a < b for a, b in pairwise(ends))


@settings(max_examples=60, deadline=None)
@given(cameras(), st.sampled_from([8, 16]), st.floats(0.05, 0.6))
def test_no_frame_stands_further_away_than_it_may(frames: list[Frame], count: int, interval: float) -> None:
    windows = Windows("cam", count, interval, 0.3, False, rate=400.0)
    longest = {
        epoch: sorted(np.diff([f.time for f in frames if f.epoch == epoch]), reverse=True)
        for epoch in {f.epoch for f in frames}
    }
    for window in watch(windows, frames):
        second = longest[window.epoch][1] if len(longest[window.epoch]) > 1 else 0.0
        for k, chosen in enumerate(reversed(window.frames)):
            # three neighbouring gaps: their median is never more than the second longest of all
            assert abs(window.end - k * interval - chosen.time) <= max(interval / 2, 0.75 * second) + SLACK


# ---- complete: nothing is skipped, whatever the threads do


def run_on_two_threads(frames: Sequence[Frame], count: int, interval: float, hop: float, seed: int) -> list:
    """Frames from one thread, windows on another, each pausing at random."""
    random = np.random.default_rng(seed)
    pauses = [iter(random.random(100_000).tolist()) for _ in range(2)]
    windows = Windows("cam", count, interval, hop, True)
    ready, nothing = threading.Event(), threading.Event()
    windows.on_ready = ready.set

    def capture() -> None:
        for one in frames:
            if next(pauses[0]) < 0.02:
                nothing.wait(0.001)
            windows.add(one)
        windows.close()

    thread = threading.Thread(target=capture)
    thread.start()
    taken = []
    while not windows.finished:
        if (window := windows.take()) is None:
            assert ready.wait(20.0)
            ready.clear()
            continue
        taken.append((window.id, tuple((f.epoch, f.index) for f in window.frames), window.missing))
        if next(pauses[1]) < 0.1:
            nothing.wait(0.002)
    thread.join(20.0)
    assert not thread.is_alive()
    return [*taken, dict(windows.skipped), windows.due]


@settings(max_examples=15, deadline=None)
@given(cameras(), st.sampled_from([8, 16]), st.floats(0.05, 0.4), st.floats(0.05, 1.0), st.integers(0, 99))
def test_the_same_file_gives_the_same_windows_whatever_the_threads_do(
    frames: list[Frame], count: int, interval: float, hop: float, seed: int
) -> None:
    quick = Windows("cam", count, interval, hop, True)
    expected = [(w.id, tuple((f.epoch, f.index) for f in w.frames), w.missing) for w in play(quick, frames)]
    assert run_on_two_threads(frames, count, interval, hop, seed) == [
        *expected,
        dict(quick.skipped),
        quick.due,
    ]


def test_reading_waits_for_the_model_and_goes_on_when_a_window_is_taken() -> None:
    windows = Windows("cam", 8, 0.1, 0.5, True)
    frames = steady(30, 10.0, start=0.0)
    stored: list[Frame] = []
    done = threading.Event()

    def capture() -> None:
        for one in frames:
            if windows.add(one):
                stored.append(one)
        done.set()

    blocked = threading.Event()
    windows.on_ready = blocked.set
    thread = threading.Thread(target=capture, daemon=True)
    thread.start()
    assert blocked.wait(10.0)
    assert not done.wait(0.3)
    assert stored[-1].time <= 0.7 + 0.5 + AHEAD + SLACK
    assert len(windows._ring) <= windows._ring.capacity
    taken = 0
    while not done.is_set():
        taken += windows.take() is not None
    thread.join(10.0)
    windows.close()
    while windows.take() is not None:
        taken += 1
    assert len(stored) == len(frames)
    assert taken == 1 + int((10.0 - 0.7) / 0.5)


def test_close_frees_a_thread_that_waits_for_room() -> None:
    windows = Windows("cam", 8, 0.1, 0.5, True)
    results: list[bool] = []
    ready = threading.Event()
    windows.on_ready = ready.set
    thread = threading.Thread(
        target=lambda: results.extend(windows.add(f) for f in steady(30, 10.0)), daemon=True
    )
    thread.start()
    assert ready.wait(10.0)
    windows.close()
    thread.join(10.0)
    assert not thread.is_alive()
    assert results[0]
    assert not results[-1]


def test_every_pass_of_a_looped_file_is_complete() -> None:
    once = play(Windows("cam", 8, 0.1, 0.25, True), steady(30, 5.0))
    twice = play(
        Windows("cam", 8, 0.1, 0.25, True), steady(30, 5.0) + steady(30, 5.0, 105.1, first=151, epoch=1)
    )
    assert [w.epoch for w in twice] == [0] * len(once) + [1] * len(once)


def test_a_file_without_frames_or_shorter_than_a_span_is_finished_without_a_window() -> None:
    for frames in ([], steady(30, 0.5)):
        windows = Windows("cam", 8, 0.1, 0.25, True)
        assert play(windows, frames) == []
        assert windows.due == 0
