"""Names and labels from outside, made safe to show. No heavy imports."""

from __future__ import annotations

import unicodedata

# Marks that reorder what stands around them; a name must not do that to its neighbours.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(text: str) -> str:
    """`text` on one line: no control characters, no half surrogates, no marks of writing direction."""
    if text.isascii() and text.isprintable():
        return text
    kept = []
    for char in text:
        category = unicodedata.category(char)
        if char.isspace() or category in ("Zl", "Zp"):
            kept.append(" ")
        elif category == "Cs":
            kept.append("\ufffd")
        elif category != "Cc" and char not in _BIDI:
            kept.append(char)
    return "".join(kept)


def steady(text: str) -> str:
    """`clean`, and only characters whose width every terminal agrees on.

    Joined emoji, skin tones, flags and variation selectors take another width in each terminal, and one
    wrong width moves the whole line: they are shown as their plain parts (a flag as its two letters).
    """
    if text.isascii() and text.isprintable():
        return text
    kept = []
    for char in clean(text):
        code = ord(char)
        if 0x1F1E6 <= code <= 0x1F1FF:
            kept.append(chr(code - 0x1F1E6 + ord("A")))
        elif 0x1F3FB <= code <= 0x1F3FF or 0xFE00 <= code <= 0xFE0F or 0xE0000 <= code <= 0xE01EF:
            continue
        elif unicodedata.category(char) != "Cf":
            kept.append(char)
    return "".join(kept)


def isolated(text: str) -> str:
    """`text` between isolation marks where it holds right-to-left letters, so that it turns only itself."""
    if not text.isascii() and any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in text):
        return f"\u2068{text}\u2069"
    return text
