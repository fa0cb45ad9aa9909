"""Sentences in letters made of blocks, as large as the terminal allows."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

# bold sans-serif faces that systems come with; they have Turkish, and DejaVu and Arial Arabic too
FACES = (
    "DejaVuSans-Bold.ttf",
    "NotoSans-Bold.ttf",
    "LiberationSans-Bold.ttf",
    "Arial Bold.ttf",
    "arialbd.ttf",
)
SMALLEST, LARGEST = 11, 120  # pixels of letter height; two pixels are one terminal cell high, one is one wide
_BLOCKS = " ▀▄█"


def render(text: str, columns: int, rows: int, font: str | None = None) -> list[str] | None:
    """`text` as lines of blocks, each at most `columns` wide and together at most `rows` high.

    None where it cannot be done: no room for letters that can be read, or no font that has these letters.
    """
    faces = (font,) if font else (*FACES, None)
    face = next((face for face in faces if _has(face, text)), "")
    if face == "" or not text.strip():
        return None
    low, high, best = SMALLEST, LARGEST, None
    while low <= high:  # the largest size that fits
        size = (low + high) // 2
        lines = _lines(text, face, size, columns)
        if lines is not None and len(lines) * _height(face, size) <= rows * 2:
            best, low = (size, lines), size + 1
        else:
            high = size - 1
    return None if best is None else _drawn(best[1], face, best[0], columns)


def _lines(text: str, face: str | None, size: int, columns: int) -> list[str] | None:
    """Broken between words; None where a word is too wide."""
    font = _font(face, size)
    assert font is not None
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= columns:
            lines[-1] = longer
        elif font.getlength(word) <= columns:
            lines.append(word)
        else:
            return None
    return lines


def _drawn(lines: list[str], face: str | None, size: int, columns: int) -> list[str]:
    from PIL import Image, ImageDraw

    font, step = _font(face, size), _height(face, size)
    image = Image.new("1", (columns, len(lines) * step + len(lines) * step % 2), 0)
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"  # no grey: two colours are all that a block has
    for number, line in enumerate(lines):
        draw.text((columns / 2, number * step), line, fill=1, font=font, anchor="ma")
    pixels = image.tobytes()
    row = (columns + 7) // 8  # bytes

    def lit(x: int, y: int) -> int:
        return pixels[y * row + x // 8] >> (7 - x % 8) & 1

    return [
        "".join(_BLOCKS[lit(x, y) + 2 * lit(x, y + 1)] for x in range(columns)).rstrip()
        for y in range(0, image.height, 2)
    ]


@cache
def _font(face: str | None, size: int) -> FreeTypeFont | None:
    """The face of that name; for None the one that Pillow brings, which has ASCII only."""
    from PIL import ImageFont

    try:
        found = ImageFont.load_default(size) if face is None else ImageFont.truetype(face, size)
    except (OSError, ImportError):
        return None
    return found if isinstance(found, ImageFont.FreeTypeFont) else None


def _height(face: str | None, size: int) -> int:
    """Of a line, in pixels: a little tighter than the face asks for, which leaves room for larger letters."""
    font = _font(face, size)
    assert font is not None
    return max(size, sum(font.getmetrics()) - 1)


def _has(face: str | None, text: str) -> bool:
    """Whether the face has all letters: what it lacks looks as something that no font has."""
    font = _font(face, SMALLEST)
    if font is None:
        return False
    lacking = bytes(font.getmask("\uffff"))
    return not any(bytes(font.getmask(char)) == lacking for char in set(text) if not char.isspace())
