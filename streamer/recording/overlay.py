"""Labels drawn into pictures, white on black, readable on every ground.

Names in any script are drawn with the first of a few common fonts that the system has, and Arabic only where
Pillow can shape it (Raqm). A name that cannot be drawn gives way to the model's own label, and what is left
of that to ASCII.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FONTS = ("NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf", "Arial.ttf")
_PART = 22  # the text's height is this part of the picture's
_LEAST = 12  # pixels
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
