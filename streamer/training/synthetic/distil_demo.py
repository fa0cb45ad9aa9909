"""Distils the demo's window checkpoint into its streaming one.

python -m streamer.training.synthetic.stretches runs/stretches
python -m streamer.training.synthetic.distil_demo runs/stretches runs/validation --out runs/streaming
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.demo import assets
from streamer.training.distillation import UNKNOWN, Distiller, Settings, Stretch, start_tables
from streamer.training.synthetic import motions, stream_windows
from streamer.training.synthetic.motions import LABELS, MIRRORED, UPSIDE_DOWN
from streamer.training.synthetic.small_timesformer import to_pixels

TICKS = 56


def _exchanged(pairs: dict[int, int]) -> NDArray[np.int64]:
    return np.array([pairs.get(number, number) for number in range(len(LABELS))])


LEFT_RIGHT, UP_DOWN = _exchanged(MIRRORED), _exchanged(UPSIDE_DOWN)


@dataclass(frozen=True)
class Scenes:
    """Drawn scenes of a folder.

    Args:
        folder: of `stretches.py`.
        ticks: of a stretch.
        ahead: ticks by which the student shall be sooner than its teacher.
        labelled: give the truth too.
    """

    folder: Path
    ticks: int = TICKS
    ahead: int = 1
    labelled: bool = True
    files: list[Path] = field(default_factory=list)
    cache: dict[Path, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files.extend(sorted(self.folder.glob("*.npz")))

    def load(self, path: Path) -> Any:
        if path not in self.cache:
            with np.load(path) as file:
                self.cache[path] = {name: file[name] for name in file.files}
        return self.cache[path]

    def whole(self, path: Path) -> Stretch:
        """A whole scene as a stretch."""
        data = self.load(path)
        moment = stream_windows.MOMENT - self.ahead * motions.INTERVAL
        scores = np.full(data["scores"].shape, np.nan, np.float32)
        scores[: len(scores) - self.ahead] = data["scores"][self.ahead :]
        labels = np.array([self._label(data["truth"], float(t) - moment) for t in data["times"]])
        return Stretch(data["frames"], scores, labels)

    def _label(self, truth: NDArray[Any], at: float) -> int:
        if not self.labelled:
            return UNKNOWN
        if len(truth) and np.abs(truth[:, :2] - at).min() < stream_windows.UNSURE:
            return UNKNOWN
        for start, end, label in truth:
            if start <= at < end:
                return int(label)
        return motions.STILL

    def draw(self, rng: np.random.Generator) -> Stretch:
        """See `Source.draw`; mirrored and turned upside down at random."""
        scene = self.whole(self.files[int(rng.integers(len(self.files)))])
        first = int(rng.integers(len(scene.frames) - self.ticks + 1))
        part = slice(first, first + self.ticks)
        frames, scores, labels = scene.frames[part], scene.scores[part], scene.labels[part]
        if rng.random() < 0.5:
            frames, scores, labels = frames[:, :, ::-1], scores[:, LEFT_RIGHT], _turned(labels, LEFT_RIGHT)
        if rng.random() < 0.3:
            frames, scores, labels = frames[:, ::-1], scores[:, UP_DOWN], _turned(labels, UP_DOWN)
        return Stretch(frames, scores, labels)


def _turned(labels: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(labels == UNKNOWN, UNKNOWN, pairs[labels])


def measure(student: Any, scenes: Scenes, batch: int = 4) -> dict[str, float]:
    """Share of ticks on which the student agrees with its teacher, and on which it is right."""
    agree, agreed, right, known, sure = 0, 0, 0, 0, 0
    with torch.inference_mode():
        for start in range(0, len(scenes.files), batch):
            drawn = [scenes.whole(path) for path in scenes.files[start : start + batch]]
            length = min(len(s.frames) for s in drawn)
            logits = student.parallel(to_pixels(np.stack([s.frames[:length] for s in drawn])))
            best = logits.argmax(-1).numpy()
            for row, stretch in zip(best, drawn, strict=True):
                scores, labels = stretch.scores[:length], stretch.labels[:length]
                taught = ~np.isnan(scores[:, 0])
                agree += int((row == scores.argmax(-1))[taught].sum())
                agreed += int(taught.sum())
                right += int((row == labels)[labels != UNKNOWN].sum())
                both = taught & (labels != UNKNOWN)
                sure += int((scores.argmax(-1) == labels)[both].sum())
                known += int((labels != UNKNOWN).sum())
    return {"agree": agree / agreed, "right": right / max(1, known)}


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module's text."""
    from transformers import TimesformerForVideoClassification

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stretches", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--ahead", type=int, default=1)
    parser.add_argument("--truth", type=float, default=0.5)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many")
    args = parser.parse_args(arguments)
    torch.set_num_threads(2)
    model = TimesformerForVideoClassification.from_pretrained(assets.checkpoint_path()).eval()
    source = Scenes(args.stretches, ahead=args.ahead, labelled=args.truth > 0)
    check = Scenes(args.validation, ahead=args.ahead)
    settings = Settings(steps=args.steps, batch=args.batch, truth=args.truth)
    distiller = Distiller(model, source, to_pixels, settings, args.out)
    if (args.out / "state.pt").exists():
        distiller.load()
        print(f"resumed at step {distiller.step}", flush=True)
    else:
        rng = np.random.default_rng(0)
        windows = [source.draw(rng).frames[8:16] for _ in range(32)]
        start_tables(distiller.student, model, [to_pixels(np.stack(windows))])
        distiller.adopt()
        print("before", measure(distiller.average, check), flush=True)
    began, mean = time.monotonic(), 0.0
    for loss in distiller.run(lambda: time.monotonic() - began > 60 * args.minutes):
        mean = loss if not mean else 0.98 * mean + 0.02 * loss
        if distiller.step % 25 == 0:
            source.files[:] = sorted(args.stretches.glob("*.npz"))
            print(f"step {distiller.step} {distiller.seconds / 60:.1f} min loss {mean:.4f}", flush=True)
        if distiller.step % 250 == 0:
            print(f"step {distiller.step}", measure(distiller.average, check), flush=True)
    print("done", measure(distiller.average, check), flush=True)


if __name__ == "__main__":
    main()
