"""How well a streaming model says what its teacher says, and what is true; also by frames since its reset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.recognition.families.streaming_timesformer import StreamingTimesformer
from streamer.training.distillation import UNKNOWN, Stretch
from streamer.training.evaluation_report import percent, table


class _Shares:
    """Counts of ticks, and of those on which two agree."""

    def __init__(self) -> None:
        self.counts = {name: [0, 0] for name in ("agree", "right", "teacher_right")}

    def add(self, best: NDArray[Any], scores: NDArray[Any], labels: NDArray[Any]) -> None:
        """Of ticks: the student's best label (N,), the teacher's scores (N, L), the truth (N,)."""
        taught, known = ~np.isnan(scores[:, 0]), labels != UNKNOWN
        teacher = np.where(taught, np.nan_to_num(scores).argmax(-1), UNKNOWN)
        for name, said, wanted, counted in (
            ("agree", best, teacher, taught),
            ("right", best, labels, taught & known),
            ("teacher_right", teacher, labels, taught & known),
        ):
            self.counts[name][0] += int((said == wanted)[counted].sum())
            self.counts[name][1] += int(counted.sum())

    def shares(self) -> dict[str, Any]:
        """None where nothing was counted."""
        found: dict[str, Any] = {
            name: round(hits / ticks, 4) if ticks else None for name, (hits, ticks) in self.counts.items()
        }
        return {**found, "ticks": self.counts["agree"][1], "known_ticks": self.counts["right"][1]}


def measure_agreement(
    student: StreamingTimesformer,
    stretches: Iterable[Stretch],
    pixels: Callable[[torch.Tensor], torch.Tensor],
    *,
    by_frames: bool = True,
) -> dict[str, Any]:
    """Shares of the ticks for which the teacher has a whole window.

    Args:
        stretches: with the teacher's scores; the student begins each one cold.
        pixels: uint8 (B, S, H, W, 3) -> float32 (B, S, C, H, W), normalised.
        by_frames: also begin it cold every 2T ticks, for the table by frames since the reset.

    Returns:
        agree, right, teacher_right (None: nothing is known), ticks, known_ticks; `by_frames`: the same for
        the frame number 1, 2, 4, T and 2T since the reset.
    """
    ages = student.ages
    overall, since = _Shares(), {count: _Shares() for count in sorted({1, 2, 4, ages, 2 * ages})}
    for stretch in stretches:
        best = _best(student, pixels, stretch.frames)
        overall.add(best, stretch.scores, stretch.labels)
        if not by_frames:
            continue
        for start in range(0, len(stretch.frames) - 2 * ages + 1, 2 * ages):
            best = _best(student, pixels, stretch.frames[start : start + 2 * ages])
            for count, shares in since.items():
                at = slice(start + count - 1, start + count)
                shares.add(best[count - 1 : count], stretch.scores[at], stretch.labels[at])
    found = overall.shares()
    if by_frames:
        found["by_frames"] = {str(count): shares.shares() for count, shares in since.items()}
    return found


def _best(student: StreamingTimesformer, pixels: Callable[[Any], Any], frames: NDArray[Any]) -> NDArray[Any]:
    with torch.inference_mode():
        logits = student.parallel(pixels(torch.from_numpy(np.ascontiguousarray(frames))[None]))
    best: NDArray[Any] = logits[0].float().cpu().argmax(-1).numpy()
    return best


def agreement_line(found: Mapping[str, Any]) -> str:
    """One line for people."""
    line = f"agrees with its teacher on {percent(found['agree'])} of {found['ticks']} held-out ticks"
    if found["known_ticks"]:
        line += f"; right {percent(found['right'])}, the teacher {percent(found['teacher_right'])}"
    return line


def agreement_lines(found: Mapping[str, Any]) -> list[str]:
    """That line, and the table by frames since the reset."""
    rows = [
        [count, str(n["ticks"]), percent(n["agree"]), percent(n["right"]), percent(n["teacher_right"])]
        for count, n in found["by_frames"].items()
    ]
    head = ["frames since the reset", "ticks", "agrees", "right", "teacher right"]
    return [agreement_line(found), *table(head, rows)]
