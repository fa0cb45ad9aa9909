"""Pictures with people in them, drawn: textured figures that walk over a textured ground."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.types import Box, Frame

WIDTH, HEIGHT = 320, 240
Place = Callable[[float], float | None]


@dataclass(frozen=True)
class Walker:
    """One figure: the place of its left edge in pixels at a time, or None while it is not there."""

    left: Place
    top: float = 100.0
    width: int = 24
    height: int = 60
    seed: int = 1

    def box(self, time: float) -> Box | None:
        left = self.left(time)
        if left is None:
            return None
        return left / WIDTH, self.top / HEIGHT, self.width / WIDTH, self.height / HEIGHT


def walking(start: float, speed: float, begin: float = 0.0, end: float = 1e9) -> Place:
    """From `start`, with `speed` pixels a second, between two times."""
    return lambda time: start + speed * (time - begin) if begin <= time < end else None


def scene(walkers: Sequence[Walker], time: float, noise: float = 2.0) -> NDArray[Any]:
    """The picture at a time, uint8 BGR (H, W, 3); later walkers stand in front."""
    image = _ground().astype(np.float32)
    for walker in walkers:
        left = walker.left(time)
        if left is not None:
            figure = np.random.default_rng(walker.seed).integers(0, 256, (walker.height, walker.width, 3))
            x, y = round(left), round(walker.top)
            first, last = max(0, x), min(WIDTH, x + walker.width)
            if first < last:
                image[y : y + walker.height, first:last] = figure[:, first - x : last - x]
    if noise:
        image += noise * _noise(int(time * 1000) % 31)
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def frames(
    walkers: Sequence[Walker], seconds: float, *, rate: float = 10.0, begin: float = 0.0, epoch: int = 0
) -> Iterator[Frame]:
    """Frames of the scene on the time line."""
    for number in range(round(begin * rate), round((begin + seconds) * rate)):
        time = number / rate
        yield Frame("cam", number, epoch, time, time, 1.7e9 + time, time, scene(walkers, time))


@cache
def _ground() -> NDArray[Any]:
    coarse = np.random.default_rng(0).integers(90, 150, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


@cache  # drawing it anew for each picture takes longer than all that is tried with the picture
def _noise(seed: int) -> NDArray[Any]:
    return np.random.default_rng(seed).standard_normal((HEIGHT, WIDTH, 3), np.float32)
