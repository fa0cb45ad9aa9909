"""How much faster two processes are than one. With -m soak -s the figures of docs/archive.md are printed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from statistics import median

import pytest

from tests.helpers.archive_parts import COMMAND, lines_of, recordings, said

pytestmark = [
    pytest.mark.soak,
    pytest.mark.realtime,
    pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="binds processes to cores, as Linux can"),
]

FILES, ROUNDS = 100, 3


def played(clips: list[Path], out: Path, cores: list[int]) -> tuple[float, float]:
    """(seconds that the archive took, seconds of a core that it used), a process on each of `cores`."""
    before = os.times()
    subprocess.run(
        [*COMMAND, *map(str, clips), "-o", str(out), "--workers", str(len(cores))],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return json.loads((out / "report.json").read_text())["took"], used


@pytest.mark.timeout(3000)
def test_two_processes_are_nearly_twice_as_fast(tmp_path: Path) -> None:
    """In turns, because the machine may have other things to do."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        pytest.skip("there is one core")
    made = recordings(tmp_path / "made", 4, seconds=6.0)
    clips = [tmp_path / f"clip{number}.mp4" for number in range(FILES)]
    for number, clip in enumerate(clips):
        shutil.copy(made[number % len(made)], clip)
    took: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for count in took:
            seconds, used = played(clips, tmp_path / f"out{count}", cores[:count])
            took[count].append(seconds)
            print(
                f"{count}: {seconds:.1f} s, {used:.1f} s of a core; load {os.getloadavg()[0]:.1f}", flush=True
            )
        for clip in clips:
            alone, together = (lines_of(tmp_path / f"out{n}" / f"{clip.name}.jsonl") for n in took)
            assert said(alone) == said(together), "the same to the last digit"
        for count in took:
            shutil.rmtree(tmp_path / f"out{count}")
    print(f"{median(took[1]) / median(took[2]):.2f} x as fast")
    assert median(took[2]) < median(took[1])
