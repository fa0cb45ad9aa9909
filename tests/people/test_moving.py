"""The detector that needs no weights, on drawn scenes."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.people.detection import SURE, likeness
from streamer.people.moving import MovingDetector
from streamer.people.tracking import Tracking
from streamer.types import Box, Track
from tests.helpers.people_parts import HEIGHT, WIDTH, Walker, scene, walking


def watch(walkers: list[Walker], seconds: float, lost_after: float = 2.0) -> list[dict[int, Box]]:
    detector, tracking, told = MovingDetector(), Tracking(lost_after), []
    for number in range(round(seconds * 10)):
        time = number / 10
        found = detector.detect(scene(walkers, time), time, tracking.tracks(time))
        tracking.update(time, found)
        told.append({track.id: track.box for track in tracking.tracks(time)})
    return told


def nearest(told: dict[int, Box], box: Box) -> int:
    return max(told, key=lambda number: likeness(told[number], box))


def test_somebody_who_walks_is_found_where_they_are() -> None:
    walker = Walker(walking(20.0, 40.0, begin=1.0))
    told = watch([walker], 6.0)
    for number in range(18, 60):
        there = walker.box(number / 10)
        assert there is not None
        assert list(told[number]) == [1], f"at {number / 10} s: {told[number]}"
        assert likeness(told[number][1], there) > 0.5


def test_nothing_moves_nobody_is_found() -> None:
    standing = Walker(lambda time: 150.0)
    assert not any(watch([standing], 10.0)), "what stands there all the time is no track"


def test_the_place_that_somebody_left_is_nobody() -> None:
    walker = Walker(lambda time: 60.0 + 40.0 * max(0.0, time - 3.0))
    told = watch([walker], 8.0)
    assert len({number for one in told for number in one}) == 1
    there = walker.box(7.9)
    assert there is not None
    assert likeness(next(iter(told[-1].values())), there) > 0.5


def test_a_track_does_not_stay_on_the_place_that_somebody_left() -> None:
    """Who stood there from the first picture is in the background for long after having gone."""
    walker, detector = Walker(lambda time: 60.0 + 40.0 * max(0.0, time - 8.0)), MovingDetector()
    place = walker.box(0.0)
    assert place is not None
    for number in range(110):
        time = number / 10
        found = detector.detect(scene([walker], time), time, [Track(1, place)])
        if number >= 105:
            assert all(likeness(one.box, place) < 0.1 for one in found), f"at {time} s"


def test_parts_that_never_moved_are_one_person_when_all_of_them_is_seen() -> None:
    walker, detector = Walker(lambda _t: 150.0), MovingDetector()
    for number in range(5):
        detector.detect(scene([], number / 10), number / 10, [])
    head, legs = (
        (150 / WIDTH, 100 / HEIGHT, 24 / WIDTH, 20 / HEIGHT),
        (152 / WIDTH, 140 / HEIGHT, 20 / WIDTH, 19 / HEIGHT),
    )
    found = detector.detect(scene([walker], 0.5), 0.5, [Track(1, head), Track(2, legs)])
    there = walker.box(0.5)
    assert there is not None
    assert len(found) == 1
    assert likeness(found[0].box, there) > 0.8


@pytest.mark.realtime
def test_who_stops_stays_followed_and_who_leaves_does_not() -> None:
    walker = Walker(lambda time: 20.0 + 40.0 * min(3.0, max(0.0, time - 1.0)) if time < 70.0 else None)
    told = watch([walker], 75.0)
    assert all(list(one) == [1] for one in told[25:700]), "through a minute of standing still"
    assert told[-1] == {}


def test_nobody_rests_where_somebody_faint_walked_past() -> None:
    """As a track of a part of them would, which stays behind: what is there at last is hardly them."""
    walker, detector = Walker(walking(20.0, 40.0, 1.0)), MovingDetector()
    place = walker.box(3.0)
    assert place is not None
    for number in range(60):
        time = number / 10
        picture = (0.65 * scene([], time) + 0.35 * scene([walker], time)).astype(np.uint8)
        found = detector.detect(picture, time, [Track(1, place)])
        if number == 30:
            assert any(likeness(one.box, place) > 0.5 for one in found), "they are seen there"
    assert all(likeness(one.box, place) < 0.1 for one in found)


def test_two_who_cross_keep_their_numbers() -> None:
    right, left = Walker(walking(0.0, 40.0, 1.0), seed=1), Walker(walking(280.0, -40.0, 1.0), top=104, seed=2)
    told = watch([left, right], 6.5)
    early, late = told[25], told[-1]
    for walker in (right, left):
        first, last = walker.box(2.5), walker.box(6.4)
        assert first is not None
        assert last is not None
        assert nearest(early, first) == nearest(late, last)


def test_another_light_is_nobody() -> None:
    detector, tracking = MovingDetector(), Tracking(2.0)
    for number in range(60):
        picture = scene([], number / 10)
        if number > 30:
            picture = picture // 2
        tracking.update(number / 10, detector.detect(picture, number / 10, tracking.tracks(number / 10)))
        assert tracking.tracks(number / 10) == []


@pytest.mark.parametrize("scale", [2, 4])
def test_large_pictures_are_looked_at_small(scale: int) -> None:
    walker, detector = Walker(walking(20.0, 40.0)), MovingDetector()
    for number in range(20):
        time = number / 10
        picture = scene([walker], time).repeat(scale, 0).repeat(scale, 1)
        found = detector.detect(picture, time, [])
    there = walker.box(1.9)
    assert there is not None
    assert max(likeness(one.box, there) for one in found if one.score >= SURE) > 0.5


def test_a_picture_of_another_size_begins_anew() -> None:
    detector = MovingDetector()
    for number in range(5):
        detector.detect(scene([], number / 10), number / 10, [])
    assert detector.detect(scene([], 0.5)[: HEIGHT // 2, : WIDTH // 2], 0.5, []) == []


def test_who_is_between_others_is_where_they_look_like_themselves() -> None:
    """All three are one to the background; where the one in the middle was expected is not where they are."""
    alone = [
        Walker(lambda _t, left=left: left, seed=seed) for seed, left in ((1, 40.0), (2, 120.0), (3, 200.0))
    ]
    together = [
        Walker(lambda _t, left=left: left, seed=seed) for seed, left in ((1, 96.0), (2, 122.0), (3, 148.0))
    ]
    detector = MovingDetector()
    for number in range(5):
        detector.detect(scene([], number / 10), number / 10, [])
    boxes = [walker.box(0.0) for walker in alone]
    followed = [Track(number + 1, box) for number, box in enumerate(boxes) if box is not None]
    detector.detect(scene(alone, 0.5), 0.5, followed)
    left, middle, right = (walker.box(0.0) for walker in together)
    assert left is not None
    assert middle is not None
    assert right is not None
    off = (middle[0] + 9 / WIDTH, *middle[1:])
    found = detector.detect(scene(together, 0.6), 0.6, [Track(1, left), Track(2, off), Track(3, right)])
    assert len(found) == 3
    for there in (left, middle, right):
        assert max(likeness(one.box, there) for one in found) > 0.8


def test_nobody_rests_in_a_place_that_is_as_usual() -> None:
    """As a track does that got into the empty middle of something large, which goes away."""
    detector, place = MovingDetector(), (108 / WIDTH, 88 / HEIGHT, 44 / WIDTH, 74 / HEIGHT)
    for number in range(30):
        time = number / 10
        picture = scene([], time)
        if 5 <= number < 20:
            rim = scene([Walker(lambda _t: 100.0, top=80.0, width=60, height=90)], time)
            rim[88:162, 108:152] = picture[88:162, 108:152]
            picture = rim
        found = detector.detect(picture, time, [Track(1, place)])
        if number == 6:
            assert any(likeness(one.box, place) > 0.4 for one in found), "the rim is found, around the place"
    assert not found
