"""Names and labels from outside, in characters that every terminal draws equally wide. No heavy imports."""

from __future__ import annotations

import unicodedata

from streamer.system.terminal_text import printable


def steady(text: str) -> str:
    """`text` on one line, of characters whose width every terminal agrees on.

    Joined emoji, skin tones, flags and variation selectors take another width in each terminal, and one
    wrong width moves the whole line: they are shown as their plain parts (a flag as its two letters).
    """
    if text.isascii() and text.isprintable():
        return text
    kept = []
    for char in text:
        code = ord(char)
        if 0x1F1E6 <= code <= 0x1F1FF:
            kept.append(chr(code - 0x1F1E6 + ord("A")))
        elif 0x1F3FB <= code <= 0x1F3FF or 0xFE00 <= code <= 0xFE0F or 0xE0000 <= code <= 0xE01EF:
            continue
        elif unicodedata.category(char) != "Cf":
            kept.append(char)
    return printable("".join(kept))


def isolated(text: str) -> str:
    """`text` between isolation marks where it holds right-to-left letters, so that it turns only itself."""
    if not text.isascii() and any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in text):
        return f"\u2068{text}\u2069"
    return text
