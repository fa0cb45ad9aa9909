"""Labels and the boxes of people drawn into pictures, white on black, readable on every ground.

Names in any script are drawn with the first of a few common fonts that the system has, and Arabic only where
Pillow can shape it (Raqm). A name that cannot be drawn gives way to the model's own label, and what is left
of that to ASCII.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.recording.followed_people import SeenPerson

_FONTS = ("NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf", "Arial.ttf")
_PART = 22  # the text's height is this part of the picture's
_PART_OF_BOXES = 32  # the same, of what stands at boxes
_LEAST = 12  # pixels
# of boxes, BGR: told apart by people who see colours differently (Okabe and Ito, "Color Universal Design");
# each has its number beside it
_COLOURS = ((0, 228, 240), (233, 180, 86), (0, 159, 230), (115, 158, 0), (167, 121, 204), (0, 94, 213))
_NOWHERE = "\U0010fffe"  # a character that no font has


def draw(image: NDArray[Any], lines: Sequence[tuple[str, str]]) -> None:
    """Draw into uint8 BGR (H, W, 3), upwards from the lower left; `lines`: (display name, label)."""
    height, width = image.shape[:2]
    bottom = height
    for display, label in lines:
        box = _box(display, label, max(_LEAST, height // _PART))
        top = bottom - box.shape[0]
        if top < 0:
            return
        across = min(width, box.shape[1])
        image[top:bottom, :across] = box[:, :across]
        bottom = top


def draw_people(image: NDArray[Any], people: Sequence[SeenPerson], name: Callable[[str], str]) -> None:
    """Draw each one's box, with number and label, into uint8 BGR (H, W, 3).

    `name`: label -> what people call it. The text stands above the box, or in it where there is no room.
    Whoever was first is drawn last.
    """
    import cv2

    height, width = image.shape[:2]
    line, size = max(1, height // 240), max(_LEAST, height // _PART_OF_BOXES)
    for person in reversed(people):
        left, top, across, down = person.track.box
        corner = round(left * width), round(top * height)
        other = round((left + across) * width), round((top + down) * height)
        cv2.rectangle(image, corner, other, (0, 0, 0), 3 * line)
        cv2.rectangle(image, corner, other, _COLOURS[person.track.id % len(_COLOURS)], line)
        number, label = str(person.track.id), ", ".join(person.labels)
        display = ", ".join(map(name, person.labels))
        text = _box(f"{number} {display}".strip(), f"{number} {label}".strip(), size)
        _paste(image, text, max(0, corner[0]), corner[1] - text.shape[0])


def _paste(image: NDArray[Any], text: NDArray[Any], left: int, top: int) -> None:
    """A text at a place, moved inside where it would reach over the edge."""
    height, width = image.shape[:2]
    down, across = min(height, text.shape[0]), min(width, text.shape[1])
    top, left = min(max(0, top), height - down), min(left, width - across)
    image[top : top + down, left : left + across] = text[:down, :across]


@lru_cache(maxsize=256)
def _box(display: str, label: str, size: int) -> NDArray[Any]:
    """White text on black, uint8 (h, w, 3)."""
    font = _font(size)
    if font is None:
        return _plain_box(_ascii(display) or _ascii(label), size)
    text = next((text for text in (display, label) if _drawable(text, size)), _ascii(label))
    from PIL import Image, ImageDraw

    left, top, right, bottom = font.getbbox(text)
    margin = size // 3
    grey = Image.new("L", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin))
    ImageDraw.Draw(grey).text((margin - left, margin - top), text, fill=255, font=font)
    return np.repeat(np.asarray(grey, np.uint8)[:, :, None], 3, axis=2)


def _plain_box(text: str, size: int) -> NDArray[Any]:
    """Without any font: OpenCV's own strokes."""
    import cv2

    scale, margin = size / 30.0, size // 3
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    box = np.zeros((height + below + 2 * margin, width + 2 * margin, 3), np.uint8)
    place, white = (margin, margin + height), (255, 255, 255)
    cv2.putText(box, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, white, 1, cv2.LINE_AA)
    return box


@lru_cache(maxsize=16)
def _font(size: int) -> Any:
    from PIL import ImageFont

    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None


@lru_cache(maxsize=256)
def _drawable(text: str, size: int) -> bool:
    """Whether the font has every character, and can join those that must be joined."""
    from PIL import features

    if not text.strip():
        return False
    if any(unicodedata.bidirectional(c) in ("R", "AL") for c in text) and not features.check("raqm"):
        return False
    font = _font(size)
    missing = bytes(font.getmask(_NOWHERE))
    return all(c.isspace() or (c.isprintable() and bytes(font.getmask(c)) != missing) for c in text)


def _ascii(text: str) -> str:
    """The text without its accents; "?" for what is no letter of ASCII, "" if nothing else is left."""
    plain = unicodedata.normalize("NFKD", text.replace("ı", "i")).encode("ascii", "replace").decode()
    kept = "".join(c for c in plain if c.isprintable())
    return kept if kept.strip("? ") else ""
