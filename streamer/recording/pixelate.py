"""Parts of a picture made unrecognisable, for good.

What is left of an area are at most `BLOCKS` x `BLOCKS` flat blocks, however large it is and however many
pixels it had: each has the mean of what was there, in one of 512 colours. A blur that is a convolution
(Gaussian, box) can be undone to a good part, because its kernel is known and every pixel of the result is
another equation; and pixels of a fixed size hide a face far away and show one close by. Here an area of a
person standing is some 4 x 8 blocks, of which a head is one, and rounding to 8 steps a colour takes from
several pictures of the same what their small differences would tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from streamer.recording.pixels import Image

BLOCKS = 8  # of an area's longer side
Corners: TypeAlias = Sequence[tuple[float, float]]  # of a box or a polygon, in parts of the picture
WHOLE: Corners = ((0.0, 0.0), (1.0, 1.0))

_KEPT = 0xE0  # the three highest bits of a colour's brightness
_MIDDLE = 0x10


def pixelated(image: Image, areas: Iterable[Corners]) -> Image:
    """uint8 (H, W, 3) with these areas in blocks; itself, unchanged, where there are none.

    A pixel that lies in an area with any part of it belongs to it.
    """
    import cv2

    out = image
    for place, inside in _places(areas, image.shape[:2]):
        if out is image:
            out = image.copy()
        part = out[place]
        blocks = in_blocks(part)
        if inside is not None:  # a polygon: around it all stays as it is
            blocks = cv2.copyTo(blocks, inside, part.copy())
        part[...] = blocks
    return out


def marked(areas: Iterable[Corners], size: tuple[int, int]) -> Image:
    """A picture, uint8 (H, W, 3), that is white in these areas and black elsewhere."""
    image = np.zeros((*size, 3), np.uint8)
    for place, inside in _places(areas, size):
        image[place][... if inside is None else inside > 0] = 255
    return image


def in_blocks(part: Image) -> Image:
    """All of a picture in at most BLOCKS x BLOCKS flat blocks; uint8 (h, w, 3) of any size."""
    import cv2

    height, width = part.shape[:2]
    longer = max(height, width)
    rows, columns = (max(1, min(side, round(BLOCKS * side / longer))) for side in (height, width))
    means = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize((means & _KEPT) | _MIDDLE, (width, height), interpolation=cv2.INTER_NEAREST))


def _places(
    areas: Iterable[Corners], size: tuple[int, ...]
) -> Iterator[tuple[tuple[slice, slice], Image | None]]:
    """Where in a picture of (H, W) pixels each area lies, and which of the pixels there are in it: those that
    are not 0; None: all.
    """
    height, width = size
    for corners in areas:
        xs, ys = [x * width for x, _ in corners], [y * height for _, y in corners]
        left, top = max(0, math.floor(min(xs))), max(0, math.floor(min(ys)))
        right, bottom = min(width, math.ceil(max(xs))), min(height, math.ceil(max(ys)))
        if left < right and top < bottom:
            here = (slice(top, bottom), slice(left, right))
            points = [(x - left, y - top) for x, y in zip(xs, ys, strict=True)]
            yield here, _inside(points, (bottom - top, right - left)) if len(points) > 2 else None


def _inside(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> Image:
    """The pixels of a polygon, those included that its edges only touch: uint8 (h, w), 0 or 1."""
    import cv2

    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.array(np.round(points), np.int32)], 1)
    return np.asarray(cv2.dilate(mask, np.ones((3, 3), np.uint8)))
