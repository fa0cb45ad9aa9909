"""Trains the demo checkpoint from scratch.

    python -m streamer.training.synthetic.train_demo --out runs/demo


First on clips that show one motion from end to end, from which motion is learnt fastest; then on those mixed
with windows cut from streams (`stream_windows.py`), in which motions begin and end: what a live camera shows.

Needs scikit-image for its photographs and PyAV (the extra ``demo``). Killed at any time it
goes on with ``--resume``. OUT/best holds the best weights so far; ``package_checkpoint.py`` puts them
into the package.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from streamer.system.atomic_files import replacing
from streamer.training.synthetic import motions, samples, stream_windows, training_batches
from streamer.training.synthetic import small_timesformer as model_module
from streamer.training.synthetic.small_timesformer import to_pixels


@dataclass(frozen=True)
class Recipe:
    """All that training depends on. ``minutes`` of computing on clips, then ``live_minutes`` on clips and
    windows, over all resumes, set the schedule; ``checks`` is how many validation clips, and how many
    windows, choose the best weights."""

    out: Path
    minutes: float = 57.0
    live_minutes: float = 75.0
    batch: int = 32
    rate: float = 1.2e-3
    live_rate: float = 7e-4
    windows: int = 20
    hidden: int = 192
    layers: int = 4
    patch: int = 16
    seed: int = 0
    hint: float = 1.0
    threads: int = 2
    bf16: bool = True
    easy_batches: int = 200
    save_seconds: float = 120.0
    checks: int = 480


class _Batches(IterableDataset[dict[str, Tensor]]):
    """Batches as tensors from number `first`, drawn in a process of their own; `live` ones have windows in
    the place of some clips."""

    def __init__(self, recipe: Recipe, first: int, live: bool) -> None:
        self.recipe, self.first, self.live = recipe, first, live

    def _mix(self, number: int) -> tuple[float, float]:
        """Easy clips alone at first, then harder ones by and by; easy ones remain to the end."""
        harder = (number - self.recipe.easy_batches) / (5 * self.recipe.easy_batches)
        return 0.0, min(1.0, max(0.15, 0.15 + 0.85 * harder))

    def __iter__(self) -> Any:
        import cv2

        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        recipe = self.recipe
        if self.live:
            yield from map(
                collate, training_batches.batches(recipe.seed, self.first, recipe.batch, recipe.windows)
            )
        else:
            yield from map(collate, samples.batches(recipe.seed, self.first, recipe.batch, self._mix))


def collate(batch: list[motions.Sample]) -> dict[str, Tensor]:
    """Samples -> clips (B, T, H, W, 3) uint8, labels (B,), visible (B,) float and tracks (B, 3, T, 3): the
    object's and two followers', far outside where there is none."""
    nowhere = np.full((2, *batch[0].track.shape), -9, np.float32)
    return {
        "clips": torch.from_numpy(np.stack([s.clip for s in batch])),
        "labels": torch.tensor([s.label for s in batch]),
        "tracks": torch.from_numpy(
            np.stack([np.stack([s.track, *s.followers, *nowhere])[:3] for s in batch]).astype(np.float32)
        ),
        "visible": torch.tensor([float(s.visible) for s in batch]),
    }


_STATEFUL = ("model", "hints", "average", "optimizer")
_PLAIN = ("step", "seconds", "best", "live", "began")


class Trainer:
    """Model, optimiser, averaged weights and progress; ``save`` and ``load`` keep all of it."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        config = model_module.make_config(recipe.hidden, recipe.layers, recipe.patch)
        self.model = model_module.make_model(config, recipe.seed)
        self.hints = model_module.AuxiliaryHeads(config)
        self.average = model_module.make_model(config, recipe.seed)
        parameters = [*self.model.parameters(), *self.hints.parameters()]
        self.optimizer = torch.optim.AdamW(
            parameters, recipe.rate, weight_decay=0.02, betas=(0.9, 0.98), fused=True
        )
        self.step, self.seconds, self.best = 0, 0.0, 0.0
        self.live, self.began = False, 0  # the second part, and the step it began at
        self.validation = [collate(samples.validation_set(recipe.checks))]

    def begin_second_part(self) -> None:
        """The second part begins: its schedule, and windows among what chooses the best weights."""
        if not self.live:
            self.live, self.began, self.best = True, self.step, 0.0
        self.validation[1:] = [collate(training_batches.validation_set(self.recipe.checks))]

    @property
    def progress(self) -> float:
        """Share of this part's time used, 0 to 1."""
        minutes = self.seconds / 60
        if self.live:
            return (minutes - self.recipe.minutes) / self.recipe.live_minutes
        return minutes / self.recipe.minutes

    def _rate(self) -> float:
        rate = self.recipe.live_rate if self.live else self.recipe.rate
        warm = min(1.0, (self.step - self.began + 1) / 200)
        return rate * warm * max(0.01, 0.5 * (1 + math.cos(math.pi * min(self.progress, 1.0))))

    def learn(self, batch: dict[str, Tensor]) -> tuple[float, float, float]:
        """One step. Returns the label loss, the hint loss and the share of right labels."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        pixels = to_pixels(batch["clips"])
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bf16):
            out = self.model.timesformer(pixels, output_hidden_states=True)
            logits = self.model.classifier(out.last_hidden_state[:, 0]).float()
        loss = torch.nn.functional.cross_entropy(logits, batch["labels"], label_smoothing=0.05)
        layers = len(out.hidden_states) - 1
        middle, late = (out.hidden_states[n].float() for n in (layers // 2, (3 * layers) // 4))
        hint = self.hints(middle, late, out.last_hidden_state.float(), batch)
        (loss + self.recipe.hint * hint).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._follow()
        right = (logits.argmax(-1) == batch["labels"]).float().mean()
        return loss.item(), hint.item(), right.item()

    def _follow(self) -> None:
        keep = min(0.999, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - keep)

    def validate(self) -> tuple[list[float], np.ndarray[Any, Any]]:
        """Accuracy of the averaged weights on unseen pictures: on clips and, in the second part, on windows;
        and the confusion matrix (truth by row) of the last."""
        found = [evaluate(self.average, batch) for batch in self.validation]
        return [accuracy for accuracy, _ in found], found[-1][1]

    def save(self) -> None:
        """Writes everything needed to go on, atomically."""
        self.recipe.out.mkdir(parents=True, exist_ok=True)
        state = {name: getattr(self, name).state_dict() for name in _STATEFUL}
        with replacing(self.recipe.out / "state.pt") as part:
            torch.save({**state, **{name: getattr(self, name) for name in _PLAIN}}, part)

    def load(self) -> None:
        """Goes on from ``save``. Raises FileNotFoundError when there is nothing to go on from."""
        state = torch.load(self.recipe.out / "state.pt", weights_only=True)
        for name in _STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        for name in _PLAIN:
            setattr(self, name, state[name])


def evaluate(model: Any, batch: dict[str, Tensor]) -> tuple[float, np.ndarray[Any, Any]]:
    """Accuracy of ``model`` on ``collate``'s batch and the confusion matrix (truth by row)."""
    kinds = len(motions.LABELS)
    matrix = np.zeros((kinds, kinds), int)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(batch["labels"]), 64):
            logits = model(pixel_values=to_pixels(batch["clips"][start : start + 64])).logits
            for truth, guess in zip(batch["labels"][start : start + 64], logits.argmax(-1), strict=True):
                matrix[int(truth), int(guess)] += 1
    return float(np.trace(matrix) / matrix.sum()), matrix


def train(recipe: Recipe, resume: bool) -> Trainer:
    """Trains until the time is used; prints progress; saves every two minutes and the best weights apart."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.set_num_threads(recipe.threads)
    trainer = Trainer(recipe)
    if resume and (recipe.out / "state.pt").exists():
        trainer.load()
        print(f"resumed at step {trainer.step}, {trainer.seconds / 60:.1f} min", flush=True)
    trainer.model.train()
    if not trainer.live and trainer.progress < 1:
        _part(trainer)
    if recipe.live_minutes > 0:
        trainer.begin_second_part()
        _part(trainer)
    return trainer


def _part(trainer: Trainer) -> None:
    """The clips, or the windows among them, until this part's time is used."""
    recipe = trainer.recipe
    loader = DataLoader(
        _Batches(recipe, trainer.step, trainer.live),
        batch_size=None,
        num_workers=1,
        prefetch_factor=40,  # windows come in blocks
        multiprocessing_context="spawn",  # a fork would inherit locks of other threads
    )
    mean, last, saved, waited, began = np.zeros(3), time.monotonic(), trainer.seconds, 0.0, trainer.step
    start = trainer.seconds
    for batch in loader:
        waited += time.monotonic() - last
        mean = 0.98 * mean + 0.02 * np.array(trainer.learn(batch))
        now = time.monotonic()
        trainer.seconds, last = trainer.seconds + now - last, now
        if trainer.step % 100 == 0:
            loss, hint, right = mean / (1 - 0.98 ** min(trainer.step - began, 10_000))
            spent = trainer.seconds - start
            when = f"step {trainer.step} {trainer.seconds / 60:.1f} min"
            pace = f"{(trainer.step - began) * recipe.batch / spent:.0f}/s, waiting {waited / spent:.0%}"
            print(f"{when} loss {loss:.3f} hint {hint:.3f} train {right:.3f} {pace}", flush=True)
        if trainer.seconds - saved > recipe.save_seconds or trainer.progress >= 1:
            saved = trainer.seconds
            _check(trainer)
            last = time.monotonic()
        if trainer.progress >= 1:
            break


def _check(trainer: Trainer) -> None:
    accuracies, matrix = trainer.validate()
    accuracy = sum(accuracies) / len(accuracies)
    each = " ".join(f"{accuracy:.3f}" for accuracy in accuracies)
    print(f"step {trainer.step} validation {each} (best {trainer.best:.3f})\n{matrix}", flush=True)
    if accuracy >= trainer.best:
        trainer.best = accuracy
        export(trainer, trainer.recipe.out / "best", accuracies)
    trainer.save()


def export(trainer: Trainer, folder: Path, accuracies: list[float]) -> None:
    """The averaged weights as a plain transformers checkpoint with its preprocessing."""
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    if trainer.live:  # what it says is what happens so long before a window's end
        trainer.average.config.streamer = {**trainer.average.config.streamer, "lag": stream_windows.MOMENT}
    trainer.average.save_pretrained(folder)
    processor = VideoMAEImageProcessorPil(
        size={"shortest_edge": motions.SIZE},
        crop_size={"height": motions.SIZE, "width": motions.SIZE},
        image_mean=[model_module.MEAN] * 3,
        image_std=[model_module.STD] * 3,
    )
    processor.save_pretrained(folder)
    recipe = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(trainer.recipe).items()}
    minutes = round(trainer.seconds / 60, 1)
    numbers = {"step": trainer.step, "minutes": minutes, "validation": [round(a, 4) for a in accuracies]}
    (folder / "training.json").write_text(json.dumps({**numbers, "recipe": recipe}, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module's docstring."""
    defaults = Recipe(Path("runs/demo"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="go on from OUT/state.pt")
    for name, value in asdict(defaults).items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=value)
        else:
            parser.add_argument(option, type=type(value) if name != "out" else Path, default=value)
    chosen = vars(parser.parse_args(arguments))
    resume = chosen.pop("resume")
    trainer = train(replace(defaults, **chosen), resume)
    print(f"done: step {trainer.step}, best validation {trainer.best:.3f}", flush=True)


if __name__ == "__main__":
    main()
