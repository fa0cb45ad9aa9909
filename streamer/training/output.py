"""Folders and files that training and measuring write, and what they tell people meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

from streamer.errors import DatasetError
from streamer.system.private_files import private_folder
from streamer.system.terminal_text import printable


def make_folder(path: Path, *, private: bool = False) -> None:
    """Make a folder and those above it; `private`: new ones for their owner only.

    Raises:
        DatasetError: it cannot be made.
    """
    try:
        if private:
            private_folder(path)
        else:
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"the folder {path} cannot be made: {error.strerror or error}") from error


def save_text(path: Path, text: str) -> None:
    """Raises DatasetError where it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{path} cannot be written: {error.strerror or error}") from error


def say(text: str) -> None:
    """One line for people, on standard error: progress is never part of a result."""
    print(f"streamer: {printable(text)}", file=sys.stderr, flush=True)
