"""Numbers of tracks against truth: simple cases by hand, and crowds against trackeval's own answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from streamer.training.track_scores import SeenMoment, ious, measure_tracks, person_of_tracks
from streamer.types import Box

HERE: Box = (0.1, 0.1, 0.1, 0.3)
THERE: Box = (0.6, 0.1, 0.1, 0.3)


def moments(said: Callable[[int], list[tuple[Any, Box]]], count: int = 10) -> list[SeenMoment]:
    """Two people who stand still, and what is said of them in each picture."""
    return [SeenMoment([("a", HERE), ("b", THERE)], said(number)) for number in range(count)]


def crowd(seed: int) -> list[SeenMoment]:
    """Six people who walk to and fro, followed badly: boxes jitter, are missing or false, ids swap."""
    rng = np.random.default_rng(seed)
    places, speeds = rng.random((6, 2)), rng.normal(0, 0.02, (6, 2))
    ids = list(range(6))
    out = []
    for _ in range(40):
        places = places + speeds
        if rng.random() < 0.15:
            a, b = rng.choice(6, 2, replace=False)
            ids[a], ids[b] = ids[b], ids[a]
        if rng.random() < 0.1:
            ids[int(rng.integers(6))] = int(rng.integers(100, 1000))
        truth = [(n, _box(place, 0.2, 0.4)) for n, place in enumerate(places) if rng.random() < 0.9]
        said = [
            (ids[n], _box(place + rng.normal(0, 0.03, 2), 0.2 + rng.normal(0, 0.02), 0.4))
            for n, place in enumerate(places)
            if rng.random() < 0.8 and ids.index(ids[n]) == n
        ]
        if rng.random() < 0.2:
            said.append((2000, _box(rng.random(2), 0.1, 0.3)))
        out.append(SeenMoment(truth, said))
    return out


def _box(place: Any, width: float, height: float) -> Box:
    return float(place[0]), float(place[1]), float(width), float(height)


def test_boxes_overlap_as_far_as_they_do() -> None:
    found = ious([(0.0, 0.0, 0.2, 0.2), (0.0, 0.0, 0.1, 0.1)], [(0.1, 0.0, 0.2, 0.2), (0.5, 0.5, 0.1, 0.1)])
    assert found[0] == pytest.approx([1 / 3, 0.0])
    assert found[1] == pytest.approx([0.0, 0.0])
    assert ious([], [HERE]).shape == (0, 1)
    assert ious([HERE], []).shape == (1, 0)


def test_people_who_are_followed_all_the_time() -> None:
    told = measure_tracks(moments(lambda _: [(7, HERE), (9, THERE)]))
    assert {key: told[key] for key in ("moments", "people", "tracks", "boxes", "found", "switches")} == {
        "moments": 10, "people": 2, "tracks": 2, "boxes": 20, "found": 20, "switches": 0,
    }  # fmt: skip
    assert [told[key] for key in ("recall", "precision", "idf1", "mota", "hota")] == [1.0] * 5


def test_who_is_missed_and_who_is_not_there() -> None:
    missed = measure_tracks(moments(lambda _: [(7, HERE)]))
    assert (missed["recall"], missed["precision"], missed["mota"]) == (0.5, 1.0, 0.5)
    assert missed["idf1"] == pytest.approx(2 / 3, abs=1e-4)
    ghosts = measure_tracks(moments(lambda _: [(7, HERE), (9, THERE), (8, (0.3, 0.6, 0.1, 0.3))]))
    assert (ghosts["recall"], ghosts["precision"], ghosts["mota"]) == (1.0, 0.6667, 0.5)


def test_a_number_that_goes_to_the_other_costs_identity_and_not_detection() -> None:
    swapped = measure_tracks(moments(lambda n: [(7, HERE), (9, THERE)] if n < 5 else [(9, HERE), (7, THERE)]))
    assert (swapped["recall"], swapped["switches"], swapped["idf1"], swapped["mota"]) == (1.0, 2, 0.5, 0.9)
    assert swapped["hota"] < 0.75


def test_a_box_that_is_half_beside_is_not_found() -> None:
    beside = (HERE[0] + 0.05, *HERE[1:])
    assert measure_tracks(moments(lambda _: [(7, beside), (9, THERE)]))["recall"] == 0.5


def test_nobody() -> None:
    nobody = measure_tracks([SeenMoment([], []) for _ in range(3)])
    assert [nobody[key] for key in ("recall", "precision", "idf1", "mota", "hota")] == [None] * 5
    assert measure_tracks([])["moments"] == 0
    alone = measure_tracks([SeenMoment([], [(1, HERE)])])
    assert (alone["precision"], alone["recall"], alone["hota"]) == (0.0, None, 0.0)


def test_whose_track_it_is() -> None:
    told = moments(lambda n: [(7 if n < 6 else 8, HERE), (9, (0.8, 0.8, 0.1, 0.1))])
    assert person_of_tracks(told) == {7: "a", 8: "a"}
    assert person_of_tracks([SeenMoment([], [(1, HERE)])]) == {}


# What trackeval 1.3.0 (HOTA, CLEAR and Identity of its `metrics`) says of `crowd(seed)`:
# found, missed, false, switches, MOTA, IDF1, HOTA.
TRACKEVAL = (
    (162, 55, 34, 12, 0.5346, 0.5714, 0.3800),
    (159, 56, 33, 20, 0.4930, 0.4619, 0.3254),
    (160, 51, 34, 12, 0.5403, 0.5185, 0.3545),
    (161, 64, 34, 7, 0.5333, 0.5143, 0.3635),
    (151, 65, 46, 24, 0.3750, 0.4455, 0.3170),
    (161, 51, 38, 18, 0.4953, 0.3698, 0.2906),
)


@pytest.mark.parametrize("seed", range(len(TRACKEVAL)))
def test_the_numbers_are_those_of_trackeval(seed: int) -> None:
    told = measure_tracks(crowd(seed))
    got = [told[key] for key in ("found", "missed", "false", "switches", "mota", "idf1", "hota")]
    assert got == pytest.approx(TRACKEVAL[seed], abs=2e-4)
