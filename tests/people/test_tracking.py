"""From detections to tracks: who keeps their number, who gets a new one, and when a track ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.people.detection import Detection, likeness
from streamer.people.tracking import Tracking
from streamer.types import Box

Path = Callable[[float], Box | None]
SURE = 0.9


def line(x: float, speed: float, y: float = 0.4, size: tuple[float, float] = (0.06, 0.2)) -> Path:
    return lambda time: (x + speed * time, y, *size)


def follow(
    tracking: Tracking,
    paths: Sequence[Path],
    begin: float,
    end: float,
    every: float = 0.1,
    score: float = SURE,
) -> list[dict[int, Box]]:
    """The tracks after each look."""
    told = []
    for number in range(round(begin / every), round(end / every)):
        time = number * every
        found = [Detection(box, score) for path in paths if (box := path(time)) is not None]
        tracking.update(time, found)
        told.append({track.id: track.box for track in tracking.tracks(time)})
    return told


def nearest(told: dict[int, Box], box: Box) -> int:
    return max(told, key=lambda number: likeness(told[number], box))


def test_one_is_told_after_a_moment_and_keeps_the_number() -> None:
    told = follow(Tracking(2.0), [line(0.1, 0.1)], 0.0, 5.0)
    assert told[0] == told[1] == {}, "one detection is nobody yet"
    assert all(set(one) == {1} for one in told[3:])
    assert told[-1][1][0] == pytest.approx(0.1 + 0.1 * 4.9, abs=0.01)


@pytest.mark.parametrize("every", [0.04, 0.1, 0.25, 0.5])
def test_two_who_cross_keep_their_numbers_at_any_rate(every: float) -> None:
    paths = [line(0.1, 0.12, 0.40), line(0.7, -0.12, 0.42)]
    tracking = Tracking(2.0)
    told = follow(tracking, paths, 0.0, 5.0, every)
    early, late = told[round(2.0 / every)], told[-1]
    last = (len(told) - 1) * every
    for path in paths:
        at_first, at_last = path(round(2.0 / every) * every), path(last)
        assert at_first is not None
        assert at_last is not None
        assert nearest(early, at_first) == nearest(late, at_last)
    assert set(late) == set(early)


def test_who_stands_behind_another_for_less_than_lost_after_keeps_the_number() -> None:
    def hidden(time: float) -> Box | None:
        return None if 2.0 <= time < 3.5 else (0.1 + 0.05 * time, 0.4, 0.06, 0.2)

    told = follow(Tracking(2.0), [hidden], 0.0, 6.0)
    assert set(told[-1]) == {1}
    assert all(1 in one for one in told[5:]), "expected meanwhile"


@pytest.mark.parametrize("every", [0.05, 0.4])
def test_lost_after_counts_seconds_not_frames(every: float) -> None:
    tracking = Tracking(1.0)
    follow(tracking, [line(0.3, 0.0)], 0.0, 4.0, every)
    alone = follow(tracking, [], 4.0, 8.0, every)
    assert sum(map(bool, alone)) * every == pytest.approx(1.0, abs=2 * every)


def test_who_leaves_and_returns_is_somebody_new() -> None:
    tracking = Tracking(1.0)
    follow(tracking, [line(0.3, 0.0)], 0.0, 2.0)
    follow(tracking, [], 2.0, 4.0)
    told = follow(tracking, [line(0.3, 0.0)], 4.0, 6.0)
    assert set(told[-1]) == {2}


def test_who_walks_out_of_the_picture_is_lost_at_once() -> None:
    def leaving(time: float) -> Box | None:
        left = 0.8 + 0.1 * time
        return None if left > 0.97 else (left, 0.4, min(0.06, 1.0 - left), 0.2)

    told = follow(Tracking(60.0), [leaving], 0.0, 4.0)
    assert told[-1] == {}


def test_doubtful_detections_go_on_with_a_track_and_begin_none() -> None:
    tracking = Tracking(1.0)
    assert follow(tracking, [line(0.3, 0.0)], 0.0, 3.0, score=0.3)[-1] == {}
    follow(tracking, [line(0.3, 0.0)], 3.0, 5.0)
    told = follow(tracking, [line(0.3, 0.0)], 5.0, 9.0, score=0.3)
    assert len(told[-1]) == 1


def test_a_part_of_somebody_is_nobody_new() -> None:
    tracking = Tracking(2.0)
    follow(tracking, [line(0.3, 0.02)], 0.0, 2.0)
    head: Path = lambda time: (0.3 + 0.02 * time, 0.4, 0.02, 0.03)  # noqa: E731
    told = follow(tracking, [line(0.3, 0.02), head], 2.0, 4.0)
    assert all(len(one) == 1 for one in told)


def test_who_was_taken_for_a_part_of_them_is_more_at_once_and_does_not_run() -> None:
    tracking = Tracking(2.0)
    follow(tracking, [line(0.3, 0.0, size=(0.06, 0.1))], 0.0, 1.0)
    whole = line(0.3, 0.0, size=(0.1, 0.4))
    told = follow(tracking, [whole], 1.0, 1.1) + follow(tracking, [], 1.1, 2.0)
    there = whole(1.0)
    assert there is not None
    assert all(likeness(one[1], there) > 0.95 for one in told)


def test_numbers_are_never_used_again() -> None:
    tracking = Tracking(0.3)
    seen: list[int] = []
    for turn in range(20):
        begin = turn * 2.0
        told = follow(tracking, [line(0.3, 0.0)], begin, begin + 1.0)
        seen += told[-1]
        follow(tracking, [], begin + 1.0, begin + 2.0)
        tracking.clear()
    assert len(seen) == len(set(seen)) == 20


box = st.tuples(st.floats(-0.2, 1.1), st.floats(-0.2, 1.1), st.floats(1e-4, 1.0), st.floats(1e-4, 1.0))


look = st.lists(st.tuples(box, st.floats(0.0, 1.0)), max_size=8)


@settings(max_examples=50, deadline=None)
@given(st.lists(look, max_size=20))
def test_whatever_a_detector_says_tracks_are_finite_and_different(
    looks: list[list[tuple[Box, float]]],
) -> None:
    tracking = Tracking(0.5)
    for number, found in enumerate(looks):
        tracking.update(number * 0.1, [Detection(*one) for one in found])
        told = tracking.tracks(number * 0.1)
        assert len({track.id for track in told}) == len(told)
        assert all(abs(value) < 1e6 for track in told for value in track.box)


def test_false_starts_take_no_numbers() -> None:
    tracking = Tracking(1.0)
    for number in range(20):  # each seen once, at another place
        place = 0.04 * number, 0.1 * (number % 5), 0.03, 0.1
        tracking.update(number * 0.5, [Detection(place, SURE)])
        assert not tracking.tracks(number * 0.5)
    told = follow(tracking, [line(0.1, 0.05), line(0.8, -0.05, 0.7)], 20.0, 21.0)
    assert set(told[-1]) == {1, 2}
