"""Who is followed: the first to come, who is large enough, and nobody across a break of the video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamer.config import FollowConfig
from streamer.people.detection import Detection
from streamer.people.detector_thread import LooksAtOnce
from streamer.people.person_follower import Follower, Seen
from streamer.types import Box, Frame, Track, Tracks

IMAGE = np.zeros((24, 32, 3), np.uint8)
FIRST, SECOND = (0.1, 0.2, 0.1, 0.3), (0.6, 0.2, 0.1, 0.3)


class Scripted:
    """Finds what the test says."""

    every = 0.1

    def __init__(self) -> None:
        self.boxes: list[Box] = []
        self.asked: list[float] = []
        self.resets = 0

    def detect(self, image: Any, time: float, followed: Sequence[Track]) -> list[Detection]:
        self.asked.append(time)
        return [Detection(box, 0.9) for box in self.boxes]

    def reset(self) -> None:
        self.resets += 1


class Following:
    """A follower that is shown frames by hand, ten a second."""

    def __init__(self, part: Box = (0.0, 0.0, 1.0, 1.0), **config: Any) -> None:
        self.detector = Scripted()
        self.told: list[Tracks] = []
        follow = FollowConfig(detector="moving", **config)
        looks = LooksAtOnce(self.detector, pytest.fail)
        self.follower = Follower("cam", follow, looks, self.told.append, part)
        self._count = 0
        self.epoch = 0

    def show(self, *boxes: Box, seconds: float = 0.1) -> Seen:
        self.detector.boxes = list(boxes)
        seen = None
        for _ in range(round(seconds * 10)):
            time = self._count / 10
            self._count += 1
            seen = self.follower.see(
                Frame("cam", self._count, self.epoch, time, time, 1.7e9 + time, None, IMAGE)
            )
        assert seen is not None
        return seen


def ids(tracks: Sequence[Track]) -> list[int]:
    return [track.id for track in tracks]


def test_everybody_is_told_with_each_frame() -> None:
    one = Following()
    seen = one.show(FIRST, SECOND, seconds=1.0)
    assert ids(seen.tracks) == ids(seen.visible) == [1, 2]
    assert [tracks.time for tracks in one.told] == [n / 10 for n in range(10)]
    assert one.told[-1].tracks[0].box == pytest.approx(FIRST)


def test_the_first_to_come_are_followed_and_the_others_counted() -> None:
    one = Following(max=1, lost_after=0.5)
    one.show(FIRST, seconds=1.0)
    assert ids(one.show(FIRST, SECOND, seconds=2.0).tracks) == [1]
    one.show(FIRST, seconds=1.0)
    assert one.told[-1].left_out == {"max": 1}
    one.show(FIRST, SECOND, seconds=1.0)
    seen = one.show(SECOND, seconds=1.0)
    assert ids(seen.tracks) == [3], "a place that is free again goes to who is there"
    assert one.told[-1].left_out == {"max": 1}


def test_who_is_too_small_is_followed_when_they_come_near() -> None:
    one = Following(min_size=0.2)
    small = (0.1, 0.2, 0.05, 0.1)
    assert ids(one.show(small, seconds=1.0).tracks) == []
    seen = one.show((0.09, 0.15, 0.1, 0.3), seconds=3.0)
    assert ids(seen.tracks) == [1]
    assert one.told[-1].left_out == {}
    one = Following(min_size=0.2, lost_after=0.3)
    one.show(small, seconds=1.0)
    one.show(seconds=1.0)
    assert one.told[-1].left_out == {"small": 1}


def test_who_is_not_seen_is_expected_and_then_gone_from_where_they_were() -> None:
    one = Following(lost_after=1.0)
    one.show(FIRST, seconds=1.0)
    assert ids(one.show(seconds=0.3).visible) == [1], "a short miss is nothing"
    seen = one.show(seconds=0.4)
    assert (ids(seen.tracks), ids(seen.visible)) == ([1], []), "where they are is a guess now"
    gone = [gone for _ in range(8) for gone in one.show().gone]
    assert [one.track.id for one in gone] == [1]
    assert gone[0].seen.time == pytest.approx(0.9, abs=0.11)


def test_nobody_is_followed_across_a_break() -> None:
    one = Following()
    one.show(FIRST, seconds=1.0)
    one.epoch = 1
    seen = one.show(FIRST)
    assert ([gone.track.id for gone in seen.gone], seen.tracks) == ([1], ())
    assert ids(one.show(FIRST, seconds=1.0).tracks) == [2]
    one.follower.lost()
    assert [gone.track.id for gone in one.show(FIRST).gone] == [2]
    assert one.detector.resets == 3


def test_the_detector_is_asked_as_often_as_said() -> None:
    one = Following(every=0.5)
    one.show(FIRST, seconds=3.0)
    assert one.detector.asked == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])


def test_who_is_not_followed_is_told_without_a_number() -> None:
    """For those who hide people: somebody new, and somebody over the limit."""
    one = Following(max=1)
    one.show(FIRST)
    assert (one.told[-1].tracks, one.told[-1].others) == ((), (pytest.approx(FIRST),)), (
        "seen for the first time"
    )
    one.show(FIRST, seconds=1.0)
    second = (0.6, 0.2, 0.1, 0.3)
    one.show(FIRST, second, seconds=1.0)
    assert ids(one.told[-1].tracks) == [1]
    assert one.told[-1].others == (pytest.approx(second),)
    placed = Following(part=(0.5, 0.0, 0.5, 0.5))
    placed.show(FIRST)
    assert placed.told[-1].others == (pytest.approx((0.55, 0.1, 0.05, 0.15)),)


def test_boxes_are_told_in_parts_of_the_whole_picture() -> None:
    one = Following(part=(0.5, 0.0, 0.5, 0.5))
    seen = one.show(FIRST, seconds=1.0)
    assert seen.tracks[0].box == pytest.approx(FIRST)
    assert one.told[-1].tracks[0].box == pytest.approx((0.55, 0.1, 0.05, 0.15))


def test_another_size_of_picture_begins_anew() -> None:
    one = Following()
    one.show(FIRST, seconds=1.0)
    frame = Frame("cam", 99, 0, 5.0, 5.0, 5.0, None, np.zeros((48, 64, 3), np.uint8))
    assert [gone.track.id for gone in one.follower.see(replace(frame)).gone] == [1]
