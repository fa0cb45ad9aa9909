"""All that a training run depends on, and what a checkpoint says of itself to streamer."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from streamer.errors import DatasetError
from streamer.system.atomic_files import write_atomically

METRICS = ("macro_f1", "top1", "top5", "loss")
MAY_CHANGE = ("workers", "device")  # on resuming: they do not change the result


@dataclass(frozen=True, slots=True)
class Recipe:
    """Options of `streamer train`. The same recipe on the same data gives the same checkpoint."""

    dataset: str
    model: str
    interval: float | None = None  # seconds; None: the checkpoint's own
    lag: float = 0.0  # seconds before a clip's end of which its label speaks; 0: of the whole clip
    epochs: int = 20
    max_steps: int = -1  # -1: as many as `epochs` take
    batch: int = 8
    accumulate: int = 1  # batches for one step
    lr: float = 3e-4  # of the head, and of the last layer
    layer_decay: float = 0.8  # factor from each layer to the one before
    weight_decay: float = 0.05
    warmup: float = 0.1  # part of the steps
    label_smoothing: float = 0.0
    freeze: bool = False  # train the head only
    bf16: bool = False
    checkpointing: bool = False  # compute activations twice, keep few
    balance: bool = False  # draw all labels equally often
    augment: bool = True
    flip: str = "auto"  # auto: unless a label names a side
    metric: str = "macro_f1"  # chooses the best weights
    patience: int = 6  # checks without progress before it stops; 0: never
    save_steps: int = 0  # check and save every so many steps; 0: after each epoch
    views: int = 3  # windows of a clip in the final measurement
    seed: int = 0
    group: str | None = None
    allow_leak: bool = False
    background: tuple[str, ...] | None = None
    workers: int = 2
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class StreamingRecipe:
    """Options of `streamer train --streaming`. The same recipe on the same data gives the same checkpoint."""

    dataset: tuple[str, ...]
    model: str
    interval: float | None = None  # seconds; None: the checkpoint's own
    steps: int = 2000
    batch: int = 8  # stretches
    ahead: int = 0  # ticks by which the student says sooner what its teacher would
    lr: float = 4e-4  # of the weights that it takes over
    save_steps: int = 0  # check and save every so many steps; 0: ten times in all
    bf16: bool = False
    flip: str = "auto"  # auto: unless a label names a side
    seed: int = 0
    group: str | None = None
    allow_leak: bool = False
    background: tuple[str, ...] | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"


AnyRecipe = Recipe | StreamingRecipe


def save_recipe(recipe: AnyRecipe, split: str, path: Path) -> None:
    """Write it beside what a run keeps, with the split's hash. Raises OSError."""
    write_atomically(path, json.dumps({**asdict(recipe), "split": split}, indent=1) + "\n")


def check_same(recipe: AnyRecipe, split: str, path: Path) -> None:
    """Refuse to go on with another recipe or other data than a run began with.

    Raises:
        DatasetError: they differ, or the file cannot be read.
    """
    try:
        before = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}): begin anew in another folder") from error
    now = json.loads(json.dumps({**asdict(recipe), "split": split}))
    differ = [key for key in now if key not in MAY_CHANGE and before.get(key) != now[key]]
    if not {"epochs", "ahead"} & before.keys() & now.keys():
        raise DatasetError(
            f"{path.parent.parent} was begun {'without' if 'ahead' in now else 'with'} --streaming: go on "
            "so, or begin anew in another folder"
        )
    if "split" in differ:
        shown = recipe.dataset if isinstance(recipe.dataset, str) else ", ".join(recipe.dataset)
        raise DatasetError(
            f"{shown} has changed since {path.parent.parent} was begun (clips, labels or split); "
            "begin anew in another folder"
        )
    if differ:
        shown = ", ".join(f"{key} {before.get(key)!r} then, {now[key]!r} now" for key in differ)
        raise DatasetError(f"--resume continues with the options that it began with; they differ: {shown}")


def own_background(model_id: str) -> tuple[str, ...]:
    """The labels that a checkpoint itself calls background (streamer.background in its config.json)."""
    from streamer.recognition.checkpoints.checkpoint import open_checkpoint
    from streamer.recognition.checkpoints.metadata import background_in

    return background_in(open_checkpoint(model_id, download=False).own)
