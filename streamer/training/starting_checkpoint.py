"""The checkpoint that training starts from: which frames it looks at, and its weights with a new head."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints import metadata
from streamer.recognition.checkpoints.checkpoint import Checkpoint, open_checkpoint
from streamer.recognition.checkpoints.processor import from_json
from streamer.recognition.model_config import ATTENTION, check_size, model_config
from streamer.recognition.preprocessing import Preprocessor
from streamer.training.clips import Sampling


@dataclass(frozen=True, slots=True)
class StartingCheckpoint:
    """What is to be fine-tuned."""

    checkpoint: Checkpoint
    single: bool  # a model of single frames
    sampling: Sampling
    preprocessor: Preprocessor
    processor_file: Path
    licence: str | None
    notes: tuple[str, ...]


def open_starting_checkpoint(model_id: str, interval: float | None) -> StartingCheckpoint:
    """Read a checkpoint's JSON files. Raises ModelLoadError."""
    from transformers import (
        CONFIG_MAPPING,
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
        MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING,
    )

    checkpoint = open_checkpoint(model_id)
    known = checkpoint.family in CONFIG_MAPPING
    kind = CONFIG_MAPPING[checkpoint.family] if known else None
    single = kind not in MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING
    if kind is None or (single and kind not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING):
        raise ModelLoadError(
            f"{checkpoint.name} is of type {checkpoint.family!r}, which has no classification head in "
            "transformers; `streamer models` lists checkpoints that have"
        )
    processor, file = metadata.read_processor(checkpoint, frames=single)
    numbers = from_json(processor, metadata.model_size(checkpoint.config), str(file))
    seconds, notes = metadata.interval_of(checkpoint, interval, frames=single)
    return StartingCheckpoint(
        checkpoint,
        single,
        Sampling(metadata.frames_of(checkpoint, None, frames=single), seconds),
        Preprocessor(numbers),
        file,
        metadata.licence_of(checkpoint),
        tuple(notes),
    )


def load_model(base: StartingCheckpoint, labels: Sequence[str], own: dict[str, Any]) -> Any:
    """The weights with a head for `labels`: the old one where it has exactly these, else a new one.

    Args:
        own: what config.json shall say under "streamer".

    Raises:
        ModelLoadError: weights are missing or damaged.
    """
    from safetensors import SafetensorError
    from torch import nn
    from transformers import AutoModelForImageClassification, AutoModelForVideoClassification

    folder, auto = base.checkpoint.folder, AutoModelForVideoClassification
    if base.single:
        auto = AutoModelForImageClassification
    try:
        config = model_config(base.checkpoint)
        check_size(base.checkpoint, auto, config)
        same = [config.id2label.get(index) for index in range(len(config.id2label))] == list(labels)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
        config.problem_type = "single_label_classification"
        config.streamer = own
        model, report = auto.from_pretrained(
            folder, config=config, attn_implementation=ATTENTION, trust_remote_code=False, weights_only=True,
            local_files_only=True, ignore_mismatched_sizes=True, output_loading_info=True, dtype="float32",
        )  # fmt: skip
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:240]
        raise ModelLoadError(f"{base.checkpoint.name} cannot be loaded: {reason}") from error
    body = f"{model.base_model_prefix}."
    lost = sorted(k for k in report["missing_keys"] if k.startswith(body) and ".predictor." not in k)
    if lost:
        raise ModelLoadError(
            f"{base.checkpoint.name} lacks {len(lost)} weights of its body ({lost[0]}, ...): it is incomplete"
        )
    for name, module in model.named_modules():
        fits = isinstance(module, nn.Linear) and module.out_features == len(labels)
        if fits and not same and not name.startswith(body):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def copy_processor(base: StartingCheckpoint, folder: Path) -> None:
    """The base's processor file belongs to what came out of it too. Raises OSError."""
    shutil.copyfile(base.processor_file, folder / base.processor_file.name)
