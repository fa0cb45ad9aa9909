"""`streamer train DATASET --model ID_OR_DIR -o OUT`: fine-tune a video-classification checkpoint.

OUT/                 a plain transformers checkpoint with its processor, a model card, metrics.json,
                     confusion.csv and .png, split.csv (which clip was on which side)
OUT/run/             what a run needs to go on after a kill; its checkpoints go when it is finished
"""

from __future__ import annotations

import argparse
import csv
import errno
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import ConfigError, DatasetError, ModelLoadError
from streamer.training.evaluation import make_folder, say
from streamer.training.recipe import METRICS, Recipe

if TYPE_CHECKING:
    from streamer.training.clips import TimedClip
    from streamer.training.dataset_layout import Clip
    from streamer.training.starting_checkpoint import StartingCheckpoint

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
COPIES = 10  # times the weights: three checkpoints with AdamW's two averages, and the result
LEAST = {
    "epochs": 1, "batch": 1, "accumulate": 1, "views": 1, "patience": 0, "save_steps": 0, "seed": 0,
    "workers": 0, "lr": 1e-9, "layer_decay": 1e-3, "lag": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0,
}  # fmt: skip
_DEFAULT = Recipe(dataset="", model="demo")

# option, field of the recipe, kind, help
_NUMBERS: tuple[tuple[str, str, type, str], ...] = (
    ("--interval", "interval", float, "seconds between two frames (default: the checkpoint's own)"),
    (
        "--lag",
        "lag",
        float,
        "seconds before a clip's end of which its label speaks, such as 0.45 for "
        "`demo dataset --windows`; 0: of the whole clip",
    ),
    ("--epochs", "epochs", int, "times through the data"),
    ("--max-steps", "max_steps", int, "stop after so many steps instead"),
    ("--batch", "batch", int, "clips in a batch"),
    ("--accumulate", "accumulate", int, "batches in a step"),
    ("--lr", "lr", float, "learning rate of the head and of the last layer"),
    ("--layer-decay", "layer_decay", float, "factor of the learning rate from each layer to the one before"),
    ("--weight-decay", "weight_decay", float, "of AdamW"),
    ("--label-smoothing", "label_smoothing", float, "of the loss"),
    ("--patience", "patience", int, "checks without progress before it stops; 0: never"),
    ("--save-steps", "save_steps", int, "check and save every so many steps; 0: after each epoch"),
    ("--views", "views", int, "windows of a clip in the final measurement"),
    ("--seed", "seed", int, "of order, augmentation, split and head"),
    ("--workers", "workers", int, "processes that decode"),
)
_SWITCHES = (
    ("--freeze", "freeze", "train the head only"),
    ("--checkpointing", "checkpointing", "compute activations twice to save memory"),
    ("--balance", "balance", "draw all labels equally often"),
    ("--allow-leak", "allow_leak", "go on although the split has recordings on both sides"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "DATASET: a folder train/ val/ test/ of class folders with videos, class folders alone, or a CSV\n"
        "file with path,label and optionally start,end,split,group. docs/training.md has examples."
    )
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--model", required=True, metavar="ID_OR_DIR", help="checkpoint to start from")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="folder for the new checkpoint")
    for option, name, kind, text in _NUMBERS:
        default = getattr(_DEFAULT, name)
        shown = "" if default is None or "default" in text else f" ({default:g})"
        parser.add_argument(option, dest=name, type=kind, default=default, metavar="N", help=text + shown)
    for option, name, text in _SWITCHES:
        parser.add_argument(option, dest=name, action="store_true", help=text)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction,
                        help="compute in bfloat16 (default: on a GPU that can)")  # fmt: skip
    parser.add_argument("--augment", action=argparse.BooleanOptionalAction, default=True,
                        help="scale, crop, flip and recolour clips at random")  # fmt: skip
    parser.add_argument("--flip", choices=("auto", "on", "off"), default="auto",
                        help="mirror clips; auto: unless a label names a side")  # fmt: skip
    parser.add_argument("--metric", choices=METRICS, default=_DEFAULT.metric, help="chooses the best weights")
    parser.add_argument("--group", metavar="PATTERN", help="regular expression for a file's recording")
    parser.add_argument("--background", action="append", metavar="LABEL",
                        help="a label that means no action (default: idle, still, ...)")  # fmt: skip
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--resume", action="store_true", help="go on with the run in OUT")
    parser.add_argument("--push-to-hub", metavar="REPOSITORY", help="upload the finished checkpoint")


def run(args: argparse.Namespace) -> int:
    """Train, measure, and write the checkpoint.

    Raises:
        ConfigError, DatasetError, ModelLoadError: it cannot be done so.
    """
    recipe = _recipe(args)
    out = Path(args.out).expanduser()
    _check_out(out, args.resume)
    try:
        import_module("accelerate")
    except ImportError as error:
        raise ConfigError('training needs accelerate: pip install "streamer[train]"') from error
    from safetensors import SafetensorError
    from transformers.utils import logging as theirs

    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        train(recipe, out, resume=args.resume)
    except KeyboardInterrupt:
        say(f"interrupted; the same command with --resume goes on from {out / 'run'}")
        raise
    except (OSError, RuntimeError, SafetensorError, DatasetError) as error:
        raise _as_our_error(error, out) from error
    say(f"done: streamer run --model {out}")
    if args.push_to_hub:
        _push(out, args.push_to_hub)
    return 0


def _recipe(args: argparse.Namespace) -> Recipe:
    names = [name for _, name, _, _ in _NUMBERS] + [name for _, name, _ in _SWITCHES]
    values: dict[str, Any] = {name: getattr(args, name) for name in names}
    for name, least in LEAST.items():
        if not values[name] >= least:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {least:g}, not {values[name]:g}")
    if values["layer_decay"] > 1 or values["label_smoothing"] >= 1:
        raise ConfigError("--layer-decay is at most 1, --label-smoothing below 1")
    bf16 = args.bf16
    if bf16 is None:
        import torch

        bf16 = args.device != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return Recipe(
        dataset=str(Path(args.dataset).expanduser().resolve()), model=args.model, bf16=bf16,
        augment=args.augment, flip=args.flip, metric=args.metric, group=args.group, device=args.device,
        background=None if args.background is None else tuple(args.background), **values,
    )  # fmt: skip


def _check_out(out: Path, resume: bool) -> None:
    begun = (out / "run" / "recipe.json").exists()
    if (out / "metrics.json").exists() and resume:
        raise DatasetError(f"{out} is finished; there is nothing to go on with")
    if resume and not begun:
        raise DatasetError(f"{out} holds no run to go on with; leave --resume out")
    others = out.is_dir() and any(path.name != "run" for path in out.iterdir())
    if not resume and (begun or others):  # a run that ended before it began may be tried again
        raise DatasetError(
            f"{out} is not empty: " + ("--resume goes on with its run" if begun else "name a new folder")
        )
    make_folder(out / "run")


def train(recipe: Recipe, out: Path, *, resume: bool = False) -> dict[str, Any]:
    """The whole of `streamer train` as a function; returns what metrics.json holds.

    Raises:
        DatasetError, ModelLoadError, OSError (disk full, for one).
    """
    from streamer.training.recipe import check_same
    from streamer.training.starting_checkpoint import open_starting_checkpoint

    base = open_starting_checkpoint(recipe.model, recipe.interval)
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
        recipe.save(out / "run" / "recipe.json", split)
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
    from streamer.training.dataset_layout import check_leak, join_copies, split_by_group, split_hash

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
    notes.append(f"{labels} labels; clips: {counted}")
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
    from streamer.training.ground_truth import background_of
    from streamer.training.run_results import finish
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
        say(f"going on from {resumed.name}")
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


def _as_our_error(error: Exception, out: Path) -> Exception:
    """What went wrong as one of our errors, where it is one that a user can mend."""
    from streamer.training.trainer import own_error

    own = own_error(error)
    if own is not None:
        return own
    text = " ".join(str(error).split())
    code = getattr(error, "errno", None)
    full = code in DISK_ERRORS or any(
        word in text for word in ("No space left", "file write failed", "EFBIG")
    )
    if full or "PytorchStreamWriter" in text or "os error 28" in text or "os error 27" in text:
        return DatasetError(
            f"the disk of {out} is full ({shutil.disk_usage(out).free / 1e6:.0f} MB free) or limits files: "
            "free some space and go on with the same command and --resume"
        )
    if isinstance(error, OSError):
        return DatasetError(f"training stopped: {text}; go on with the same command and --resume")
    if "out of memory" in text.lower():
        return ModelLoadError(
            "the GPU's memory is too small for this batch: a smaller --batch with --accumulate, "
            "--checkpointing, or --device cpu"
        )
    return error


def _push(out: Path, repository: str) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().create_repo(repository, private=True, exist_ok=True)
        HfApi().upload_folder(repo_id=repository, folder_path=out, ignore_patterns=["run/*", "split.csv"])
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DatasetError(f"{out} is finished, but was not uploaded to {repository}: {reason}") from error
    say(f"uploaded to {repository} (private)")
