"""What a benchmark is asked and what it answers; no heavy imports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    model: str | None  # None: TimeSformer-base with random weights
    device: str
    clip: Path | None  # None: the bundled clip
    size: tuple[int, int]  # (H, W) of the frames
    rounds: int
    cameras: tuple[int, ...]  # rising
    engines: tuple[str, ...]
    precisions: tuple[str, ...]
    threads: int | None = None  # None: as the recognizer sets them
    strong: bool = False  # transformers with SDPA, and compiled, too


@dataclass(frozen=True, slots=True)
class Result:
    """One way with a number of cameras; times are medians."""

    way: str  # "transformers", "streamer" or "streaming"
    engine: str
    precision: str
    cameras: int
    windows_per_s: float
    ratio: float  # median over rounds of windows/s to the transformers way's, same round
    spread: float  # of the ratio: half the distance between its quartiles
    preprocess_ms: float
    model_ms: float
    p50_ms: float  # from asking to the scores of a window
    p95_ms: float
    top1_agreement: float | None  # with the transformers way, 0 to 1; None: another model
    score_error: float | None  # |scores - theirs| / |theirs|
    peak_fraction: float | None  # of the machine's measured GEMM peak, at this precision
    memory_mb: float | None  # by which building and running it raised the process's (or the GPU's) peak


@dataclass(frozen=True, slots=True)
class Report:
    """All of a run."""

    machine: Mapping[str, Any]
    model: Mapping[str, Any]
    results: tuple[Result, ...] = field(default=())
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The command's `--json` object."""
        return {
            "machine": dict(self.machine),
            "model": dict(self.model),
            "results": [asdict(result) for result in self.results],
            "notes": list(self.notes),
        }
