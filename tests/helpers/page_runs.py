"""Runs of the program with its page beside it (`streamer run … --web 0`), for tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import warm_processes

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--bind", "tcp://127.0.0.1:0", "--set", "journal.path=", "--ui", "plain"]


class Run:
    """A run with its page, and what it says."""

    def __init__(self, *words: str) -> None:
        self.process = warm_processes.start(
            [sys.executable, "-m", "streamer", "run", *words, *QUICK],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        self.said: list[str] = []

    def line(self, words: str) -> str:
        """The next line with these words in it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"{words!r} was not said: {self.said}")

    def page(self) -> str:
        return self.line("the page is at ").rpartition(" ")[2].strip()


@pytest.fixture
def start() -> Iterator[Any]:
    runs: list[Run] = []

    def make(*words: str) -> Run:
        runs.append(Run(*words))
        return runs[-1]

    yield make
    for one in runs:
        one.process.kill()
        one.process.communicate()
