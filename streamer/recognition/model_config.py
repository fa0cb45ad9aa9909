"""transformers' config object of a checkpoint, without what a foreign file must not decide, and its size.

The object is made from the JSON that was read and checked already. Left out is what chooses program code:
which attention is used (names of the form owner/kernel are fetched from the Hub and run), kernels, classes
that the checkpoint brings.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints.checkpoint import Checkpoint
from streamer.recognition.checkpoints.checkpoint_files import CONFIG, weights_files
from streamer.recognition.checkpoints.limits import count_weights

ATTENTION = None  # for `from_pretrained`: transformers' own choice for the family, never the checkpoint's
SLACK = 20_000_000  # numbers that a config may ask for beyond what the weights hold: a head of other labels
_NOT_THEIRS = (
    "attn_implementation", "_attn_implementation", "_attn_implementation_internal",
    "experts_implementation", "_experts_implementation", "_experts_implementation_internal",
    "auto_map", "kernel_config", "use_kernels", "custom_pipelines",
)  # fmt: skip


def config_errors() -> tuple[type[Exception], ...]:
    """What a config.json or weights of wrong content raise when a model is made of them."""
    from huggingface_hub.errors import StrictDataclassError

    return (
        StrictDataclassError, ValueError, TypeError, LookupError, AttributeError, OSError, RuntimeError,
        ArithmeticError, ImportError, MemoryError, AssertionError,
    )  # fmt: skip


def model_config(checkpoint: Checkpoint) -> Any:
    """transformers' config object of a checkpoint.

    Raises:
        ModelLoadError: of a family that is not known, with weights that are no plain ones, or wrong.
    """
    from transformers import CONFIG_MAPPING

    if checkpoint.family not in CONFIG_MAPPING:
        brings_code = "auto_map" in checkpoint.config
        own_code = " (it brings its own program code, which streamer never runs)" if brings_code else ""
        raise ModelLoadError(
            f"{checkpoint.name}: this transformers does not know models of type "
            f"{checkpoint.family!r}{own_code}; update transformers, or take another checkpoint"
        )
    if checkpoint.config.get("quantization_config"):
        raise ModelLoadError(
            f"{checkpoint.name} has quantised weights (quantization_config in {CONFIG}): take the plain "
            "ones; streamer makes int8 itself (--engine openvino --precision int8)"
        )
    if (checkpoint.folder / "adapter_config.json").exists():
        raise ModelLoadError(
            f"{checkpoint.name} holds an adapter: merge it into the model and save that "
            "(PEFT's merge_and_unload)"
        )
    try:
        return CONFIG_MAPPING[checkpoint.family].from_dict(_without_code(checkpoint.config))
    except config_errors() as error:
        raise ModelLoadError(f"{checkpoint.folder / CONFIG} is wrong: {one_line(error)}") from error


def check_size(checkpoint: Checkpoint, auto_class: Any, config: Any) -> None:
    """Refuse a config that asks for far more numbers than the weights hold: they would be made up, in memory.

    Raises:
        ModelLoadError: it does, or no model can be made of it.
    """
    held = count_weights(weights_files(checkpoint.folder))
    counted = copy.deepcopy(config)
    if checkpoint.family == "videomae":  # computes a table over its patches in Python, a second for nothing
        counted.image_size, counted.num_frames = counted.patch_size, counted.tubelet_size
    try:
        with torch.device("meta"):  # shapes only
            asked = sum(p.numel() for p in auto_class.from_config(counted).parameters())
    except config_errors() as error:
        raise ModelLoadError(f"{checkpoint.name} cannot be loaded: {one_line(error)}") from error
    if asked > 1.05 * held + SLACK:
        raise ModelLoadError(
            f"{checkpoint.name}: {CONFIG} asks for {asked / 1e6:,.0f} million weights, its files hold "
            f"{held / 1e6:,.0f} million: the two belong to different checkpoints"
        )


def one_line(error: Exception) -> str:
    """A third party's message on one line, not too long."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:240]


def _without_code(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_code(part) for key, part in value.items() if key not in _NOT_THEIRS}
    return [_without_code(part) for part in value] if isinstance(value, list) else value
