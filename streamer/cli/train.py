"""`streamer train DATASET --model ID_OR_DIR -o OUT`: fine-tune a video-classification checkpoint."""

from __future__ import annotations

import argparse
import errno
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

from streamer.errors import ConfigError, DatasetError, ModelLoadError
from streamer.training.output import make_folder, say
from streamer.training.recipe import METRICS, Recipe

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

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
    from streamer.training.fine_tuning import train
    from streamer.training.libraries import FAILURES, be_quiet

    be_quiet()
    try:
        train(recipe, out, resume=args.resume)
    except KeyboardInterrupt:
        say(f"interrupted; the same command with --resume goes on from {out / 'run'}")
        raise
    except (*FAILURES, DatasetError) as error:
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
        from streamer.training.libraries import has_fast_bf16

        bf16 = has_fast_bf16(args.device)
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
