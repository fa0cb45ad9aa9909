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
