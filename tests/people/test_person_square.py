"""The square around somebody: inside the picture, the same for a whole window, kept while it fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.people.detection import overlap
from streamer.people.person_square import LEAST_RIM, SquareChoice, holds, square_apart, square_around
from streamer.people.person_windows import PersonWindows
from streamer.recognition.checkpoints.processor import from_json
from streamer.recognition.preprocessing import Preprocessor
from streamer.types import Box, Frame, Square
from streamer.windows.sliding_windows import Windows

side = st.integers(8, 2000)
part = st.floats(-0.3, 1.2)
length = st.floats(0.0, 1.2)


@given(st.tuples(part, part, length, length), st.floats(1.0, 4.0), side, side)
def test_a_square_lies_in_the_picture(box: Box, margin: float, width: int, height: int) -> None:
    left, top, w, h = square_around(box, margin, width, height)
    assert 0 <= left <= left + w <= width
    assert 0 <= top <= top + h <= height
    assert w == h or min(w, h) == min(width, height) or max(w, h) in (width, height)
    assert w >= 1
    assert h >= 1


inside = st.tuples(st.floats(0, 0.8), st.floats(0, 0.8), st.floats(0.01, 0.2), st.floats(0.01, 0.2))


@given(inside, side, side)
def test_it_holds_what_it_is_around(box: Box, width: int, height: int) -> None:
    if max(box[2] * width, box[3] * height) * 1.3 <= min(width, height):
        assert holds(square_around(box, 1.3, width, height), box, width, height)


def test_it_has_the_margin_and_is_moved_inside() -> None:
    assert square_around((0.4, 0.4, 0.1, 0.2), 1.3, 1000, 1000) == (320, 370, 260, 260)
    assert square_around((0.0, 0.0, 0.1, 0.2), 1.3, 1000, 1000) == (0, 0, 260, 260)
    large = square_around((0.0, 0.1, 1.0, 0.5), 1.3, 1000, 400)
    assert large == (0, 0, 1000, 400), "cut where there is no more"


def test_it_stays_while_it_fits_and_changes_when_it_does_not() -> None:
    choice = SquareChoice(1.3, lasting=False)
    first = choice.choose([(0.4, 0.4, 0.1, 0.2)], 1000, 1000)
    assert choice.choose([(0.405, 0.4, 0.1, 0.2)], 1000, 1000) == first
    moved = choice.choose([(0.5, 0.4, 0.1, 0.2), (0.6, 0.4, 0.1, 0.2)], 1000, 1000)
    assert moved != first
    assert choice.choose([(0.6, 0.4, 0.1, 0.2)], 1000, 1000) == moved
    small = choice.choose([(0.6, 0.4, 0.02, 0.1)], 1000, 1000)
    assert small[2] < moved[2]


def test_one_that_lasts_has_room_for_going_on() -> None:
    choice = SquareChoice(1.3, lasting=True)
    seen = [(0.1 + 0.02 * step, 0.4, 0.05, 0.2) for step in range(40)]
    squares = [choice.choose(seen[max(0, n - 7) : n + 1], 1000, 1000) for n in range(7, 40)]
    assert len(set(squares)) <= 5, "a walker does not need another for each window"
    assert all(holds(square, seen[n], 1000, 1000) for n, square in zip(range(7, 40), squares, strict=True))


def shown(square: Square, others: list[Box], width: int, height: int) -> float:
    """Pixels of others in a square, over all moments."""
    left, top, w, h = square
    return sum(overlap((left / width, top / height, w / width, h / height), one) for one in others) * (
        width * height
    )


@given(inside, st.lists(st.tuples(part, part, length, length), max_size=12), st.floats(1.0, 2.0), side, side)
def test_one_apart_lies_in_the_picture_and_shows_no_more_of_others(
    box: Box, others: list[Box], margin: float, width: int, height: int
) -> None:
    middle = square_around(box, margin, width, height)
    apart = square_apart(box, others, margin, width, height)
    left, top, w, h = apart
    assert (w, h) == middle[2:]
    assert 0 <= left <= left + w <= width
    assert 0 <= top <= top + h <= height
    assert shown(apart, others, width, height) <= shown(middle, others, width, height) + 1e-3 * w * h
    if max(box[2] * width, box[3] * height) * margin <= min(width, height):
        assert holds(apart, box, width, height)


def test_one_apart_leaves_out_who_stands_beside_as_far_as_it_can() -> None:
    box, right = (0.4, 0.4, 0.05, 0.2), (0.5, 0.4, 0.05, 0.2)
    square = square_apart(box, [right], 1.3, 1000, 1000)
    assert square_around(box, 1.3, 1000, 1000) == (295, 370, 260, 260)
    assert shown(square, [right], 1000, 1000) == 0
    assert holds(square, box, 1000, 1000, LEAST_RIM)
    assert square_apart(box, [(0.9, 0.1, 0.05, 0.2)], 1.3, 1000, 1000) == (295, 370, 260, 260), "no reason"
    around = [right, (0.3, 0.4, 0.05, 0.2)]
    assert square_apart(box, around, 1.3, 1000, 1000)[:2] != (295, 370)
    assert holds(square_apart(box, around, 1.3, 1000, 1000), box, 1000, 1000, LEAST_RIM)


@pytest.mark.parametrize("lasting", [False, True])
def test_it_gives_way_to_who_comes_in_and_then_stays(lasting: bool) -> None:
    box, choice, squares = (0.4, 0.4, 0.05, 0.2), SquareChoice(1.3, lasting), []
    comes = [(max(0.52, 0.8 - 0.02 * step), 0.4, 0.05, 0.2) for step in range(30)]
    for step in range(7, 30):
        squares.append(choice.choose([box] * 8, 1000, 1000, comes[step - 7 : step + 1]))
    assert len(set(squares[-8:])) == 1, "nothing changes, so nothing is cut anew"
    if lasting:
        assert choice.changes == 1, "what is remembered is not given up for others"
        assert squares[-1] == SquareChoice(1.3, lasting).choose([box] * 8, 1000, 1000)
    else:
        assert 1 < choice.changes <= 8
        assert shown(squares[-1], [comes[-1]], 1000, 1000) == 0


PROCESSOR: dict[str, Any] = {
    "image_processor_type": "VideoMAEImageProcessor",
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "resample": 2,
    "size": {"shortest_edge": 64},
    "crop_size": {"height": 64, "width": 64},
    "image_mean": [0.45, 0.45, 0.45],
    "image_std": [0.225, 0.225, 0.225],
}


@pytest.mark.parametrize("box", [(0.3, 0.3, 0.05, 0.15), (0.0, 0.5, 0.2, 0.5), (0.2, 0.1, 0.5, 0.9)])
def test_a_persons_window_is_what_transformers_makes_of_the_same_squares(box: Box, tmp_path: Path) -> None:
    from transformers import VideoMAEImageProcessor

    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR), "utf-8")
    theirs = VideoMAEImageProcessor.from_pretrained(tmp_path)
    ours = Preprocessor(from_json(PROCESSOR, (64, 64), "preprocessor_config.json"))
    rng = np.random.default_rng(3)
    windows = PersonWindows(Windows("cam", 4, 0.2, 0.2, complete=False), ours.reduce, 1.3, 1)
    pictures = []
    for number in range(4):
        picture = rng.integers(0, 256, (240, 320, 3), np.uint8)
        picture.setflags(write=False)
        pictures.append(picture)
        moved = (box[0] + 0.01 * number, *box[1:])
        time = number * 0.2
        windows.see(Frame("cam", number, 0, time, time, time, None, picture), moved)
    window = windows.take()
    assert window is not None
    (square,) = {frame.part for frame in window.frames}
    assert square is not None, "one square for all frames"
    left, top, width, height = square
    crops = [picture[top : top + height, left : left + width, ::-1] for picture in pictures]
    expected = theirs([list(crops)], return_tensors="np")["pixel_values"][0]  # (T, C, H, W)
    grey = (expected * 0.225 + 0.45) * 255
    actual = np.stack([frame.image for frame in window.frames]).transpose(0, 3, 1, 2)
    assert np.abs(grey - actual).max() <= 1.0 + 1e-3
