"""Files that are made once for a test run, whichever of its processes needs them first."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

FOLDER = (
    "TESTS_MADE_ONCE"  # environment variable: the run's folder, which tests/conftest.py makes and removes
)
SESSION = "TESTS_SESSION"  # environment variable: the process whose end is the run's
environment: dict[str, str] = {}  # as it was before libraries changed it


def once(name: str, make: Callable[[Path], Any]) -> Path:
    """The folder `name`, filled by `make` unless another process of this run has done so. Read only."""
    run = Path(os.environ[FOLDER])
    folder, done = run / name, run / f"{name}.done"
    with FileLock(run / f"{name}.lock"):
        if not done.exists():
            make(folder)
            done.touch()
    return folder
