"""From a `ModelConfig` to a recognizer: which class, weights and device, and every way it can fail."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from streamer.config import ModelConfig
from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints import metadata
from streamer.recognition.checkpoints.checkpoint import Checkpoint, open_checkpoint
from streamer.recognition.checkpoints.checkpoint_files import CONFIG, weights_present
from streamer.recognition.checkpoints.limits import check_window
from streamer.recognition.checkpoints.processor import from_json
from streamer.recognition.device import Placement, choose_device, choose_precision
from streamer.recognition.engines.tuning import choose_engine
from streamer.recognition.families.recognizers import FrameRecognizer, LoadedModel, VideoRecognizer, closed
from streamer.recognition.families.stream_recognizer import StreamRecognizer
from streamer.recognition.forward import Forward
from streamer.recognition.model_config import ATTENTION, check_size, config_errors, model_config, one_line
from streamer.recognition.preprocessing import Preprocessor
from streamer.recognition.stream_loading import load_streaming
from streamer.recognition.words import word_loading as words
from streamer.types import ModelSpec

if TYPE_CHECKING:  # the protocol is below what implements it
    pass

# What a family's head is not computed from, so that a checkpoint may lack it.
UNUSED_WEIGHTS = {"vjepa2": ("vjepa2.predictor.",)}
COMPUTED_WEIGHTS = ("position_ids", "relative_position_index", "num_batches_tracked")  # not learned
NAMES_SHOWN = 3  # of missing weights, in a message


def load(
    config: ModelConfig, name: str | None = None
) -> VideoRecognizer | FrameRecognizer | StreamRecognizer:
    """See `streamer.recognition.recognizer.load_recognizer`."""
    checkpoint = open_checkpoint(config.id)
    if name is not None:
        checkpoint = dataclasses.replace(checkpoint, name=name)
    words.check_words(checkpoint, config)
    device = choose_device(config.device)
    metadata.labels_of(checkpoint)  # now, because its message is better than transformers'
    if metadata.compares_words(checkpoint):
        return _load_words(checkpoint, config, device)
    with quiet_transformers():
        config_object = model_config(checkpoint)
        auto_class, frames = _auto_class(checkpoint, config_object)
        settings = _read_settings(checkpoint, config, frames=frames)
        placement = Placement(device, _loading_precision(config.precision, device, checkpoint.folder))
        model = load_weights(checkpoint, auto_class, config_object, placement)
    spec = dataclasses.replace(
        settings.spec,
        device=device.type,
        precision=placement.precision,
        notes=settings.notes,
        independent=config_object.problem_type == "multi_label_classification",
    )
    if checkpoint.own.get("streaming"):
        loaded = LoadedModel(spec, settings.preprocessor, placement, closed, model)
        return load_streaming(checkpoint, loaded, config)
    loaded = LoadedModel(spec, settings.preprocessor, placement, _forward(model, spec), model)
    recognizer = FrameRecognizer(loaded, config.aggregate) if frames else VideoRecognizer(loaded)
    choose_engine(recognizer, config)
    return recognizer


def load_timesformer(model_id: str) -> LoadedModel:
    """A TimeSformer, of windows as transformers has it or streaming, fp32 on the CPU: for looking into it.

    Raises ModelLoadError: it cannot be had, or is another kind of model.
    """
    checkpoint = open_checkpoint(model_id)
    if checkpoint.family != "timesformer":
        raise ModelLoadError(f"{checkpoint.name} is no TimeSformer")
    with quiet_transformers():
        config_object = model_config(checkpoint)
        auto_class, frames = _auto_class(checkpoint, config_object)
        settings = _read_settings(checkpoint, ModelConfig(id=model_id), frames=frames)
        placement = Placement(torch.device("cpu"), "fp32")
        model = load_weights(checkpoint, auto_class, config_object, placement)
    spec = settings.spec
    loaded = LoadedModel(spec, settings.preprocessor, placement, _forward(model, spec), model)
    if not checkpoint.own.get("streaming"):
        return loaded
    from streamer.recognition.stream_loading import stream_of

    stream = stream_of(checkpoint, loaded)
    spec = dataclasses.replace(spec, streaming=True, reach=stream.reach)
    return dataclasses.replace(loaded, spec=spec, model=stream)


def _load_words(
    checkpoint: Checkpoint, config: ModelConfig, device: torch.device
) -> VideoRecognizer | FrameRecognizer:
    """A model that compares pictures with words: see `streamer.recognition.words`."""
    from transformers import AutoModel

    with quiet_transformers():
        config_object = model_config(checkpoint)
        placement = Placement(device, _loading_precision(config.precision, device, checkpoint.folder))
        return words.load(
            checkpoint,
            config,
            placement,
            config_object,
            lambda: load_weights(checkpoint, AutoModel, config_object, placement),
        )


def _loading_precision(asked: str, device: torch.device, folder: Path) -> str:
    """In which precision the weights are read: on a CPU fp32, from which engines make what they want."""
    if device.type == "cpu":
        if asked == "fp16":
            choose_precision(asked, device, 0)  # refuses
        return "fp32"
    return choose_precision("fp32" if asked == "int8" else asked, device, _parameters(folder))


@dataclasses.dataclass(frozen=True, slots=True)
class _CheckpointSettings:
    """What the checkpoint's JSON files decide, before any weight is read."""

    spec: ModelSpec
    preprocessor: Preprocessor
    notes: tuple[str, ...]


def _read_settings(checkpoint: Checkpoint, config: ModelConfig, *, frames: bool) -> _CheckpointSettings:
    labels, notes = metadata.labels_of(checkpoint)
    processor, file = metadata.read_processor(checkpoint, frames=frames)
    numbers = from_json(processor, metadata.model_size(checkpoint.config), str(file))
    interval, more = metadata.interval_of(checkpoint, config.interval, frames=frames)
    count = metadata.frames_of(checkpoint, config.frames, frames=frames)
    check_window(checkpoint.name, count, numbers.size)
    spec = ModelSpec(
        name=checkpoint.name,
        family=checkpoint.family,
        labels=labels,
        frames=count,
        interval=interval,
        size=numbers.size,
        licence=metadata.licence_of(checkpoint),
        lag=metadata.lag_of(checkpoint, (count - 1) * interval),
        events=metadata.events_of(checkpoint),
        background=metadata.background_in(checkpoint.own),
    )
    return _CheckpointSettings(spec, Preprocessor(numbers), (*notes, *more))


def _auto_class(checkpoint: Checkpoint, config_object: Any) -> tuple[Any, bool]:
    """(the Auto class that loads it, whether it looks at single frames)."""
    from transformers import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
        MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING,
        AutoModelForImageClassification,
        AutoModelForVideoClassification,
    )

    if type(config_object) in MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING:
        return AutoModelForVideoClassification, False
    if type(config_object) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        return AutoModelForImageClassification, True
    raise ModelLoadError(
        f"{checkpoint.name} is of type {checkpoint.family!r}, which classifies neither video nor pictures; "
        "`streamer models` lists checkpoints that do"
    )


def load_weights(checkpoint: Checkpoint, auto_class: Any, config_object: Any, placement: Placement) -> Any:
    """The model in its precision on its device, every weight from the checkpoint."""
    from safetensors import SafetensorError

    if not weights_present(checkpoint.folder):
        raise ModelLoadError(
            f"{checkpoint.folder} has no model.safetensors (or not all of its parts): copy or fetch the "
            "checkpoint again"
        )
    check_size(checkpoint, auto_class, config_object)
    try:
        model, report = auto_class.from_pretrained(
            checkpoint.folder,
            config=config_object,
            attn_implementation=ATTENTION,
            dtype=placement.dtype,  # converted while loading: one copy of the weights
            trust_remote_code=False,
            local_files_only=True,
            weights_only=True,
            ignore_mismatched_sizes=True,  # reported below with names and shapes, and refused
            output_loading_info=True,
        )
    except (SafetensorError, pickle.UnpicklingError, EOFError) as error:
        raise ModelLoadError(
            f"the weights in {checkpoint.folder} are damaged ({one_line(error)}): copy or fetch them again"
        ) from error
    except config_errors() as error:
        raise ModelLoadError(f"{checkpoint.name} cannot be loaded: {one_line(error)}") from error
    _check_report(checkpoint, report)
    try:
        return model.to(placement.device).eval().requires_grad_(False)
    except torch.OutOfMemoryError as error:
        raise ModelLoadError(
            f"{checkpoint.name} does not fit into the memory of {placement.device}: use --precision bf16, a "
            "smaller model or --device cpu"
        ) from error


def _check_report(checkpoint: Checkpoint, report: dict[str, Any]) -> None:
    """transformers only warns of weights that it invented; a recognizer with random weights is useless."""
    mismatched = sorted(report.get("mismatched_keys", ()))
    if mismatched:
        name, stored, wanted = mismatched[0]
        if tuple(stored[1:]) == tuple(wanted[1:]) and len(stored) and "classifier" in name:
            raise ModelLoadError(
                f"{checkpoint.name}: its weights have {stored[0]} labels, id2label in {CONFIG} names "
                f"{wanted[0]}: the two files belong to different checkpoints"
            )
        raise ModelLoadError(
            f"{checkpoint.name}: weight {name} has the shape {tuple(stored)}, {CONFIG} asks for "
            f"{tuple(wanted)}: the two files belong to different checkpoints"
        )
    unused = UNUSED_WEIGHTS.get(checkpoint.family, ())
    missing = sorted(
        key
        for key in report.get("missing_keys", ())
        if not key.startswith(unused) and not key.endswith(COMPUTED_WEIGHTS)
    )
    if not missing:
        return
    shown = ", ".join(missing[:NAMES_SHOWN]) + (", ..." if len(missing) > NAMES_SHOWN else "")
    if any(word in key for key in missing for word in ("classifier", "head")):
        raise ModelLoadError(
            f"{checkpoint.name} has no weights for its classification head ({shown}): it was only "
            "pretrained; take a fine-tuned checkpoint, or train it (`streamer train`)"
        )
    raise ModelLoadError(
        f"{checkpoint.name} lacks {len(missing)} weights of a {checkpoint.family} ({shown}): it is "
        "incomplete, or of another type"
    )


def _forward(model: Any, spec: ModelSpec) -> Forward:
    """pixel_values -> logits: our own forward where there is an exact and faster one, else transformers'.

    transformers chooses scaled-dot-product attention by itself for families that have it.
    """
    if spec.family == "timesformer":
        from streamer.recognition.families.timesformer import FusedTimesformer

        fast: Forward = FusedTimesformer(model)
        return fast

    def forward(pixel_values: Tensor) -> Tensor:
        logits: Tensor = model(pixel_values).logits
        return logits

    return forward


def _parameters(folder: Path) -> int:
    """About how many parameters the weights hold: bytes / 4 (exact for the usual fp32 files)."""
    files = [file for pattern in ("*.safetensors", "pytorch_model*.bin") for file in folder.glob(pattern)]
    return sum(file.stat().st_size for file in files) // 4


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """transformers reports and progress bars on stderr say nothing that our errors do not say better."""
    from transformers.utils import logging as theirs

    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity(theirs.CRITICAL)
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()
