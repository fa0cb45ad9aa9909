"""Distils the demo's window checkpoint into its streaming one.

python -m streamer.training.synthetic.stretches runs/stretches
python -m streamer.training.synthetic.distil_demo runs/stretches runs/validation --out runs/first
python -m streamer.training.synthetic.distil_demo runs/stretches runs/validation --out runs/streaming \
    --begin runs/first --steps 2800
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.demo import assets
from streamer.training.agreement import agreement_lines, measure_agreement
from streamer.training.distillation import UNKNOWN, Distiller, Settings, Stretch
from streamer.training.output import say
from streamer.training.streaming_training import begin, learn
from streamer.training.synthetic import motions, stream_windows
from streamer.training.synthetic.motions import LABELS, MIRRORED, UPSIDE_DOWN
from streamer.training.synthetic.small_timesformer import to_pixels
from streamer.training.teacher_answers import sooner

TICKS = 56
CHECKED_EVERY = 250  # steps


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
        self.look()

    def load(self, path: Path) -> Any:
        if path not in self.cache:
            with np.load(path) as file:
                self.cache[path] = {name: file[name] for name in file.files}
        return self.cache[path]

    def whole(self, path: Path) -> Stretch:
        """A whole scene as a stretch."""
        data = self.load(path)
        scores = data["scores"].astype(np.float32)
        labels = [self._label(data["truth"], float(t) - stream_windows.MOMENT) for t in data["times"]]
        return sooner(Stretch(data["frames"], scores, np.array(labels)), self.ahead)

    def all(self) -> Iterator[Stretch]:
        """Every scene whole."""
        return (self.whole(path) for path in self.files)

    def look(self) -> None:
        """Take in what was drawn meanwhile."""
        self.files[:] = sorted(self.folder.glob("[0-9]*.npz"))

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


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module's text."""
    from transformers import TimesformerForVideoClassification

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stretches", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--ahead", type=int, default=1)
    parser.add_argument("--truth", type=float, default=0.5)
    parser.add_argument("--begin", type=Path, help="an earlier run, whose averaged weights are trained on")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many")
    args = parser.parse_args(arguments)
    model = TimesformerForVideoClassification.from_pretrained(assets.checkpoint_path()).eval()
    source = Scenes(args.stretches, ahead=args.ahead, labelled=args.truth > 0)
    check = Scenes(args.validation, ahead=args.ahead)
    settings = Settings(steps=args.steps, batch=args.batch, truth=args.truth)
    if args.begin is not None:  # the weights by age have found their place, and the average is good already
        settings = replace(settings, age_rate=1e-2, warmup=60, smoothing=0.998, seed=21)
    distiller = Distiller(model, source, to_pixels, settings, args.out)
    resumed = begin(distiller, model, motions.FRAMES, resume=True)
    if args.begin is not None and not resumed:
        distiller.begin_with(args.begin)
    began = time.monotonic()

    def over() -> bool:
        source.look()
        return bool(time.monotonic() - began > 60 * args.minutes)

    learn(distiller, check.all, CHECKED_EVERY, say, resumed, over)
    print("\n".join(agreement_lines(measure_agreement(distiller.average, check.all(), to_pixels))))


if __name__ == "__main__":
    main()
