"""Lines for people on stderr, beside the product of a command."""

from __future__ import annotations

import sys
from pathlib import Path

from streamer.system.private_files import exposure, open_to_others
from streamer.system.redaction import redact
from streamer.system.terminal_text import printable


def print_line(line: str) -> None:
    """One line, without secrets and without control characters."""
    print(printable(redact(line)), file=sys.stderr, flush=True)


def warn_if_exposed(path: Path | None, subject: str) -> None:
    """A line where others on this machine can read a file that should be private."""
    if path is not None and open_to_others(path):
        print_line(exposure(path, subject))
