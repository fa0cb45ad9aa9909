"""Foreign text on a terminal, in a log or in a line of JSON: it must not steer the terminal or forge lines.

Labels, cameras' names and headers, servers' error texts come from outside. What is dangerous in them: control
characters (escape sequences begin with U+001B, or with U+009B alone), line ends of any script, half
surrogates, and marks that turn the writing direction of what stands around them.
"""

from __future__ import annotations

import re

JOINERS = "\u200c\u200d"  # within Persian and Indic words and emoji they steer nothing
_UNPRINTABLE_JSON = re.compile(r"[^\x20-\x7e]")


def printable(text: str, most: int | None = None) -> str:
    """`text` on one line: white space becomes a space, every other character that cannot be printed U+FFFD.

    Args:
        most: characters; longer text is cut, with "..." at its end. Cut before anything else looks at it.
    """
    if most is not None and len(text) > most:
        text = text[: max(0, most - 3)] + "..."
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or _joins(text, i) else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}"
        for i, c in enumerate(text)
    )


def _joins(text: str, i: int) -> bool:
    """A joiner with something to join: elsewhere it only makes two texts look like one, or none at all."""
    if text[i] not in JOINERS or not 0 < i < len(text) - 1:
        return False
    around = text[i - 1] + text[i + 1]
    return around.isprintable() and " " not in around and not around.isascii()


def printable_json(line: str) -> str:
    """A JSON text, in which the same characters are written as \\uXXXX: it still says the same."""
    return line if line.isprintable() else _UNPRINTABLE_JSON.sub(_escaped, line)


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    if char.isprintable():
        return char
    data = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[i]:02x}{data[i + 1]:02x}" for i in range(0, len(data), 2))
