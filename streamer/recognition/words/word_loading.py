"""From a checkpoint that compares pictures with words to a recognizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from streamer.config import ModelConfig
from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints import metadata, registry
from streamer.recognition.checkpoints.checkpoint import Checkpoint
from streamer.recognition.checkpoints.limits import check_window
from streamer.recognition.checkpoints.processor import from_json
from streamer.recognition.device import Placement
from streamer.recognition.engines.tuning import choose_engine
from streamer.recognition.families.recognizers import LoadedModel
from streamer.recognition.preprocessing import Preprocessor
from streamer.recognition.words.camera_words import TEXT_FAMILIES, CameraWords, TextFamily
from streamer.recognition.words.prompts import NOTHING, WordSet, read_words
from streamer.recognition.words.text_encoder import TextEncoder
from streamer.recognition.words.towers import PictureTower, TextTower, VideoTower, WordsToVideo
from streamer.recognition.words.word_recognizers import FrameTextRecognizer, WindowTextRecognizer
from streamer.types import ModelSpec

XCLIP_CLIP = 4.0  # seconds; it was trained on frames spread over clips of a few seconds
SUGGESTED = "openai/clip-vit-base-patch32"


def check_words(checkpoint: Checkpoint, config: ModelConfig) -> None:
    """Whether checkpoint and labels go together, before anything is loaded.

    Raises:
        ModelLoadError: words without labels, labels for a model that has its own, a family that is not known.
        ConfigError: the labels are wrong.
    """
    if not metadata.compares_words(checkpoint):
        if config.labels:
            raise ModelLoadError(
                f"{checkpoint.name} has its own labels, and --labels (model.labels) needs a model that reads "
                f"words, such as --model {SUGGESTED}; to see only some of its labels use --label"
            )
        return
    if checkpoint.family not in TEXT_FAMILIES:
        raise ModelLoadError(
            f"{checkpoint.name} compares pictures with words in the way of {checkpoint.family!r}, which "
            f"streamer does not know; it knows {', '.join(TEXT_FAMILIES)}: see `streamer models`"
        )
    if not config.labels:
        raise ModelLoadError(
            f"{checkpoint.name} compares pictures with words and has no labels of its own: say what to look "
            'for, such as --labels "a person waving" --labels "a person falling", or --labels FILE.yaml'
        )
    read_words(config.labels)


def load(
    checkpoint: Checkpoint,
    config: ModelConfig,
    placement: Placement,
    model_config: Any,
    load_weights: Callable[[], Any],
) -> FrameTextRecognizer | WindowTextRecognizer:
    """Build the recognizer. Call `check_words` before.

    Raises:
        ModelLoadError: something is missing, damaged or does not fit.
        ConfigError: the labels are wrong, or a prompt is too long.
    """
    family = TEXT_FAMILIES[checkpoint.family]
    words_asked = read_words(config.labels or ())
    if config.precision == "int8":
        raise ModelLoadError(
            f"{checkpoint.name}: int8 is for models with labels of their own; use --precision fp32 or bf16"
        )
    settings = _read_settings(checkpoint, config, family, model_config)
    model = load_weights()
    tower = TextTower(model, masked=not family.padded)
    text_config = model_config.text_config
    encoder = TextEncoder(
        checkpoint, tower, tower,
        longest=int(text_config.max_position_embeddings),
        vocabulary=int(text_config.vocab_size),
        padded=family.padded,
    )  # fmt: skip
    words = CameraWords(encoder, family, words_asked)
    spec = _spec(settings[0], words_asked, words, family, placement)
    seeing = VideoTower(model) if family.window else PictureTower(model)
    loaded = LoadedModel(spec, settings[1], placement, seeing.eval(), model)
    width = int(words.common.text.shape[1])
    recognizer: FrameTextRecognizer | WindowTextRecognizer
    if family.window:
        vision = model_config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
        recognizer = WindowTextRecognizer(loaded, words, WordsToVideo(model), width=width, patches=patches)
    else:
        scale = float(model.logit_scale.detach().float().exp())
        bias = float(model.logit_bias.detach().float()) if hasattr(model, "logit_bias") else 0.0
        recognizer = FrameTextRecognizer(loaded, words, config.aggregate, scale=scale, bias=bias, width=width)
    # Measuring which engine is fastest compares logits of labels, which do not exist here.
    asked = {
        "engine": "torch" if config.engine == "auto" else config.engine,
        "precision": placement.precision if config.precision == "auto" else config.precision,
    }
    choose_engine(recognizer, config.model_copy(update=asked))
    return recognizer


def _read_settings(
    checkpoint: Checkpoint, config: ModelConfig, family: TextFamily, model_config: Any
) -> tuple[ModelSpec, Preprocessor]:
    """What the JSON files decide, labels aside."""
    processor, file = metadata.read_processor(checkpoint, frames=not family.window)
    side = int(model_config.vision_config.image_size)
    numbers = from_json(processor, (side, side), str(file))
    if numbers.size != (side, side):
        raise ModelLoadError(
            f"{checkpoint.name}: its processor makes pictures of {numbers.size}, its model takes "
            f"{(side, side)}: the two files belong to different checkpoints"
        )
    frames = int(model_config.vision_config.num_frames) if family.window else None
    if frames is not None and config.frames not in (None, frames):
        raise ModelLoadError(
            f"{checkpoint.name} was made for windows of {frames} frames, not {config.frames}: leave "
            "model.frames out (--interval changes how far apart they are)"
        )
    count = frames or metadata.frames_of(checkpoint, config.frames, frames=True)
    check_window(checkpoint.name, count, numbers.size)
    interval, _ = metadata.interval_of(checkpoint, config.interval, frames=True)
    said = config.interval or checkpoint.own.get("interval") or registry.find(checkpoint.name)
    if frames is not None and not said:
        interval = XCLIP_CLIP / frames
    spec = ModelSpec(
        name=checkpoint.name,
        family=checkpoint.family,
        labels=(),
        frames=count,
        interval=interval,
        size=numbers.size,
        licence=metadata.licence_of(checkpoint),
    )
    return spec, Preprocessor(numbers)


def _spec(
    spec: ModelSpec, asked: WordSet, words: CameraWords, family: TextFamily, placement: Placement
) -> ModelSpec:
    return dataclasses.replace(
        spec,
        labels=words.common.labels,
        device=placement.device.type,
        precision=placement.precision,
        independent=family.independent,
        thresholds=asked.thresholds,
        ignored=(NOTHING,) if asked.has_nothing else (),
    )
