"""`streamer calibrate IDLE_VIDEO ...`: thresholds, and a temperature, for a model where it is to be used.

Thresholds: the footage goes once through the program; then each label's `enter` is raised, the worst label
first, until the events that it would have published stay below the target. Temperature: the one number by
which all logits are divided so that scores mean what they say (Guo et al. 2017, "On Calibration of Modern
Neural Networks"), by the least negative log likelihood on labelled clips.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import ConfigError, DatasetError
from streamer.training.evaluation import add_model_options, configuration, save_text, say, videos_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamer.config import Config, EventsConfig, LabelRule
    from streamer.recognition.recognizer import Recognizer
    from streamer.training.stream_scores import VideoResult

STEP, HIGHEST = 0.01, 0.99  # of `enter`
COLDEST, HOTTEST = 0.05, 20.0  # temperatures looked at


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
    from streamer.recognition.recognizer import load_recognizer
    from streamer.training.ground_truth import background_of
    from streamer.training.play_videos import watch_all
    from streamer.training.recipe import own_background

    recognizer = load_recognizer(config.model)
    try:
        names = (*recognizer.spec.labels, *config.events.groups)
        background = background_of(names, args.background, own_background(config.model.id))
        if args.clips:
            config = _with_temperature(config, _temperature(recognizer, Path(args.clips), config))
        watched = watch_all(videos, config, recognizer, say)
    finally:
        recognizer.close()
    hours = sum(w.seconds for w in watched) / 3600
    if not hours:
        raise DatasetError("the footage is shorter than one window: nothing to fit; record some minutes")
    before, thresholds, left = fit_thresholds(watched, config.events, background, int(args.target * hours))
    events = config.events.model_copy(update={"thresholds": {**config.events.thresholds, **thresholds}})
    config = config.model_copy(update={"events": events})
    save_text(out, config_text(config, _how(watched, args.target, before, left)))
    _tell(config, thresholds, hours, (before, left, args.target), out)
    return 0


def _tell(
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
            f"{60 * hours:.0f} minutes cannot show less than {3 / hours:.1f} an hour with certainty; "
            "more footage, by day and by night, makes this firmer"
        )


def count_false(
    watched: Sequence[VideoResult], events: EventsConfig, background: Sequence[str]
) -> Counter[str]:
    """label -> events that these scores would publish under these settings."""
    from streamer.events.tracker import EventTracker
    from streamer.types import Frame, Prediction, Window

    found: Counter[str] = Counter()
    for video in watched:
        own = _own(events, video.labels)
        tracker = EventTracker("idle", "model", video.labels, own)
        for number, window in enumerate(video.windows):
            frame = Frame("idle", number, 0, window.end, window.end, window.end, window.end, None)  # type: ignore[arg-type]
            seen = Window("idle", number, (frame,), 1.0)
            prediction = Prediction("idle", "model", seen, video.labels, window.scores)
            found.update(e.label for e in tracker.update(prediction) if e.phase == "start")
    return Counter({label: count for label, count in found.items() if label not in background})


def _own(events: EventsConfig, labels: Sequence[str]) -> EventsConfig:
    """The settings for scores in which groups already stand in the place of their labels."""
    return events.model_copy(
        update={
            "groups": {},
            "ignore": tuple(name for name in events.ignore if name in labels),
            "thresholds": {name: rule for name, rule in events.thresholds.items() if name in labels},
        }
    )


def fit_thresholds(
    watched: Sequence[VideoResult], events: EventsConfig, background: Sequence[str], allowed: int
) -> tuple[int, dict[str, Any], int]:
    """(false events before, label -> LabelRule, false events then): at most `allowed` of them.

    Only ever raises `enter`, keeps its proportion to `exit`, and leaves labels alone that cause nothing.

    Raises:
        DatasetError: even HIGHEST is too low for a label.
    """
    from streamer.config import LabelRule

    rules: dict[str, LabelRule] = dict(events.thresholds)
    raised: dict[str, LabelRule] = {}
    false = count_false(watched, events, background)
    before = false.total()
    while false.total() > allowed:
        label = max(sorted(false), key=lambda name: false[name])
        fewer = false[label] - max(1, (false.total() - allowed) // 2)
        rules[label] = raised[label] = _raised(watched, events, rules.get(label, LabelRule()), label, fewer)
        false[label] = _count_one(watched, events, label, rules[label])
    return before, raised, false.total()


def _raised(
    watched: Sequence[VideoResult], events: EventsConfig, old: LabelRule, label: str, aim: int
) -> LabelRule:
    """The rule with the lowest `enter` (in STEPs) under which a label has at most `aim` events, or none."""
    enter = events.enter if old.enter is None else old.enter
    leave = events.exit if old.exit is None else old.exit

    def rule(step: int) -> LabelRule:
        higher = min(HIGHEST, round(enter + step * STEP, 4))
        return old.model_copy(update={"enter": higher, "exit": round(leave * higher / enter, 4)})

    low, high = 0, max(0, math.ceil((HIGHEST - enter) / STEP - 1e-9))
    left = _count_one(watched, events, label, rule(high))
    if not high or left > max(0, aim):
        raise DatasetError(
            f"{label!r} has {left} false events even at {HIGHEST:g}: put it under events.ignore "
            "(--set events.ignore=[...]), or train with this footage as a background label "
            "(streamer collect --idle)"
        )
    while high - low > 1:
        middle = (low + high) // 2
        if _count_one(watched, events, label, rule(middle)) > max(0, aim):
            low = middle
        else:
            high = middle
    return rule(high)


def _count_one(watched: Sequence[VideoResult], events: EventsConfig, label: str, rule: LabelRule) -> int:
    """`count_false` of one label, which no other one influences."""
    alone = [
        replace(
            video,
            labels=(label,),
            windows=tuple(
                replace(window, scores=window.scores[video.labels.index(label), None])
                for window in video.windows
            ),
        )
        for video in watched
    ]
    own = events.model_copy(update={"thresholds": {label: rule}, "include": None, "ignore": ()})
    return count_false(alone, own, ()).total()


def fit_temperature(log_scores: NDArray[Any], truth: NDArray[Any]) -> float:
    """The T that makes softmax(log_scores / T) most likely for `truth` (N,); log_scores is (N, L).

    Golden section in log T: the likelihood has one maximum there.
    """
    import numpy as np

    rows = np.arange(len(truth))

    def loss(log_t: float) -> float:
        scaled = log_scores / np.exp(log_t)
        scaled = scaled - scaled.max(1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(1)) - scaled[rows, truth]))

    return round(float(np.exp(_least(loss, np.log(COLDEST), np.log(HOTTEST)))), 3)


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is least, to 1e-4."""
    ratio = (5**0.5 - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if function(left) <= function(right):
            high = right
        else:
            low = left
    return (low + high) / 2


def _temperature(recognizer: Recognizer, path: Path, config: Config) -> float:
    import numpy as np

    from streamer.training.clips import scores_of, timed_clips_of

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
