"""Line mode: one sentence per change, nothing else, ever. What screen readers and braille displays want."""

from __future__ import annotations

import textwrap
from datetime import datetime
from typing import TextIO

from streamer.labels.phrases import plain
from streamer.subscribers.narration.policy import Utterance

LEAST_WIDTH = 10  # cells


class LineWriter:
    """Writes sentences as lines of at most `width` characters (None: of any length), broken between words.

    No control codes, no redraw; each sentence is flushed. `times`: begin with the local time.
    """

    def __init__(self, out: TextIO, width: int | None = None, *, times: bool = False) -> None:
        self._out, self._width, self._times = out, width, times

    def write(self, utterance: Utterance) -> None:
        """One sentence. Raises OSError (BrokenPipeError where the reader has left)."""
        text = plain(utterance.text)
        if self._times:
            text = f"{datetime.fromtimestamp(utterance.at):%H:%M} {text}"
        for line in [text] if self._width is None else wrapped(text, self._width):
            self._out.write(f"{line}\n")
        self._out.flush()


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters; only a word that is longer by itself is cut."""
    return textwrap.wrap(text, width, break_on_hyphens=False)
