"""Which pixels that are not as usual are one person, and which show where somebody was."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.people.blobs import Blob, blobs, detections
from streamer.people.detection import SURE
from streamer.types import Track

SHAPE = 240, 320


def blob(left: int, top: int, width: int, height: int) -> Blob:
    return Blob(left, top, left + width, top + height, width * height, width * height)


def boxes(found: list[Blob], followed: list[Track]) -> list[tuple[int, ...]]:
    """Left, top, width and height in pixels, from left to right."""
    scale = np.array([SHAPE[1], SHAPE[0]] * 2)
    told = [np.array(one.box) * scale for one in detections(found, followed, SHAPE)]
    return sorted(tuple(round(float(value)) for value in box) for box in told)


def test_a_head_and_a_foot_belong_to_the_body_between_them() -> None:
    body, head, foot = blob(100, 100, 30, 70), blob(108, 80, 12, 14), blob(110, 175, 16, 8)
    assert boxes([head, body, foot], []) == [(100, 80, 30, 103)]


@pytest.mark.parametrize("gap", [1, 8, 40])
def test_two_who_walk_side_by_side_are_two(gap: int) -> None:
    one, other = blob(100, 100, 24, 60), blob(124 + gap, 96, 26, 66)
    assert len(boxes([one, other], [])) == 2


def test_what_is_small_and_far_from_somebody_is_something_else() -> None:
    assert len(boxes([blob(100, 100, 24, 60), blob(150, 150, 12, 14)], [])) == 2


def test_parts_in_the_box_of_one_who_is_followed_are_that_person() -> None:
    above, below = blob(104, 84, 20, 40), blob(104, 144, 20, 34)
    track = Track(1, (100 / 320, 80 / 240, 30 / 320, 100 / 240))
    assert len(boxes([above, below], [])) == 2
    assert boxes([above, below], [track]) == [(104, 84, 20, 94)]


def test_where_somebody_was_has_edges_in_the_background_and_none_in_the_picture() -> None:
    ground = np.full(SHAPE, 120, np.uint8)
    figure = ground.copy()
    figure[80:150, 100:130] = 30
    mask = np.where(figure != ground, np.uint8(255), np.uint8(0))
    still = np.zeros(SHAPE, bool)
    found, empty = blobs(mask, still, grey=ground, background=figure)
    assert found == []
    assert (empty == (mask > 0)).all(), "somebody has gone from there"
    found, empty = blobs(mask, still, grey=figure, background=ground)
    assert [(one.left, one.top, one.right, one.bottom) for one in found] == [(100, 80, 130, 150)]
    assert not empty.any(), "somebody stands there"
    found, empty = blobs(mask, mask > 0, grey=ground, background=figure)
    assert len(found) == 1
    assert not empty.any(), "what moves is there, however smooth it is"


def test_what_lies_or_stands_still_begins_no_track() -> None:
    standing, lying = blob(100, 100, 30, 70), blob(100, 100, 70, 30)
    still = Blob(100, 100, 130, 170, 2100, 0)
    scores = [detections([one], [], SHAPE)[0].score for one in (standing, lying, still)]
    assert scores[0] >= SURE > max(scores[1:])
