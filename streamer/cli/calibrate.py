"""`streamer calibrate IDLE_VIDEO ...`: thresholds, and a temperature, for a model where it is to be used."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.cli.model_options import add_model_options, configuration, videos_of
from streamer.errors import ConfigError, DatasetError
from streamer.training.output import save_text, say

if TYPE_CHECKING:
    from streamer.config import Config
    from streamer.recognition.recognizer import Recognizer
    from streamer.training.stream_scores import VideoResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "The file it writes goes to: streamer run --config FILE SOURCE"
    parser.add_argument("videos", nargs="+", metavar="IDLE_VIDEO",
                        help="videos, or folders of them, in which no action happens")  # fmt: skip
    parser.add_argument("--target", type=float, default=1.0, metavar="N",
                        help="false events an hour that are allowed (%(default)g)")  # fmt: skip
    parser.add_argument("--clips", metavar="DATASET",
                        help="labelled clips; fits the temperature on their val part (or all)")  # fmt: skip
    parser.add_argument("--background", action="append", metavar="LABEL",
                        help="a label that means no action (may be given again)")  # fmt: skip
    parser.add_argument("-o", "--out", default="calibrated.yaml", metavar="FILE",
                        help="the config file to write (%(default)s)")  # fmt: skip
    parser.add_argument("--config", metavar="FILE", help="a config file: its model and events")
    add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Fit, write the config file, and say what was found.

    Raises:
        ConfigError, DatasetError, ModelError, SourceError: nothing can be fitted so.
    """
    if not 0.0 <= args.target < float("inf"):
        raise ConfigError(f"--target is false events an hour, 0 or more, not {args.target:g}")
    out = Path(args.out).expanduser()
    if out.exists():
        raise DatasetError(f"{out} is there already; name another file with -o, or remove it")
    config = configuration(args)
    videos = [video for path in args.videos for video in videos_of(Path(path).expanduser(), "calibrate")]
    from streamer.events.event_settings import with_recommended
    from streamer.recognition.recognizer import load_recognizer
    from streamer.training.ground_truth import background_of
    from streamer.training.play_videos import watch_all
    from streamer.training.recipe import own_background
    from streamer.training.threshold_fitting import fit_thresholds

    recognizer = load_recognizer(config.model)
    try:
        names = (*recognizer.spec.labels, *config.events.groups)
        background = background_of(names, args.background, own_background(config.model.id))
        if args.clips:
            config = _with_temperature(config, _temperature(recognizer, Path(args.clips), config))
        watched = watch_all(videos, config, recognizer, say)
        recommended = recognizer.spec.events
    finally:
        recognizer.close()
    hours = sum(w.seconds for w in watched) / 3600
    if not hours:
        raise DatasetError("the footage is shorter than one window: nothing to fit; record some minutes")
    events = with_recommended(config.events, recommended)
    before, thresholds, left = fit_thresholds(watched, events, background, int(args.target * hours))
    events = config.events.model_copy(update={"thresholds": {**config.events.thresholds, **thresholds}})
    config = config.model_copy(update={"events": events})
    save_text(out, config_text(config, _how(watched, args.target, before, left)))
    _print_result(config, thresholds, hours, (before, left, args.target), out)
    return 0


def _print_result(
    config: Config, thresholds: dict[str, Any], hours: float, counts: tuple[int, int, float], out: Path
) -> None:
    before, left, target = counts
    print(f"idle footage: {60 * hours:.1f} minutes; allowed: {target:g} false events an hour")
    print(f"false events before: {before} ({before / hours:.2f} an hour); now: {left} ({left / hours:.2f})")
    for label, rule in sorted(thresholds.items()):
        print(f"  {label}: enter {rule.enter:.2f}, exit {rule.exit:.2f}")
    if not thresholds:
        print(f"  no threshold had to be raised (enter {config.events.enter:g})")
    print(f"temperature {config.model.temperature:g}; written to {out}")
    if target * hours < 3:
        # With 0 seen in `hours`, up to 3 / hours an hour are compatible with it (95 %).
        print(
            f"so little footage cannot show less than {3 / hours:.1f} an hour with certainty; "
            "more of it, by day and by night, makes this firmer"
        )


def _temperature(recognizer: Recognizer, path: Path, config: Config) -> float:
    import numpy as np

    from streamer.training.clips import scores_of, timed_clips_of
    from streamer.training.threshold_fitting import fit_temperature

    if recognizer.spec.independent:
        raise DatasetError("--clips: this model's scores are independent; a temperature is for the others")
    timed_clips = timed_clips_of(recognizer.spec.labels, [path], "val", say)
    scores, truth = scores_of(recognizer, timed_clips, 1)
    if len(set(truth.tolist())) < 2:
        raise DatasetError(f"{path}: clips of one label alone cannot give a temperature")
    return fit_temperature(np.log(np.clip(scores, 1e-7, 1.0)), truth)


def _with_temperature(config: Config, temperature: float) -> Config:
    return config.model_copy(update={"model": config.model.model_copy(update={"temperature": temperature})})


def config_text(config: Config, how: str) -> str:
    """A YAML config file with the model and the events, each key that differs from its default."""
    model = _changed(config.model)
    folder = Path(config.model.id).expanduser()
    model["id"] = str(folder.resolve()) if folder.is_dir() else config.model.id
    # JSON is YAML: values need no quoting rules of their own.
    lines = [f"# {line}" for line in how.splitlines()]
    for section, values in (("model", model), ("events", _changed(config.events))):
        if values:
            lines.append(f"{section}:")
            lines += [f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _changed(section: Any) -> dict[str, Any]:
    changed: dict[str, Any] = section.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    return changed


def _how(watched: Sequence[VideoResult], target: float, before: int, left: int) -> str:
    minutes = sum(w.seconds for w in watched) / 60
    names = ", ".join(w.name for w in watched[:5]) + (", ..." if len(watched) > 5 else "")
    return (
        f"Made by streamer calibrate from {minutes:.1f} minutes of idle footage ({names}):\n"
        f"{before} false events before, {left} after; allowed were {target:g} an hour.\n"
        "Use it with: streamer run --config THIS_FILE SOURCE"
    )
