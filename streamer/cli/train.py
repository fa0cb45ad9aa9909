"""`streamer train DATASET --model ID_OR_DIR -o OUT`: fine-tune a video-classification checkpoint.

With --streaming it distils a window model into a streaming one instead.
"""

from __future__ import annotations

import argparse
import errno
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from streamer.errors import ConfigError, DatasetError, ModelLoadError
from streamer.system.install_extras import need
from streamer.training.dataset_layout import read_layout
from streamer.training.output import make_folder, say
from streamer.training.recipe import METRICS, Recipe, StreamingRecipe

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

LEAST = {
    "epochs": 1, "batch": 1, "accumulate": 1, "views": 1, "patience": 0, "save_steps": 0, "seed": 0,
    "workers": 0, "lr": 1e-9, "layer_decay": 1e-3, "lag": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0,
    "steps": 1, "ahead": 0,
}  # fmt: skip

_DEFAULT = Recipe(dataset="", model="demo")
_STREAMING = StreamingRecipe(dataset=(), model="demo")

# option, field of the recipe, kind, help
_NUMBERS: tuple[tuple[str, str, type, str], ...] = (
    ("--interval", "interval", float, "seconds between two frames (default: the checkpoint's own)"),
    (
        "--lag",
        "lag",
        float,
        "seconds before a clip's end that its label describes, such as 0.45 for "
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

_STREAMING_NUMBERS: tuple[tuple[str, str, type, str], ...] = (
    ("--steps", "steps", int, "--streaming: steps to learn"),
    ("--ahead", "ahead", int, "--streaming: ticks by which it shall say sooner what its teacher would"),
)

_SWITCHES = (
    ("--freeze", "freeze", "train the head only"),
    ("--checkpointing", "checkpointing", "compute activations twice to save memory"),
    ("--balance", "balance", "draw all labels equally often"),
    ("--allow-leak", "allow_leak", "continue although the split has recordings on both sides"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "DATASET: a folder train/ val/ test/ of class folders with videos, class folders alone, or a CSV\n"
        "file with path,label and optionally start,end,split,group. docs/training.md has examples.\n"
        "With --streaming also untrimmed videos (NAME.mp4, with NAME.csv of start,end,label beside it or\n"
        "not) and folders of such; its options are --steps, --ahead, --batch, --lr, --save-steps, --seed,\n"
        "--bf16, --flip, --interval, --group, --background, --device, --resume. docs/streaming.md."
    )
    parser.add_argument("dataset", metavar="DATASET", nargs="+")
    parser.add_argument("--model", required=True, metavar="ID_OR_DIR", help="checkpoint to start from")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="folder for the new checkpoint")
    parser.add_argument("--streaming", action="store_true",
                        help="distil a window TimeSformer into one that computes a frame a hop")  # fmt: skip
    for numbers, recipe in ((_NUMBERS, _DEFAULT), (_STREAMING_NUMBERS, _STREAMING)):
        for option, name, kind, text in numbers:
            default = getattr(recipe, name)
            shown = "" if default is None or "default" in text else f" ({default:g})"
            parser.add_argument(option, dest=name, type=kind, metavar="N", help=text + shown)
    for option, name, text in _SWITCHES:
        parser.add_argument(option, dest=name, action="store_true", help=text)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction,
                        help="compute in bfloat16 (default: on a GPU that can)")  # fmt: skip
    parser.add_argument("--augment", action=argparse.BooleanOptionalAction,
                        help="scale, crop, flip and recolour clips at random (default: yes)")  # fmt: skip
    parser.add_argument("--flip", choices=("auto", "on", "off"), default="auto",
                        help="mirror clips; auto: unless a label names a side")  # fmt: skip
    parser.add_argument("--metric", choices=METRICS,
                        help=f"chooses the best weights ({_DEFAULT.metric})")  # fmt: skip
    parser.add_argument("--group", metavar="PATTERN", help="regular expression for a file's recording")
    parser.add_argument("--background", action="append", metavar="LABEL",
                        help="a label that means no action (default: idle, still, ...)")  # fmt: skip
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--resume", action="store_true", help="continue the run in OUT")
    parser.add_argument("--push-to-hub", metavar="REPOSITORY", help="upload the finished checkpoint")


def run(args: argparse.Namespace) -> int:
    """Train, measure, and write the checkpoint.

    Raises:
        ConfigError, DatasetError, ModelLoadError: it cannot be done so.
    """
    recipe = _streaming_recipe(args) if args.streaming else _recipe(args)
    out = Path(args.out).expanduser()
    if isinstance(recipe, Recipe):  # what is wrong with it is said before anything is made or installed
        read_layout(Path(recipe.dataset), recipe.group)
    _check_out(out, args.resume)
    if isinstance(recipe, Recipe):
        need("train", "training")
    from streamer.training.libraries import FAILURES, be_quiet

    be_quiet()
    try:
        _work(recipe, out, resume=args.resume)
    except KeyboardInterrupt:
        say(f"interrupted; the same command with --resume continues from {out / 'run'}")
        raise
    except (*FAILURES, DatasetError) as error:
        raise _as_our_error(error, out) from error
    say(f"done: streamer run --model {out}")
    if args.push_to_hub:
        _push(out, args.push_to_hub)
    return 0


def _work(recipe: Recipe | StreamingRecipe, out: Path, *, resume: bool) -> None:
    if isinstance(recipe, StreamingRecipe):
        from streamer.training.streaming_training import distil

        distil(recipe, out, resume=resume)
    else:
        from streamer.training.fine_tuning import train

        train(recipe, out, resume=resume)


def _recipe(args: argparse.Namespace) -> Recipe:
    given = _given(args)
    if wrong := [_option(name) for name in ("steps", "ahead") if name in given]:
        raise ConfigError(f"{', '.join(wrong)} belongs to --streaming")
    if len(args.dataset) > 1:
        raise ConfigError("name one data set; several belong to --streaming")
    if given.get("layer_decay", 1.0) > 1 or given.get("label_smoothing", 0.0) >= 1:
        raise ConfigError("--layer-decay is at most 1, --label-smoothing below 1")
    return Recipe(dataset=_absolute(args.dataset[0]), model=args.model, bf16=_bf16(args), **given)


def _streaming_recipe(args: argparse.Namespace) -> StreamingRecipe:
    given = _given(args)
    known = {field.name for field in fields(StreamingRecipe)}
    if wrong := [_option(name) for name in given if name not in known]:
        raise ConfigError(f"--streaming has no {', '.join(wrong)}: `streamer train --help` names its options")
    dataset = tuple(map(_absolute, args.dataset))
    return StreamingRecipe(dataset=dataset, model=args.model, bf16=_bf16(args), **given)


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The recipe's fields that the command line says something about. Raises ConfigError."""
    names = [name for _, name, _, _ in (*_NUMBERS, *_STREAMING_NUMBERS)]
    values = {name: getattr(args, name) for name in (*names, "augment", "metric", "group")}
    given = {name: value for name, value in values.items() if value is not None}
    given |= {name: True for _, name, _ in _SWITCHES if getattr(args, name)}
    given |= {"flip": args.flip, "device": args.device}
    if args.background is not None:
        given["background"] = tuple(args.background)
    for name, least in LEAST.items():
        if name in given and not given[name] >= least:
            raise ConfigError(f"{_option(name)} must be at least {least:g}, not {given[name]:g}")
    return given


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def _bf16(args: argparse.Namespace) -> bool:
    if args.bf16 is not None:
        return bool(args.bf16)
    from streamer.training.libraries import has_fast_bf16

    return has_fast_bf16(args.device)


def _check_out(out: Path, resume: bool) -> None:
    begun = (out / "run" / "recipe.json").exists()
    if (out / "metrics.json").exists() and resume:
        raise DatasetError(f"{out} is finished; there is nothing to continue")
    if resume and not begun:
        raise DatasetError(f"{out} holds no run to continue; leave --resume out")
    others = out.is_dir() and any(path.name != "run" for path in out.iterdir())
    if not resume and (begun or others):  # a run that ended before it began may be tried again
        raise DatasetError(
            f"{out} is not empty: " + ("--resume continues its run" if begun else "name a new folder")
        )
    make_folder(out / "run")


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
            "free some space and continue with the same command and --resume"
        )
    if isinstance(error, OSError):
        return DatasetError(f"training stopped: {text}; continue with the same command and --resume")
    if "out of memory" in text.lower():
        return ModelLoadError(
            "the GPU's memory is too small for this batch: a smaller --batch (without --streaming also with "
            "--accumulate, or --checkpointing), or --device cpu"
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
