"""Measuring a model on labelled clips, on untrimmed streams, and on idle footage: one report of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import DatasetError
from streamer.events.presence import PRESENT
from streamer.training.ground_truth import background_of, check_labels, read_truth
from streamer.training.output import save_text, say
from streamer.training.person_truth import has_boxes, truth_of

if TYPE_CHECKING:
    from streamer.config import Config
    from streamer.recognition.recognizer import Recognizer
    from streamer.training.ground_truth import Segment
    from streamer.types import ModelSpec


@dataclass(frozen=True, slots=True)
class EvaluationInputs:
    """What is measured, and how."""

    streams: Sequence[tuple[Path, Path]]  # untrimmed videos, each with its ground truth
    datasets: Sequence[Path]
    idle: Sequence[Path]  # videos without actions
    split: str = "test"  # which part of a data set; "all" too
    views: int = 3  # windows of a clip whose scores are averaged
    background: Sequence[str] | None = None  # labels that mean no action; None: the model's own


def evaluate(
    config: Config, recognizer: Recognizer, inputs: EvaluationInputs, out: Path | None
) -> dict[str, Any]:
    """The report as one JSON object; timelines and the confusion are written to `out`.

    Raises:
        DatasetError, ModelError, SourceError: nothing can be measured so.
    """
    from streamer.events.event_settings import with_recommended
    from streamer.pipeline.model_rules import hop_of
    from streamer.training.recipe import own_background

    spec = recognizer.spec
    names = (*spec.labels, *config.events.groups)
    background = background_of(names, inputs.background, own_background(config.model.id))
    people = [pair for pair in inputs.streams if has_boxes(pair[1])]
    streams = [pair for pair in inputs.streams if pair not in people]
    truths = [(video, read_truth(file)) for video, file in streams]
    for (_, file), (_, segments) in zip(streams, truths, strict=True):
        check_labels(file, segments, names)
    if people and not config.follow.follows:
        raise DatasetError(f"{people[0][1]} tells where people are: measure it with --follow")
    report: dict[str, Any] = {
        "v": 1,
        "model": _described(spec, hop_of(config.model, spec)),
        "events": with_recommended(config.events, spec.events).model_dump(mode="json"),
        "background": list(background),
    }  # fmt: skip
    if inputs.datasets:
        report["clips"] = _clips(recognizer, inputs.datasets, inputs.split, inputs.views, out)
    if truths:
        report["streams"] = _streams(config, recognizer, truths, background, out)
    if people:
        report["people"] = _people(config, recognizer, people, names, background)
    if inputs.idle:
        report["idle"] = _idle(config, recognizer, inputs.idle, background, out)
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


def _people(
    config: Config,
    recognizer: Recognizer,
    pairs: Sequence[tuple[Path, Path]],
    names: Sequence[str],
    background: Sequence[str],
) -> dict[str, Any]:
    from streamer.training.people_scores import measure_people
    from streamer.training.play_videos import watch_all

    truths, told = [truth_of(video, file) for video, file in pairs], set[str]()
    for (_, file), truth in zip(pairs, truths, strict=True):
        for segments in (truth.actions or {}).values():
            check_labels(file, segments, (*names, PRESENT))
            told |= {segment.label for segment in segments}
    watched = watch_all([video for video, _ in pairs], config, recognizer, say)
    nothing = background if PRESENT in told else (*background, PRESENT)
    return measure_people(list(zip(watched, truths, strict=True)), nothing)


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
    recognizer: Recognizer,
    datasets: Sequence[Path],
    split: str,
    views: int,
    out: Path | None,
) -> dict[str, Any]:
    from streamer.training.clips import evaluate_clips
    from streamer.training.evaluation_report import write_confusion

    numbers = evaluate_clips(recognizer, datasets, split, views, say)
    if out is not None:
        write_confusion(out, numbers["confusion"], recognizer.spec.labels)
    return numbers
