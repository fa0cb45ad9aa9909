"""What a checkpoint's JSON files say of it: processor, labels, licence, frames, interval. No torch here.

What a file leaves out comes from the table of published checkpoints, then from what is usual in its family
(with a note), and where a guess would give wrong scores it is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamer.config import EventsConfig
from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints import registry
from streamer.recognition.checkpoints.checkpoint import Checkpoint
from streamer.recognition.checkpoints.checkpoint_files import (
    CONFIG,
    FRAME_PROCESSORS,
    VIDEO_PROCESSORS,
    read_json,
)
from streamer.recognition.checkpoints.limits import MAX_LABEL, MAX_LABELS
from streamer.system.terminal_text import printable


def read_processor(checkpoint: Checkpoint, *, frames: bool) -> tuple[dict[str, Any], Path]:
    """The processor's JSON object and its file; `frames`: of a model of single pictures.

    Raises:
        ModelLoadError: the checkpoint has none.
    """
    for name, key in FRAME_PROCESSORS if frames else VIDEO_PROCESSORS:
        file = checkpoint.folder / name
        if not file.exists():
            continue
        processor = read_json(file, f"the processor of {checkpoint.name}")
        if key is None:
            return processor, file
        if isinstance(processor.get(key), dict):
            return processor[key], file
    raise ModelLoadError(
        f"{checkpoint.folder} has no preprocessor_config.json (nor video_preprocessor_config.json), so "
        f"size, mean and std are unknown: copy the file from the checkpoint that this one was made from"
    )


def compares_words(checkpoint: Checkpoint) -> bool:
    """True for CLIP and its like, which compare pictures with words and have no labels of their own."""
    architectures = checkpoint.config.get("architectures")
    classifies = isinstance(architectures, list) and any("Classification" in str(n) for n in architectures)
    return checkpoint.family in registry.WORD_FAMILIES and not classifies


def labels_of(checkpoint: Checkpoint) -> tuple[tuple[str, ...], list[str]]:
    """Labels in the order of the model's outputs, and notes on what had to be mended.

    Raises:
        ModelLoadError: id2label is not 0..L-1.
    """
    table = checkpoint.config.get("id2label")
    if table is None:
        count = _count(checkpoint.config.get("num_labels")) or 2  # transformers' own default
        table = {index: f"LABEL_{index}" for index in range(count)}
    try:
        if len(table) > MAX_LABELS:
            raise ModelLoadError(f"{checkpoint.name}: id2label in {CONFIG} has {len(table):,} labels")
        by_index = {int(index): _label(label) for index, label in table.items()}
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise ModelLoadError(
            f"{checkpoint.name}: id2label in {CONFIG} is not a table of index: label"
        ) from error
    if not by_index or sorted(by_index) != list(range(len(by_index))):
        raise ModelLoadError(
            f"{checkpoint.name}: id2label in {CONFIG} must have the indices 0 to "
            f"{max(len(by_index), 1) - 1}, each once"
        )
    notes, labels = [], []
    seen: dict[str, int] = {}
    for index in range(len(by_index)):
        label = by_index[index] or f"class {index}"
        seen[label] = seen.get(label, 0) + 1
        if seen[label] > 1:
            notes.append(
                f"label {label!r} stands {seen[label]} times in {checkpoint.name}; the later one is called "
                f"'{label} ({seen[label]})'"
            )
            label = f"{label} ({seen[label]})"
        labels.append(label)
    if all(re.fullmatch(r"LABEL_\d+", label) for label in labels):
        notes.append(
            f"{checkpoint.name} does not name its {len(labels)} labels: put id2label into its {CONFIG}"
        )
    if len(set(labels)) != len(labels):  # "a (2)" was there already
        raise ModelLoadError(f"{checkpoint.name}: id2label in {CONFIG} has labels that cannot be told apart")
    return tuple(labels), notes


def _label(value: Any) -> str:
    """A label as it goes to terminals, topics and files: one line of text that can be printed."""
    return " ".join(printable(str(value)[: 2 * MAX_LABEL], MAX_LABEL).split())


def licence_of(checkpoint: Checkpoint) -> str | None:
    """From the table of published checkpoints, config.json, or the model card; None = unknown."""
    entry = registry.find(checkpoint.name)
    if entry is not None and entry.licence:
        return entry.licence
    own = checkpoint.own.get("licence")
    if own:
        return printable(str(own)[:100])
    try:
        with (checkpoint.folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            card = file.read(20_000)
    except OSError:
        return None
    front = re.match(r"\A---\s*\n(.*?)\n---\s*(\n|\Z)", card, re.DOTALL)
    found = re.search(r"^license:[ \t]*[\"']?([\w.+-]+)", front.group(1), re.MULTILINE) if front else None
    return found.group(1) if found else None


def interval_of(checkpoint: Checkpoint, asked: float | None, *, frames: bool) -> tuple[float, list[str]]:
    """Seconds between frames: asked for, the checkpoint's own, the table's, or the family's (with a note).

    Raises:
        ModelLoadError: nothing says it.
    """
    if asked is not None:
        return asked, []
    own = checkpoint.own.get("interval")
    if own is not None:
        if isinstance(own, bool) or not isinstance(own, (int, float)) or not 0 < own < 3600:
            raise ModelLoadError(
                f"{checkpoint.folder / CONFIG}: streamer.interval must be seconds above 0, it is {own!r}"
            )
        return float(own), []
    entry = registry.find(checkpoint.name)
    if entry is not None:
        return entry.interval, []
    family = registry.FRAME_FAMILY if frames else registry.FAMILIES.get(checkpoint.family)
    if family is None or family.interval is None:
        raise ModelLoadError(
            f"{checkpoint.name}: nothing says how far apart its frames must be (family "
            f"{checkpoint.family!r}): give --interval SECONDS, the sampling rate of its training divided by "
            "the fps"
        )
    if frames:
        return family.interval, []
    note = (
        f"{checkpoint.name} does not say how far apart its frames must be: "
        f"{family.interval:.3f} s is taken ({family.why}); --interval changes it"
    )
    return family.interval, [note]


def lag_of(checkpoint: Checkpoint, span: float) -> float:
    """Seconds before a window's end of which the labels speak; 0 where the checkpoint does not say.

    A model that was taught what happens 0.45 s before its windows' ends says so with `streamer.lag`.

    Raises:
        ModelLoadError: it is no number of seconds within the span.
    """
    own = checkpoint.own.get("lag", 0.0)
    if isinstance(own, bool) or not isinstance(own, (int, float)) or not 0 <= own <= max(span, 0.0):
        raise ModelLoadError(
            f"{checkpoint.folder / CONFIG}: streamer.lag must be seconds from 0 to the span of a window "
            f"({span:g}), it is {own!r}"
        )
    return float(own)


EVENTS = ("half_life", "enter", "exit", "min_on", "min_off")  # settings that a checkpoint may recommend


def events_of(checkpoint: Checkpoint) -> tuple[tuple[str, float], ...]:
    """Settings of events that the checkpoint recommends under `streamer.events`; see `EVENTS`.

    Raises:
        ModelLoadError: they are not what `events` in a config file allows.
    """
    own = checkpoint.own.get("events", {})
    if not isinstance(own, Mapping) or (wrong := [str(name) for name in own if name not in EVENTS]):
        what = f"has {', '.join(wrong)}" if isinstance(own, Mapping) else "is no object"
        known = ", ".join(EVENTS)
        raise ModelLoadError(f"{checkpoint.folder / CONFIG}: streamer.events {what}; it takes {known}")
    try:
        checked = EventsConfig.model_validate(dict(own))
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelLoadError(f"{checkpoint.folder / CONFIG}: streamer.events: {reason}") from error
    return tuple((name, float(getattr(checked, name))) for name in own)


def background_in(own: Mapping[str, Any]) -> tuple[str, ...]:
    """`background` of the object under "streamer" in a config.json; anything but a list counts as none."""
    named = own.get("background")
    return tuple(map(str, named)) if isinstance(named, Sequence) and not isinstance(named, str) else ()


def frames_of(checkpoint: Checkpoint, asked: int | None, *, frames: bool) -> int:
    """T: the checkpoint's for window models; for frame models asked for, its own, or 8.

    Raises:
        ModelLoadError: a window model is asked for another T than its own, or nothing says it.
    """
    if frames:
        return asked or _count(checkpoint.own.get("frames")) or registry.FRAMES_OF_FRAME_MODELS
    fixed = frame_count(checkpoint)
    if fixed is None and asked is None:
        raise ModelLoadError(
            f"{checkpoint.name}: {CONFIG} does not say how many frames a window has: give model.frames"
        )
    if asked is not None and fixed is not None and asked != fixed:
        raise ModelLoadError(
            f"{checkpoint.name} was made for windows of {fixed} frames, not {asked}: leave model.frames out "
            "(--interval changes how far apart they are)"
        )
    return fixed or asked or 0


def frame_count(checkpoint: Checkpoint) -> int | None:
    """The T that a window model's config.json says or leaves to its class; None where neither does.

    For the shape (unlike the processor's numbers) a class's default is what the weights were made with.
    """
    keys = ("num_frames", "frames_per_clip", "n_frames", "video_length")
    found = next((count for key in keys if (count := _count(checkpoint.config.get(key)))), None)
    found = found or _count(checkpoint.own.get("frames"))
    if found is None and checkpoint.family in registry.FAMILIES:
        from transformers import CONFIG_MAPPING

        config = CONFIG_MAPPING[checkpoint.family]()
        found = next((count for key in keys if (count := _count(getattr(config, key, None)))), None)
    return found


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def model_size(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """(H, W) that a config.json says the model was built for; None where it does not."""
    for key in ("image_size", "crop_size"):
        value = config.get(key)
        height, width = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value, value)
        if (rows := _count(height)) and (columns := _count(width)):
            return rows, columns
    return None
