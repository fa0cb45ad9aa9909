"""Which frames a streaming model sees: one for each tick, the nearest in time."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from streamer.types import Frame, Window
from streamer.windows.streaming_ticks import Ticks, interleaved

IMAGE = np.zeros((2, 2, 3), np.uint8)


def frame(time: float, index: int = 0, epoch: int = 0) -> Frame:
    return Frame("cam", index or hash(time), epoch, time, time, time, None, IMAGE)


def fed(ticks: Ticks, times: list[float], epoch: int = 0) -> list[Window]:
    """Every window that is ready after each frame."""
    found = []
    for time in times:
        ticks.add(frame(time, epoch=epoch))
        while (window := ticks.take()) is not None:
            found.append(window)
    return found


def newest(windows: list[Window]) -> list[float]:
    return [round(window.steps[-1].frame.time, 6) for window in windows]


def test_each_tick_takes_the_nearest_frame_and_the_first_frame_is_the_first_tick() -> None:
    ticks = Ticks("cam", 3, 0.2, 0.2, complete=False)
    windows = fed(ticks, [0.0, 0.09, 0.19, 0.3, 0.39, 0.5, 0.61])
    assert newest(windows) == [0.0, 0.19, 0.39, 0.61]
    assert [len(window.frames) for window in windows] == [1, 2, 3, 3]
    assert [window.steps[0].begins for window in windows] == [True, False, False, False]
    assert [window.missing for window in windows] == [0, 0, 0, 0]
    assert ticks.due == ticks.taken == 4


def test_a_tick_without_a_frame_repeats_the_newest_and_is_counted() -> None:
    ticks = Ticks("cam", 4, 0.2, 0.2, complete=True)
    windows = fed(ticks, [0.0, 0.2, 0.7, 0.8])
    assert newest(windows) == [0.0, 0.2, 0.2, 0.7, 0.8]
    assert [window.missing for window in windows] == [0, 0, 1, 1, 1]


def test_a_hole_longer_than_the_span_and_a_new_epoch_begin_anew() -> None:
    ticks = Ticks("cam", 3, 0.2, 0.2, complete=False)
    windows = fed(ticks, [0.0, 0.2, 0.4, 1.4, 1.6]) + fed(ticks, [1.7, 1.9], epoch=1)
    assert [window.steps[0].begins for window in windows] == [True, False, False, True, False, True, False]
    assert [len(window.frames) for window in windows] == [1, 2, 3, 1, 2, 1, 2]
    assert not ticks.add(frame(2.0, epoch=0))  # from before the break


def test_a_hop_of_a_part_of_the_interval_is_as_many_interleaved_streams() -> None:
    ticks = Ticks("cam", 3, 0.2, 0.1, complete=False)
    windows = fed(ticks, [round(n * 0.05, 2) for n in range(13)])
    assert newest(windows) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert [window.steps[0].stream for window in windows] == [0, 1, 0, 1, 0, 1, 0]
    assert [round(f.time, 2) for f in windows[5].frames] == [0.1, 0.3, 0.5]
    assert [window.steps[0].begins for window in windows] == [True, True] + [False] * 5


def test_a_late_model_gets_what_came_meanwhile_at_once_and_older_ticks_are_counted() -> None:
    ticks = Ticks("cam", 3, 0.2, 0.2, complete=False)
    for number in range(9):
        ticks.add(frame(number * 0.2))
    window = ticks.take()
    assert window is not None
    assert [round(step.frame.time, 1) for step in window.steps] == [1.2, 1.4, 1.6]
    assert window.steps[0].begins  # the first of its stream was left out: what comes now begins it
    assert ticks.skipped == {"busy": 6}
    assert ticks.due == 9 == ticks.taken + 6
    assert ticks.take() is None


def test_what_waited_when_the_video_broke_off_is_not_computed() -> None:
    ticks = Ticks("cam", 3, 0.2, 0.2, complete=False)
    ticks.add(frame(0.0))
    ticks.add(frame(0.1, epoch=1))
    window = ticks.take()
    assert window is not None
    assert window.epoch == 1
    assert ticks.skipped == {"interrupted": 1}


def test_complete_gives_one_tick_at_a_time_and_makes_the_reader_wait() -> None:
    ticks = Ticks("cam", 2, 0.2, 0.2, complete=True)
    done = threading.Event()

    def read() -> None:
        for number in range(30):
            ticks.add(frame(number * 0.2))
        ticks.close()
        done.set()

    ready = threading.Event()
    ticks.on_ready = ready.set
    reader = threading.Thread(target=read)
    reader.start()
    windows: list[Window] = []
    while not ticks.finished:
        assert ready.wait(60)
        ready.clear()
        assert ticks.due - len(windows) <= 3
        while (window := ticks.take()) is not None:
            windows.append(window)
    reader.join(60)
    assert done.is_set()
    assert newest(windows) == [round(number * 0.2, 6) for number in range(30)]
    assert all(len(window.steps) == 1 for window in windows)
    assert ticks.skipped == {}


def test_frames_that_are_not_newer_are_refused() -> None:
    ticks = Ticks("cam", 3, 0.2, 0.2, complete=False)
    assert ticks.add(frame(1.0))
    assert not ticks.add(frame(1.0))
    assert not ticks.add(frame(float("nan")))
    ticks.close()
    assert not ticks.add(frame(1.2))


@pytest.mark.parametrize("hop", [0.3, 0.15, 0.4, 0.19])
def test_a_hop_that_is_no_part_of_the_interval_is_refused(hop: float) -> None:
    with pytest.raises(ValueError, match="divided by 2, 3"):
        interleaved(0.2, hop)
    assert interleaved(0.2, 0.2 / 3) == 3
