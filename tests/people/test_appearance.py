"""Finding somebody again by what they looked like."""

from __future__ import annotations

import numpy as np

from streamer.people.appearance import Appearances
from streamer.types import Box
from tests.helpers.people_parts import HEIGHT, WIDTH, Walker, scene


def known(walker: Walker) -> Appearances:
    appearances, box = Appearances(), walker.box(0.0)
    assert box is not None
    appearances.learn(1, scene([walker], 0.0), np.full((HEIGHT, WIDTH), 255, np.uint8), box)
    return appearances


def at(left: float, seed: int = 1) -> Walker:
    return Walker(lambda _t: left, seed=seed)


def moved(box: Box | None, x: float) -> Box:
    assert box is not None
    return box[0] + x / WIDTH, *box[1:]


def test_somebody_is_found_where_they_are() -> None:
    appearances = known(at(40.0))
    for off in (-10.0, 0.0, 10.0):
        found = appearances.find(1, scene([at(150.0)], 1.0), moved(at(150.0).box(0.0), off))
        assert found is not None
        assert found[0] > 0.9
        assert np.allclose(found[1], at(150.0).box(0.0), atol=1 / WIDTH)


def test_another_is_not_them_and_too_far_is_not_looked() -> None:
    appearances = known(at(40.0))
    assert appearances.find(1, scene([at(150.0, seed=2)], 1.0), moved(at(150.0).box(0.0), 0.0)) is None
    assert appearances.find(1, scene([at(150.0)], 1.0), moved(at(150.0).box(0.0), 40.0)) is None


def test_at_the_edge_and_outside_nothing_breaks() -> None:
    appearances = known(at(-10.0))
    for left in (-60.0, -12.0, 0.0, 310.0, 400.0):
        appearances.find(1, scene([at(left)], 1.0), moved(at(left).box(0.0), 0.0))
    appearances.learn(1, scene([], 0.0), np.full((HEIGHT, WIDTH), 255, np.uint8), (1.2, 0.2, 0.1, 0.2))
    appearances.learn(1, scene([], 0.0), np.full((HEIGHT, WIDTH), 255, np.uint8), (-0.3, -0.4, 0.1, 0.2))


def test_who_is_not_known_is_not_found_and_who_left_is_forgotten() -> None:
    appearances = known(at(40.0))
    box = moved(at(40.0).box(0.0), 0.0)
    assert appearances.find(2, scene([at(40.0)], 1.0), box) is None
    assert appearances.find(1, scene([at(40.0)], 1.0), box) is not None
    appearances.keep([2])
    assert appearances.find(1, scene([at(40.0)], 1.0), box) is None
