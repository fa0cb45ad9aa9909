"""One way of computing, and its timed rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(slots=True)
class Runner:
    """One way of computing, and what was seen of it. `run(pictures, windows)` -> scores (N, L)."""

    way: str
    engine: str
    precision: str
    run: Callable[[list[list[NDArray[Any]]], list[Any]], Timed]
    memory_mb: float | None
    gflop: float  # of a window, or of a hop
    same: bool = True  # it shall give the scores of transformers' model
    rounds: list[Timed] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.way} {self.engine} {self.precision}"


@dataclass(frozen=True, slots=True)
class Timed:
    """One round: the windows of all cameras."""

    scores: NDArray[Any]  # (N, L)
    preprocess: float  # seconds, all windows
    model: float
    delays: tuple[float, ...]  # seconds from the start to each window's scores

    @property
    def seconds(self) -> float:
        return self.preprocess + self.model
