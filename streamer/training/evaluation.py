"""`streamer evaluate`: what a model is worth on labelled clips, on untrimmed streams, and on idle footage."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import ConfigError, DatasetError
from streamer.training.ground_truth import VIDEO_SUFFIXES, background_of, check_labels, read_truth

if TYPE_CHECKING:
    from streamer.config import Config
    from streamer.recognition.recognizer import Recognizer
    from streamer.training.ground_truth import Segment
    from streamer.types import ModelSpec

_OPTIONS = (
    ("--model", "model.id", "ID_OR_DIR", "checkpoint: demo, a local folder, or a Hub id"),
    ("--device", "model.device", "auto|cpu|cuda|mps", "where the model runs"),
    ("--precision", "model.precision", "auto|fp32|bf16|fp16|int8", "number format of the model"),
    ("--engine", "model.engine", "auto|torch|openvino", "what computes the model"),
    ("--hop", "model.hop", "S", "seconds between two windows"),
    ("--interval", "model.interval", "S", "seconds between two frames of a window"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "PATH: a data set (a folder of class folders, or of train/ val/ test/ with such, or a CSV file with\n"
        "path,label) is measured by clips; a video with its truth beside it (NAME.mp4 and NAME.csv with\n"
        "start,end,label), or a folder of such, by streams, run as `streamer run --pace fast` runs them."
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
    parser.add_argument("--config", metavar="FILE", help="a config file: its model and events")
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="write report.json, a timeline of each stream (SVG), the confusion (PNG, CSV)",
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


def configuration(args: argparse.Namespace) -> Config:
    """The configuration that the options ask for, as `run` reads it. Raises ConfigError."""
    from streamer.config import load_config
    from streamer.config.file import Option

    options: list[str | Option] = [
        Option(key, getattr(args, key), option)
        for option, key, _, _ in _OPTIONS
        if getattr(args, key) is not None
    ]
    return load_config(args.config, [*options, *args.set])


def run(args: argparse.Namespace) -> int:
    """Measure and print.

    Raises:
        ConfigError, DatasetError, ModelError, SourceError: nothing can be measured so.
    """
    if args.views < 1:
        raise ConfigError(f"--views must be at least 1, not {args.views}")
    config = configuration(args)
    streams, datasets = _sort_out([Path(p).expanduser() for p in args.paths], args.truth)
    idle = [video for path in args.idle for video in videos_of(Path(path).expanduser(), "--idle")]
    if not streams and not datasets and not idle:
        raise ConfigError("name a data set, a video with its truth, or --idle videos: see evaluate --help")
    out = Path(args.out).expanduser() if args.out else None
    if out is not None:
        make_folder(out)
    from streamer.recognition.recognizer import load_recognizer

    recognizer = load_recognizer(config.model)
    try:
        report = _measure(args, config, recognizer, (streams, datasets, idle), out)
    finally:
        recognizer.close()
    text = json.dumps(report, indent=1, ensure_ascii=False)
    if out is not None:
        save_text(out / "report.json", text + "\n")
    from streamer.training.evaluation_report import lines

    print(text if args.json else "\n".join(lines(report)))
    return 0


def _measure(
    args: argparse.Namespace,
    config: Config,
    recognizer: Recognizer,
    what: tuple[list[tuple[Path, Path]], list[Path], list[Path]],
    out: Path | None,
) -> dict[str, Any]:
    from streamer.pipeline.lane import default_hop
    from streamer.training.recipe import own_background

    spec, (streams, datasets, idle) = recognizer.spec, what
    names = (*spec.labels, *config.events.groups)
    background = background_of(names, args.background, own_background(config.model.id))
    truths = [(video, read_truth(file)) for video, file in streams]
    for (_, file), (_, segments) in zip(streams, truths, strict=True):
        check_labels(file, segments, names)
    report: dict[str, Any] = {
        "v": 1,
        "model": _described(spec, config.model.hop or default_hop(spec.span)),
        "events": config.events.model_dump(mode="json"),
        "background": list(background),
    }  # fmt: skip
    if datasets:
        report["clips"] = _clips(args, config, recognizer, datasets, out)
    if truths:
        report["streams"] = _streams(config, recognizer, truths, background, out)
    if idle:
        report["idle"] = _idle(config, recognizer, idle, background, out)
    return report


def _described(spec: ModelSpec, hop: float) -> dict[str, Any]:
    return {
        "name": spec.name,
        "family": spec.family,
        "frames": spec.frames,
        "interval": round(spec.interval, 4),
        "span": round(spec.span, 4),
        "hop": round(hop, 4),
        "device": spec.device,
        "precision": spec.precision,
        "engine": spec.engine,
    }


def _streams(
    config: Config,
    recognizer: Recognizer,
    truths: Sequence[tuple[Path, Sequence[Segment]]],
    background: Sequence[str],
    out: Path | None,
) -> dict[str, Any]:
    from streamer.training.play_videos import watch_all
    from streamer.training.stream_scores import measure_streams
    from streamer.training.timeline_svg import timeline

    watched = watch_all([video for video, _ in truths], config, recognizer, say)
    pairs = [(seen, segments) for seen, (_, segments) in zip(watched, truths, strict=True)]
    if out is not None:
        for (video, segments), seen in zip(truths, watched, strict=True):
            save_text(out / f"{video.stem}.svg", timeline(seen, segments))
    return measure_streams(pairs, background)


def _idle(
    config: Config,
    recognizer: Recognizer,
    videos: Sequence[Path],
    background: Sequence[str],
    out: Path | None,
) -> dict[str, Any]:
    from streamer.training.play_videos import watch_all
    from streamer.training.stream_scores import measure_idle
    from streamer.training.timeline_svg import timeline

    watched = watch_all(videos, config, recognizer, say)
    if out is not None:
        for video, seen in zip(videos, watched, strict=True):
            save_text(out / f"idle-{video.stem}.svg", timeline(seen, ()))
    return measure_idle(watched, background)


def _clips(
    args: argparse.Namespace,
    config: Config,
    recognizer: Recognizer,
    datasets: Sequence[Path],
    out: Path | None,
) -> dict[str, Any]:
    from streamer.training.clips import evaluate_clips
    from streamer.training.evaluation_report import write_confusion

    numbers = evaluate_clips(recognizer, datasets, args.split, args.views, say)
    if out is not None:
        write_confusion(out, numbers["confusion"], recognizer.spec.labels)
    return numbers


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
            if not file.exists():
                raise DatasetError(
                    f"{path} has no truth: write {file} with start,end,label, or name it with --truth "
                    "(footage without actions goes to --idle)"
                )
            streams.append((path, file))
    return streams, datasets


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


def make_folder(path: Path) -> None:
    """Raises DatasetError where it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"the folder {path} cannot be made: {error.strerror or error}") from error


def save_text(path: Path, text: str) -> None:
    """Raises DatasetError where it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{path} cannot be written: {error.strerror or error}") from error


def say(text: str) -> None:
    """Talk goes to standard error."""
    print(f"streamer: {text}", file=sys.stderr, flush=True)
