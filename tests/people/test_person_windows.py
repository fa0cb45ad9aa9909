"""Windows of one person: the same square for all frames, and what a streaming model sees of a new one."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from streamer.people.person_windows import PersonWindows
from streamer.people.shared_windows import SharedWindows
from streamer.types import Box, Frame, Track, Window
from streamer.windows.sliding_windows import Windows
from streamer.windows.streaming_ticks import Ticks

T, INTERVAL = 4, 0.2


def frame(number: int) -> Frame:
    image = np.full((100, 100, 3), number % 256, np.uint8)
    image.setflags(write=False)
    time = number * INTERVAL
    return Frame("cam", number, 0, time, time, 1.7e9 + time, time, image)


def shown(windows: PersonWindows, boxes: list[Box]) -> list[Window]:
    """All windows while somebody is at these places."""
    found = []
    for number, box in enumerate(boxes):
        windows.see(frame(number), box)
        while (window := windows.take()) is not None:
            found.append(window)
    return found


def of_windows() -> PersonWindows:
    source = Windows("cam", T, INTERVAL, INTERVAL, complete=False)
    return PersonWindows(source, lambda image: image.copy(), 1.3, 7)


def of_stream() -> PersonWindows:
    source = Ticks("cam", T, INTERVAL, INTERVAL, complete=False)
    return PersonWindows(source, lambda image: image.copy(), 1.3, 7, streaming=True)


def test_one_square_for_all_frames_and_the_box_of_the_newest() -> None:
    boxes = [(0.1 + 0.03 * n, 0.3, 0.1, 0.3) for n in range(10)]
    windows = shown(of_windows(), boxes)
    assert len(windows) == 10 - (T - 1)
    for window in windows:
        parts = {one.part for one in window.frames}
        assert len(parts) == 1
        assert window.track == Track(7, boxes[window.frames[-1].index])
        assert window.follows
        (part,) = parts
        assert part is not None
        left, top, width, height = part
        for one in window.frames:
            x, y, w, h = boxes[one.index]
            assert left <= x * 100 + 1
            assert (x + w) * 100 <= left + width + 1
            assert top <= y * 100 + 1
            assert (y + h) * 100 <= top + height + 1


def test_a_square_is_moved_to_where_no_other_is() -> None:
    windows, found = of_windows(), []
    for number in range(8):
        windows.see(frame(number), (0.45, 0.3, 0.1, 0.4), [(0.6, 0.3, 0.1, 0.4)] if number < 4 else [])
        if (window := windows.take()) is not None:
            found.append(window)
    part = found[0].frames[0].part
    assert part is not None
    assert part[0] + part[2] <= 60 < 50 + part[2] / 2, "in the middle it would show them"
    assert {one.part for window in found for one in window.frames} == {part}, "it stays when they have left"


def test_who_stands_still_keeps_the_square_and_frames_are_prepared_once() -> None:
    cut = []
    source = Windows("cam", T, INTERVAL, INTERVAL, complete=False)
    windows = PersonWindows(source, lambda image: cut.append(1) or image.copy(), 1.3, 7)
    shown(windows, [(0.4, 0.3, 0.1, 0.3 + 0.001 * (n % 3)) for n in range(20)])
    assert windows.squares == 1
    assert len(cut) == 20


def test_a_streaming_model_begins_once_while_they_stay() -> None:
    windows = shown(of_stream(), [(0.4 + 0.002 * (n % 5), 0.3, 0.1, 0.3) for n in range(20)])
    steps = [step for window in windows for step in window.steps]
    assert [step.begins for step in steps] == [True] + [False] * 19
    assert [step.frame.index for step in steps] == list(range(20))


def test_a_new_square_begins_anew_with_what_is_known_of_it() -> None:
    boxes = [(0.1, 0.3, 0.1, 0.3)] * 8 + [(0.8, 0.3, 0.1, 0.3)] * 4
    windows = shown(of_stream(), boxes)
    moved = windows[8]
    assert [step.frame.index for step in moved.steps] == [5, 6, 7, 8], "the last T frames, cut anew"
    assert [step.begins for step in moved.steps] == [True, False, False, False]
    assert len({step.frame.part for step in moved.steps}) == 1
    assert moved.steps[-1].frame.part != windows[7].steps[-1].frame.part
    assert len(windows[10].steps) == 1


def test_people_join_and_leave_at_once_and_nobody_is_lost() -> None:
    shared = SharedWindows(Windows("cam", T, INTERVAL, INTERVAL, complete=False))
    first, second = [of_windows() for _ in range(300)], [of_windows() for _ in range(300)]
    for one in first:
        shared.join(one)
    leaving = threading.Thread(target=lambda: [shared.leave(one) for one in first])
    leaving.start()
    for one in second:
        shared.join(one)
    leaving.join()
    assert {id(one) for one in shared.parts[1:]} == {id(one) for one in second}


@pytest.mark.parametrize("take", [True, False])
def test_what_is_remembered_of_somebody_is_bounded(take: bool) -> None:
    windows = of_windows()
    for number in range(6000):
        windows.see(frame(number), (0.4, 0.3, 0.1, 0.3))
        if take:
            windows.take()
    assert len(windows._boxes) <= 4096
    assert len(windows._cut) <= 2 * T
