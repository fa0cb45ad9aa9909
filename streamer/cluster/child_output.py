"""The pipes of a child that answers in lines of JSON."""

from __future__ import annotations

import os
import sys
from typing import IO


def private_output() -> IO[str]:
    """Standard output for us alone: what libraries print there would be taken for answers."""
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    return kept
