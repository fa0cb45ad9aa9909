"""Ending well when the reader of our output leaves (`| head`) or the user presses Ctrl+C."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

INTERRUPTED = 130


@dataclass(slots=True)
class Ended:
    """How it ended: the exit code."""

    code: int = 0


@contextmanager
def quiet_end() -> Iterator[Ended]:
    """A reader that leaves is a normal end (0); Ctrl+C ends with 130; neither shows a traceback."""
    ended = Ended()
    try:
        yield ended
    except BrokenPipeError:
        # the interpreter flushes stdout once more at its end: let it flush into nothing
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        ended.code = INTERRUPTED
