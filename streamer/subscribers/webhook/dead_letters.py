"""Events that a receiver refused for good, in a file that people look at; bounded."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamer.system.terminal_text import printable_json

LARGEST = 16 * 1024 * 1024  # bytes; about 30,000 events


def append(path: Path, letter: Mapping[str, Any]) -> Path | None:
    """Write one line, on disk when this returns. Only the owner may read the file.

    A file that is full gets ".1" at its end, in the place of an earlier one, and another is begun: returns
    that path then. So at most twice LARGEST lies there, and the newest is kept. Raises OSError.
    """
    data = printable_json(json.dumps(letter, ensure_ascii=False)).encode("utf-8", "replace") + b"\n"
    moved = None
    if path.exists() and path.stat().st_size + len(data) > LARGEST:
        moved = path.with_name(f"{path.name}.1")
        os.replace(path, moved)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return moved
