"""`streamer evaluate`: what a model is worth on labelled clips, on untrimmed streams, and on idle footage."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.cli.model_options import add_model_options, configuration, videos_in, videos_of
from streamer.errors import ConfigError, DatasetError
from streamer.system.terminal_text import printable, printable_json
from streamer.training.output import make_folder, save_text

if TYPE_CHECKING:
    from streamer.config import Config
    from streamer.training.evaluation import EvaluationInputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "PATH: a data set (a folder of class folders, or of train/ val/ test/ with such, or a CSV file with\n"
        "path,label) is measured by clips; a video with its truth beside it (NAME.mp4 and NAME.csv with\n"
        "start,end,label), or a folder of such, by streams, run as `streamer run --pace fast` runs them.\n"
        "A truth with boxes (start,end,label,track,left,top,width,height, or MOT's gt.txt) measures who is\n"
        "followed."
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="a data set, or untrimmed videos")
    parser.add_argument(
        "--idle",
        nargs="+",
        default=[],
        metavar="VIDEO",
        help="videos, or folders of them, without any action: every event is false",
    )
    parser.add_argument("--truth", metavar="FILE", help="the truth of one video, where it is not beside it")
    parser.add_argument(
        "--split",
        default="test",
        choices=("train", "val", "test", "all"),
        help="which part of a data set (%(default)s)",
    )
    parser.add_argument(
        "--views",
        type=int,
        default=3,
        metavar="N",
        help="windows of a clip whose scores are averaged (%(default)s)",
    )
    parser.add_argument(
        "--background",
        action="append",
        metavar="LABEL",
        help="a label that means no action (may be given again)",
    )
    parser.add_argument(
        "--against",
        metavar="ID_OR_DIR",
        help="measure this checkpoint too, in the same way, and print both and the difference",
    )
    parser.add_argument(
        "--follow", action="store_true", help="follow whoever moves, as run does, where the truth has boxes"
    )
    parser.add_argument("--config", metavar="FILE", help="a config file: its model, events and follow")
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="write report.json, a timeline of each stream (SVG), the confusion (PNG, CSV)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print.

    Raises:
        ConfigError, DatasetError, ModelError, SourceError: nothing can be measured so.
    """
    if args.views < 1:
        raise ConfigError(f"--views must be at least 1, not {args.views}")
    config = _configuration(args)
    streams, datasets = _sort_out([Path(p).expanduser() for p in args.paths], args.truth)
    idle = [video for path in args.idle for video in videos_of(Path(path).expanduser(), "--idle")]
    if not streams and not datasets and not idle:
        raise ConfigError("name a data set, a video with its truth, or --idle videos: see evaluate --help")
    out = Path(args.out).expanduser() if args.out else None
    if out is not None:
        make_folder(out)
    from streamer.training.evaluation import EvaluationInputs

    inputs = EvaluationInputs(streams, datasets, idle, args.split, args.views, args.background)
    other = None if args.against is None else _configuration(args, args.against)
    report = _measured(config, inputs, out)
    if other is not None:
        beside = None if out is None else out / "against"
        if beside is not None:
            make_folder(beside)
        report["against"] = _measured(other, inputs, beside)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    if out is not None:
        save_text(out / "report.json", text + "\n")
    from streamer.training.evaluation_report import lines

    told = map(printable_json, text.split("\n")) if args.json else map(printable, lines(report))
    print("\n".join(told))
    return 0


def _configuration(args: argparse.Namespace, against: str | None = None) -> Config:
    config = configuration(args, against)
    if not args.follow or config.follow.follows:
        return config
    return config.model_copy(update={"follow": config.follow.model_copy(update={"detector": "moving"})})


def _measured(config: Config, inputs: EvaluationInputs, out: Path | None) -> dict[str, Any]:
    from streamer.recognition.recognizer import load_recognizer
    from streamer.training.evaluation import evaluate

    recognizer = load_recognizer(config.model)
    try:
        return evaluate(config, recognizer, inputs, out)
    finally:
        recognizer.close()


def _sort_out(paths: Sequence[Path], truth: str | None) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """(videos with their truth, data sets) among `paths`."""
    streams: list[tuple[Path, Path]] = []
    datasets: list[Path] = []
    if truth is not None and (len(paths) != 1 or not paths[0].is_file()):
        raise ConfigError("--truth belongs to one video: name that one")
    for path in paths:
        if not path.exists():
            raise DatasetError(f"there is no {path}; name a data set or a video")
        if path.is_dir():
            pairs = [(video, video.with_suffix(".csv")) for video in videos_in(path)]
            with_truth = [pair for pair in pairs if pair[1].exists()]
            streams += with_truth
            if not with_truth:
                datasets.append(path)
        elif path.suffix.lower() == ".csv":
            datasets.append(path)
        else:
            file = Path(truth).expanduser() if truth else path.with_suffix(".csv")
            if truth and not file.exists():
                raise DatasetError(f"--truth {file}: there is no such file")
            if not file.exists():
                raise DatasetError(
                    f"{path} has no truth: write {file} with start,end,label, or name it with --truth "
                    "(footage without actions goes to --idle)"
                )
            streams.append((path, file))
    return streams, datasets
