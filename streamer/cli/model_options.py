"""The options about a model that `evaluate` and `calibrate` share with `run`, and videos named on them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from streamer.errors import DatasetError
from streamer.training.ground_truth import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from streamer.config import Config

_OPTIONS = (
    ("--model", "model.id", "ID_OR_DIR", "checkpoint: demo, demo-streaming, a local folder, or a Hub id"),
    ("--device", "model.device", "auto|cpu|cuda|mps", "where the model runs"),
    ("--precision", "model.precision", "auto|fp32|bf16|fp16|int8", "number format of the model"),
    ("--engine", "model.engine", "auto|torch|openvino", "what computes the model"),
    ("--hop", "model.hop", "S", "seconds between two windows"),
    ("--interval", "model.interval", "S", "seconds between two frames of a window"),
)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """`run`'s own options about the model, and --set."""
    for option, key, shown, text in _OPTIONS:
        parser.add_argument(option, dest=key, metavar=shown, help=text)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any key of the configuration, as in run",
    )


def configuration(args: argparse.Namespace, against: str | None = None) -> Config:
    """The configuration that the options ask for, as `run` reads it; `against`: with another checkpoint in
    its model's place, which leaves behind what the config file said of that one alone.

    Raises:
        ConfigError: it is wrong.
    """
    from streamer.config import Option, load_config

    options: list[str | Option] = [
        Option(key, getattr(args, key), option)
        for option, key, _, _ in _OPTIONS
        if getattr(args, key) is not None
    ]
    more = [] if against is None else [Option("model.id", against, "--against")]
    return load_config(args.config, [*options, *args.set, *more])


def videos_in(folder: Path) -> list[Path]:
    """The videos directly in a folder, by name."""
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES)


def videos_of(path: Path, option: str) -> list[Path]:
    """A video, or the videos of a folder. Raises DatasetError where there is none."""
    if path.is_file():
        return [path]
    found = videos_in(path) if path.is_dir() else []
    if not found:
        raise DatasetError(f"{option} {path}: there is no such video, or folder of videos")
    return found
