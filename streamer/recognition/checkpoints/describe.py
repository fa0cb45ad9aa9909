"""What `streamer models show` says of a checkpoint, from its JSON files alone. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints import metadata, registry
from streamer.recognition.checkpoints.checkpoint import Checkpoint, open_checkpoint
from streamer.recognition.checkpoints.checkpoint_files import cached_folder
from streamer.recognition.checkpoints.processor import from_json


def describe(model_id: str) -> dict[str, Any]:
    """All that is known of a checkpoint, ready for printing or JSON.

    Args:
        model_id: "demo", a folder, or a Hub id; of an id that is not on this machine only what the table of
            published checkpoints says.

    Returns:
        id, family, kind ("video", "frame" or "words"), use, folder, frames, interval and span (seconds), size
        [H, W], mean, std, labels (how many), label_names, licence, gflop (of one window, of frame and
        streaming models one frame; two per multiply-add), notes. What is unknown is None.

    Raises:
        ModelLoadError: it is neither known nor here, or its files are wrong.
    """
    entry = registry.find(model_id)
    if entry is not None and entry.id == model_id and cached_folder(model_id) is None:
        return _from_table(entry)
    return _from_files(open_checkpoint(model_id, download=False))


def _from_table(entry: registry.KnownModel) -> dict[str, Any]:
    return {
        "id": entry.id,
        "family": entry.family,
        "kind": entry.kind,
        "use": entry.use,
        "folder": None,
        "frames": entry.frames,
        "interval": entry.interval,
        "span": entry.span,
        "size": [entry.size, entry.size],
        "mean": None,
        "std": None,
        "labels": None,
        "label_names": None,
        "licence": entry.licence,
        "gflop": entry.gflop,
        "notes": [f"not on this machine: `streamer models get {entry.id}` fetches it"],
    }


def _from_files(checkpoint: Checkpoint) -> dict[str, Any]:
    entry = registry.find(checkpoint.name)
    frames = checkpoint.family not in registry.FAMILIES and metadata.frame_count(checkpoint) is None
    words = metadata.compares_words(checkpoint)
    vision = checkpoint.config.get("vision_config") if words else None
    seeing = vision if isinstance(vision, Mapping) else checkpoint.config
    processor, file = metadata.read_processor(checkpoint, frames=frames)
    numbers = from_json(processor, metadata.model_size(seeing), str(file))
    labels, notes = ((), ["say what it looks for: --labels"]) if words else metadata.labels_of(checkpoint)
    count: int | None = metadata.frames_of(checkpoint, None, frames=frames)
    if words and isinstance(seeing.get("num_frames"), int):
        count = seeing["num_frames"]
    interval: float | None = None
    try:
        interval, more = metadata.interval_of(checkpoint, None, frames=frames)
    except ModelLoadError as error:  # of a family that is not known: worth a note here, an error when it runs
        more = [str(error)]
    whole = checkpoint.family == "xclip"  # of word models the only one that looks at whole windows
    streaming = bool(checkpoint.own.get("streaming"))
    if streaming:
        more = [
            *more,
            "a streaming model: it computes one frame each interval, and asks the others from a cache",
        ]
    counted = (
        gflop({**seeing, "model_type": "vit"}, 1, numbers.size) if words
        else gflop(checkpoint.config, 1 if streaming else count or 1, numbers.size)
    )  # fmt: skip
    counted = counted * (count or 1) if counted is not None and whole else counted
    return {
        "id": checkpoint.name,
        "family": checkpoint.family,
        "kind": entry.kind if entry else ("words" if words else "frame" if frames else "video"),
        "use": entry.use if entry else None,
        "folder": str(checkpoint.folder),
        "frames": count,
        "interval": interval,
        "span": None if interval is None or count is None else (count - 1) * interval,
        "size": list(numbers.size),
        "mean": list(numbers.mean),
        "std": list(numbers.std),
        "labels": None if words else len(labels),
        "label_names": None if words else list(labels),
        "licence": metadata.licence_of(checkpoint),
        "gflop": counted if counted is not None else (entry.gflop if entry else None),
        "notes": [*notes, *more],
    }


def gflop(config: Mapping[str, Any], frames: int, size: tuple[int, int]) -> float | None:
    """10^9 floating point operations of one forward, two per multiply-add, counted from the shapes.

    Matrix products only (the rest is well below 1 %): of TimeSformer, of models that attend over all tokens
    at once (VideoMAE, ViViT, V-JEPA 2's encoder), and of ViT, for one frame. None for others.

    Raises:
        ModelLoadError: the sizes are none.
    """
    try:
        return _counted(config, frames, size)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ModelLoadError(f"config.json has sizes that no model can have ({error})") from error


def _counted(config: Mapping[str, Any], frames: int, size: tuple[int, int]) -> float | None:
    family = config.get("model_type")
    shape = _Shape(config, frames, size)
    if family == "timesformer":
        return 2e-9 * _timesformer(shape, str(config.get("attention_type", "divided_space_time")))
    tubelet = {"videomae": config.get("tubelet_size", 2), "vjepa2": config.get("tubelet_size", 2), "vit": 1}
    if family == "vivit":
        time, *patch = config.get("tubelet_size", (2, 16, 16))
        shape.patches = (size[0] // patch[0]) * (size[1] // patch[1])
        return 2e-9 * _joint(shape, shape.patches * (frames // time) + 1, time * patch[0] * patch[1] * 3)
    if family in tubelet:
        time = tubelet[family]
        steps = 1 if family == "vit" else frames // time
        tokens = shape.patches * steps + (1 if family == "vit" else 0)
        return 2e-9 * _joint(shape, tokens, time * shape.patch**2 * 3)
    return None


class _Shape:
    """The sizes that a transformer's cost follows from, with the families' common defaults."""

    def __init__(self, config: Mapping[str, Any], frames: int, size: tuple[int, int]) -> None:
        patch = config.get("patch_size", 16)
        self.patch = int(patch[0] if isinstance(patch, (list, tuple)) else patch)
        self.width = int(config.get("hidden_size", 1024 if config.get("model_type") == "vjepa2" else 768))
        self.layers = int(config.get("num_hidden_layers", 24 if config.get("model_type") == "vjepa2" else 12))
        ratio = config.get("mlp_ratio", 4)
        self.mlp = int(config.get("intermediate_size", self.width * ratio))
        self.patches = (size[0] // self.patch) * (size[1] // self.patch)
        self.frames = frames


def _timesformer(shape: _Shape, attention: str) -> float:
    """Multiply-adds. Divided: q, k, v, out and one more dense in time; q, k, v, out in space; an MLP."""
    n, t, d = shape.patches, shape.frames, shape.width
    embedding = n * t * shape.patch**2 * 3 * d
    mlp = 2 * d * shape.mlp
    if attention != "divided_space_time":
        rows, tokens = (t, n + 1) if attention == "space_only" else (1, n * t + 1)
        layer = rows * tokens * (4 * d * d + mlp + 2 * tokens * d)
        return float(embedding + shape.layers * layer)
    in_time = n * t * (5 * d * d + 2 * t * d)
    in_space = t * (n + 1) * (4 * d * d + 2 * (n + 1) * d)
    return float(embedding + shape.layers * (in_time + in_space + (n * t + 1) * mlp))


def _joint(shape: _Shape, tokens: int, patch_values: int) -> float:
    """Multiply-adds of a plain transformer over all tokens."""
    d = shape.width
    layer = tokens * (4 * d * d + 2 * d * shape.mlp + 2 * tokens * d)
    return float(tokens * patch_values * d + shape.layers * layer)
