"""A camera's picture in cells: each shows two points, the upper one as the colour of "▀", the lower as its
background.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

EVERY_S = 0.25  # seconds between two pictures of one camera
CELL = 2.0  # a cell is about twice as high as it is wide
_END = "\x1b[0m"


def half_blocks(image: NDArray[Any], width: int, height: int, *, colours: int) -> tuple[int, list[str]]:
    """(cells wide, rows of cells) of a picture within `width` x `height` cells, its shape kept.

    Args:
        image: uint8 BGR (H, W, 3).
        colours: how many the terminal has: 256, or more.
    """
    rows, columns = image.shape[:2]
    wide = max(1, min(width, round(height * CELL * columns / rows)))
    high = max(1, min(height, round(wide * rows / columns / CELL)))
    points = _reduced(image, 2 * high, wide)
    return wide, [_row(points[2 * i], points[2 * i + 1], colours) for i in range(high)]


def _reduced(image: NDArray[Any], rows: int, columns: int) -> NDArray[np.uint8]:
    """RGB (rows, columns, 3): the mean of four points of each part."""
    height, width = image.shape[:2]
    y = ((np.arange(2 * rows) + 0.5) * height / (2 * rows)).astype(np.intp)
    x = ((np.arange(2 * columns) + 0.5) * width / (2 * columns)).astype(np.intp)
    taken = image[y][:, x, ::-1].astype(np.uint16).reshape(rows, 2, columns, 2, 3)
    return np.asarray(taken.sum((1, 3)) // 4, dtype=np.uint8)


def _row(upper: NDArray[np.uint8], lower: NDArray[np.uint8], colours: int) -> str:
    if colours > 256:
        pairs = [
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m▀"
            for a, b in zip(upper.tolist(), lower.tolist(), strict=True)
        ]
        return "".join(pairs) + _END
    above, below = _cube(upper), _cube(lower)
    return "".join(f"\x1b[38;5;{a};48;5;{b}m▀" for a, b in zip(above, below, strict=True)) + _END


def _cube(points: NDArray[np.uint8]) -> list[int]:
    """The nearest colours of the 6 x 6 x 6 cube."""
    levels = (points.astype(np.int32) * 5 + 127) // 255
    found: list[int] = (16 + levels @ np.array([36, 6, 1])).tolist()
    return found


class CellPictures:
    """The cameras' newest pictures in cells, made anew a few times a second at most.

    Args:
        newest: a camera's newest picture, uint8 BGR (H, W, 3), or None.
        colours: as in `half_blocks`.
        now: monotonic seconds.
    """

    def __init__(
        self, newest: Callable[[str], NDArray[Any] | None], colours: int, now: Callable[[], float]
    ) -> None:
        self._newest, self._colours, self._now = newest, colours, now
        self._made: dict[tuple[str, int, int], tuple[float, tuple[int, list[str]]]] = {}
        self._held: dict[str, NDArray[Any] | None] | None = None

    def __call__(self, camera: str, width: int, height: int) -> tuple[int, list[str]] | None:
        """See `half_blocks`; None where a camera has no picture yet."""
        key, now = (camera, width, height), self._now()
        made = self._made.get(key)
        if made is not None and now - made[0] < EVERY_S:
            return made[1]
        image = self._newest(camera) if self._held is None else self._held.get(camera)
        if image is None or width < 1 or height < 1:
            return None
        cells = half_blocks(image, width, height, colours=self._colours)
        self._made = {other: one for other, one in self._made.items() if now - one[0] < 1.0}
        self._made[key] = now, cells
        return cells

    def hold(self, cameras: Iterable[str]) -> None:
        """Show the pictures of now until `go_on`."""
        self._held = {camera: self._newest(camera) for camera in cameras}

    def go_on(self) -> None:
        self._held = None
