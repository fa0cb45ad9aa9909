"""Numbers of a checkpoint that are absurd are refused before anything is built of them. No torch here.

A checkpoint is somebody else's file: a `num_labels` of 1e9 in its config.json would cost gigabytes before
anything else looked at it. The limits lie far above every published model; what a config then still asks for
is compared with what the weights hold (`model_config.check_size`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamer.errors import ModelLoadError

MAX_LABELS = 100_000  # ImageNet-21k has 21,841
MAX_LABEL = 200  # characters
MAX_LAYERS = 1000
MAX_WIDTH = 65_536  # numbers of a token, of a hidden layer, heads
MAX_TOKENS = 262_144  # patches of a window
MAX_SIDE = 4096  # pixels; no model looks at more
MAX_NUMBER = 10_000_000  # anything else that is counted
MAX_VALUES = 500_000  # of a config
MAX_DEPTH = 20  # of objects in objects
MAX_WINDOW = 500_000_000  # bytes of a window's frames, uint8 RGB; 96 frames of 448 x 448 are 58 MB
MAX_HEADER = 20_000_000  # bytes of a safetensors file's header; of large models 100 kB
MAX_TOKENIZER = 200_000_000  # bytes of a file; the largest known has 34 MB

# What a key's name says of its number; the first that matches holds.
_LABEL_TABLES = ("id2label", "label2id")
_LIMITS = (
    (re.compile(r"id2label|label2id|_id$"), MAX_NUMBER),
    (re.compile(r"labels|classes"), MAX_LABELS),
    (re.compile(r"layers?$|depth|blocks|stages|experts"), MAX_LAYERS),
    (
        re.compile(r"image_size|crop_size|patch_size|num_frames|frames_per_clip|n_frames|video_length"),
        MAX_SIDE,
    ),
    (re.compile(r"vocab|position"), MAX_NUMBER),
    (re.compile(r"size|dim|width|heads|channels|ratio"), MAX_WIDTH),
)
_LAYER_LISTS = re.compile(r"layers?$|depth|blocks|stages|sizes|dims|heads|ratio")


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Look at every number of a config.json.

    Args:
        config: its JSON object.
        where: the file, for messages.

    Raises:
        ModelLoadError: a number is not finite or absurdly large, or there are too many values.
    """
    waiting: list[tuple[str, Any, int]] = [("", config, 0)]
    seen = 0
    while waiting:
        key, value, depth = waiting.pop()
        seen += 1
        if seen > MAX_VALUES or depth > MAX_DEPTH:
            raise ModelLoadError(f"{where} is wrong: no model's config has so many values, one in the other")
        if isinstance(value, Mapping):
            named = key not in _LABEL_TABLES  # their keys are labels: they say nothing of their numbers
            waiting += [(str(name) if named else key, part, depth + 1) for name, part in value.items()]
        elif isinstance(value, list):
            if _LAYER_LISTS.search(key) and len(value) > MAX_LAYERS:
                raise ModelLoadError(f"{where} is wrong: {key[:60]!r} lists {len(value):,} values")
            waiting += [(key, part, depth + 1) for part in value]
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            limit = next((most for name, most in _LIMITS if name.search(key)), MAX_NUMBER)
            if not abs(value) <= limit:  # true of what is not a number too
                raise ModelLoadError(
                    f"{where} is wrong: {key[:60]!r} is {str(value)[:30]}, which no model has "
                    f"(at most {limit:,})"
                )
    _check_tokens(config, where)


def _check_tokens(config: Mapping[str, Any], where: str) -> None:
    """Some families compute a table over all patches of a window when they are built."""
    for part in (config, config.get("vision_config")):
        if not isinstance(part, Mapping):
            continue
        side, patch = _largest(part.get("image_size")), _largest(part.get("patch_size"))
        frames = _largest(part.get("num_frames")) or 1
        tokens = (side // patch) ** 2 * frames if side and patch else 0
        if tokens > MAX_TOKENS:
            raise ModelLoadError(
                f"{where} is wrong: image_size {side}, patch_size {patch} and {frames} frames make "
                f"{tokens:,} patches a window, which no model has"
            )


def _largest(value: Any) -> int:
    values = value if isinstance(value, list) else [value]
    return max((v for v in values if isinstance(v, int) and not isinstance(v, bool)), default=0)


def check_window(name: str, frames: int, size: tuple[int, int]) -> None:
    """Raises ModelLoadError where one window of `frames` pictures of `size` (H, W) would fill the memory."""
    taken = frames * size[0] * size[1] * 3
    if taken > MAX_WINDOW:
        raise ModelLoadError(
            f"{name}: a window of {frames} frames of {size[1]} x {size[0]} pixels takes {taken / 1e6:,.0f} "
            f"MB, more than streamer takes ({MAX_WINDOW / 1e6:,.0f} MB)"
        )


def count_weights(files: list[Path]) -> int:
    """How many numbers weights files hold, by the headers of safetensors; of others at most so many.

    Raises:
        ModelLoadError: a header is no header.
    """
    return sum(_count(file) if file.suffix == ".safetensors" else file.stat().st_size // 2 for file in files)


def _count(file: Path) -> int:
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise ModelLoadError(
                f"the weights in {file} are damaged (a header of {length:,} bytes): copy or fetch them again"
            )
        header = stream.read(length)
    try:
        tensors = json.loads(header)
        shapes = [tensor["shape"] for name, tensor in tensors.items() if name != "__metadata__"]
        return sum(math.prod(int(side) for side in shape) for shape in shapes)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ModelLoadError(
            f"the weights in {file} are damaged (their header cannot be read): copy or fetch them again"
        ) from error
