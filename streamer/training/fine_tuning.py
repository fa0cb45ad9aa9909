"""Fine-tuning a video-classification checkpoint, from a data set to a measured checkpoint.

OUT/                 a plain transformers checkpoint with its processor, a model card, metrics.json,
                     confusion.csv and .png, split.csv (which clip was on which side)
OUT/run/             what a run needs to go on after a kill; its checkpoints go when it is finished
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import ConfigError, DatasetError, ModelLoadError
from streamer.training.output import say
from streamer.training.recipe import Recipe

if TYPE_CHECKING:
    from streamer.training.clips import TimedClip
    from streamer.training.dataset_layout import Clip
    from streamer.training.starting_checkpoint import StartingCheckpoint

COPIES = 10  # times the weights: three checkpoints with AdamW's two averages, and the result


def train(recipe: Recipe, out: Path, *, resume: bool = False) -> dict[str, Any]:
    """The whole of `streamer train` as a function; returns what metrics.json holds.

    Raises:
        DatasetError, ModelLoadError, OSError (disk full, for one).
    """
    from streamer.training.recipe import check_same, save_recipe
    from streamer.training.starting_checkpoint import open_starting_checkpoint

    base = open_starting_checkpoint(recipe.model, recipe.interval)
    if base.checkpoint.own.get("streaming"):
        raise ModelLoadError(
            f"{base.checkpoint.name} is a streaming model: fine-tune the window model that it was made from, "
            "then distil that (train --streaming)"
        )
    if recipe.lag > base.sampling.span:
        raise ConfigError(f"--lag {recipe.lag:g}: a window spans {base.sampling.span:g} s; give 0 to that")
    timed_clips, split, notes = prepare(recipe, out)
    if timed_clips["train"][0].clip.path.suffix.lower() in _pictures() and not base.single:
        raise DatasetError(
            f"{recipe.dataset} holds single pictures, and {base.checkpoint.name} looks at "
            f"{base.sampling.frames} frames: take a model of pictures (ViT, ConvNeXT, ...), or videos"
        )
    for note in (*base.notes, *notes, *_short(timed_clips["train"], base)):
        say(note)
    if resume:
        check_same(recipe, split, out / "run" / "recipe.json")
    else:
        save_recipe(recipe, split, out / "run" / "recipe.json")
    _save_split(out / "split.csv", timed_clips)
    return _fit(recipe, base, timed_clips, split, out)


def _pictures() -> tuple[str, ...]:
    from streamer.training.dataset_layout import IMAGE_SUFFIXES

    return IMAGE_SUFFIXES


def prepare(recipe: Recipe, out: Path) -> tuple[dict[str, list[TimedClip]], str, list[str]]:
    """Readable clips by side of the split, the split's hash, and what the user should know.

    Raises:
        DatasetError: the data cannot be used.
    """
    from streamer.training.clips import find_timed_clips, open_dataset
    from streamer.training.dataset_layout import (
        check_leak,
        join_copies,
        split_by_group,
        split_hash,
        too_small,
    )

    layout, scanned = open_dataset(Path(recipe.dataset), recipe.group, out / "run" / "videos.json", say)
    digests = {path: found.digest for path, found in scanned.items()}
    found, more = find_timed_clips(layout.clips, scanned)
    notes = [*layout.notes, *more]
    clips, copies = join_copies([timed_clip.clip for timed_clip in found], digests)
    if copies:
        notes.append(f"{copies} files are copies of others; copies stay on one side of the split")
    notes += check_leak(clips, allowed=recipe.allow_leak)
    clips = split_by_group(clips, recipe.seed)
    sides: dict[str, list[TimedClip]] = {"train": [], "val": [], "test": []}
    for timed_clip, clip in zip(found, clips, strict=True):
        sides[clip.split].append(replace(timed_clip, clip=clip))
    counted = ", ".join(f"{len(part)} {name}" for name, part in sides.items())
    labels = len({clip.label for clip in clips})
    notes += [f"{labels} labels; clips: {counted}", *too_small(clips)]
    return sides, split_hash(_by_name(clips), digests), notes


def _by_name(clips: Sequence[Clip]) -> list[Clip]:
    return sorted(clips, key=lambda clip: (clip.split, clip.label, str(clip.path)))


def _short(timed_clips: Sequence[TimedClip], base: StartingCheckpoint) -> list[str]:
    span = base.sampling.span
    short = sum(
        timed_clip.end - timed_clip.start < span - base.sampling.interval / 2 for timed_clip in timed_clips
    )
    if not short or base.single:
        return []
    return [
        f"{short} of {len(timed_clips)} training clips are shorter than the model's span of {span:.1f} s: "
        "their first and last frames stand still for the rest (a smaller --interval would fit)"
    ]


def _save_split(path: Path, timed_clips: dict[str, list[TimedClip]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "label", "start", "end", "split", "group"])
        for clip in (timed_clip.clip for part in timed_clips.values() for timed_clip in part):
            start, end = ("" if value is None else value for value in (clip.start, clip.end))
            writer.writerow([clip.path.absolute(), clip.label, start, end, clip.split, clip.group])


def _fit(
    recipe: Recipe, base: StartingCheckpoint, timed_clips: dict[str, list[TimedClip]], split: str, out: Path
) -> dict[str, Any]:
    import torch
    from transformers import set_seed

    from streamer.training.clip_sampling import ClipDataset, ClipSettings
    from streamer.training.clips import Augmentation, names_a_side
    from streamer.training.final_report import finish
    from streamer.training.ground_truth import background_of
    from streamer.training.starting_checkpoint import copy_processor, load_model
    from streamer.training.trainer import ProgressReporter, last_checkpoint, make_trainer

    labels = tuple(sorted({timed_clip.clip.label for timed_clip in timed_clips["train"]}))
    flip = recipe.flip == "on" or (recipe.flip == "auto" and not names_a_side(labels))
    own = {
        "interval": base.sampling.interval, "frames": base.sampling.frames, "licence": base.licence,
        "background": list(background_of(labels, recipe.background)), "base": base.checkpoint.name,
        "split": split, "lag": recipe.lag or None,
    }  # fmt: skip
    set_seed(recipe.seed)
    if recipe.workers:  # more threads than cores wait for each other
        torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) - recipe.workers)))
    model = load_model(base, labels, {key: value for key, value in own.items() if value is not None})
    _check_room(out, sum(p.numel() for p in model.parameters()))
    change = Augmentation(flip=flip) if recipe.augment else None
    view = ClipSettings(base.sampling, base.preprocessor, labels, recipe.seed, base.single, change)
    data = (
        ClipDataset(timed_clips["train"], view),
        ClipDataset(timed_clips["val"], replace(view, change=None)),
    )
    reporter = ProgressReporter(say)
    trainer = make_trainer(recipe, model, data, out / "run", reporter)
    resumed = last_checkpoint(out / "run")
    if resumed is not None:
        say(f"continuing from {resumed.name}")
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    trainer.model.save_pretrained(out)
    copy_processor(base, out)
    metrics = finish(recipe, base, timed_clips, (split, reporter, trainer.state), out)
    for path in (out / "run").glob("checkpoint-*"):
        shutil.rmtree(path, ignore_errors=True)
    return metrics


def _check_room(out: Path, parameters: int) -> None:
    """Refuse early what would fill the disk hours later."""
    needed, free = COPIES * 4 * parameters, shutil.disk_usage(out).free
    if free < needed:
        raise DatasetError(
            f"the disk of {out} has {free / 1e9:.1f} GB free, this run needs about {needed / 1e9:.1f} GB "
            "(weights, optimiser and copies of both): free some, or name a folder on another disk"
        )
