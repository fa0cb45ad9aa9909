"""What a checkpoint's processor file says: sizes, crop, rescaling, mean and standard deviation. No torch
here.

The numbers come from the checkpoint's own JSON, never from a processor class's defaults, and the class
itself is not needed: several of transformers' classes want torchvision, which streamer does without. The
arithmetic is that of transformers' `image_transforms.py` (resize, center_crop, rescale, normalize), which
`preprocessing.py` follows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints.limits import MAX_SIDE

BILINEAR, BICUBIC = 2, 3  # Pillow's numbers, which the files use
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
BICUBIC_CLASSES = ("CLIP", "Siglip", "ConvNext", "Bit", "DeiT", "Beit")  # where a file leaves it out
SHORT_EDGE_CLASSES = ("VideoMAE", "Vivit", "CLIP", "VJEPA2", "Timesformer")  # of a size given as one number
# Classes whose arithmetic is another one; refused rather than nearly right.
OTHER_ARITHMETIC = ("EfficientNet", "Levit", "PoolFormer", "MobileViT", "ImageGPT", "Perceiver")
OTHER_KEYS = ("do_pad", "do_flip_channel_order", "do_color_quantize", "do_grayscale", "rescale_offset")

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ProcessorSettings:
    """How a picture becomes a model's input: resize, centre crop, then value x scale + shift (RGB).

    Exactly one of `edge` (the shorter side becomes this long) and `resize` (H, W) is set, or neither (no
    resizing). `crop` (H, W) pads with black where the picture is smaller.
    """

    edge: int | None
    resize: tuple[int, int] | None
    resample: int
    crop: tuple[int, int] | None
    factor: float  # uint8 value x factor + offset, before mean and std
    offset: float
    mean: Triple
    std: Triple

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of what comes out, whatever goes in."""
        size = self.crop or self.resize
        assert size is not None  # from_json sees to it
        return size

    @property
    def scale(self) -> Triple:
        """Per channel, for uint8 values 0..255."""
        return _triple([self.factor / s for s in self.std])

    @property
    def shift(self) -> Triple:
        return _triple([(self.offset - m) / s for m, s in zip(self.mean, self.std, strict=True)])

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) after resizing a picture of (height, width); the longer side is cut off, not rounded."""
        if self.resize is not None:
            return self.resize
        if self.edge is None:
            return height, width
        if width <= height:
            return int(self.edge * height / width), self.edge
        return self.edge, int(self.edge * width / height)


def from_json(
    processor: Mapping[str, Any], model_size: tuple[int, int] | None, where: str
) -> ProcessorSettings:
    """The numbers in a processor's JSON object.

    Args:
        processor: the object.
        model_size: (H, W) the model was built for; the crop where the file gives only a shortest edge.
        where: the file, for messages.

    Raises:
        ModelLoadError: something is absent or asks for arithmetic that streamer does not do.
    """
    kind = str(
        processor.get("video_processor_type")
        or processor.get("image_processor_type")
        or processor.get("feature_extractor_type")
        or ""
    )
    asked = [key for key in OTHER_KEYS if processor.get(key)]
    if kind.startswith(OTHER_ARITHMETIC) or asked:
        what = f"{kind or 'the processor'}" + (f" with {', '.join(asked)}" if asked else "")
        raise ModelLoadError(
            f"{where}: {what} prepares pictures in a way that streamer does not do; use a model with a plain "
            "resize, crop and normalise processor"
        )
    try:
        edge, resize, crop = _sizes(processor, kind, model_size)
        vivit = kind.startswith("Vivit")
        rescale = bool(processor.get("do_rescale", True))
        default_factor = 1 / 127.5 if vivit else 1 / 255
        offset = -1.0 if rescale and processor.get("offset", vivit) else 0.0
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if processor.get("do_normalize", True):
            mean, std = _triple(processor["image_mean"]), _triple(processor["image_std"])
        factor = float(processor.get("rescale_factor", default_factor)) if rescale else 1.0
        default = BICUBIC if kind.startswith(BICUBIC_CLASSES) else BILINEAR
        resample = processor.get("resample")
        resample = default if resample is None else int(resample)
    except KeyError as error:
        raise ModelLoadError(
            f"{where} has no {error}; take the file that came with the checkpoint"
        ) from error
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise ModelLoadError(f"{where} is not a processor's file: {error}") from error
    sides = [edge or 1, *(resize or ()), *(crop or ())]
    finite = all(map(math.isfinite, (*mean, *std, factor)))
    if resample not in RESAMPLE or 0.0 in std or not finite or min(sides) < 1 or max(sides) > MAX_SIDE:
        raise ModelLoadError(
            f"{where}: impossible numbers (size {resize or edge}, crop {crop}, std {std}, resample "
            f"{resample})"
        )
    return ProcessorSettings(edge, resize, resample, crop, factor, offset, mean, std)


_Size = tuple[int, int]


def _sizes(
    processor: Mapping[str, Any], kind: str, model_size: _Size | None
) -> tuple[int | None, _Size | None, _Size | None]:
    """(shortest edge, resize to, crop to) from `size`, `crop_size` and their switches."""
    edge: int | None = None
    resize: _Size | None = None
    crop: _Size | None = None
    if processor.get("do_resize", "size" in processor):
        edge, resize = _size(processor["size"], square=not kind.startswith(SHORT_EDGE_CLASSES))
    if processor.get("do_center_crop", "crop_size" in processor):
        crop = _square_or_pair(processor["crop_size"])
    if (
        kind.startswith("ConvNext") and edge is not None
    ):  # its own rule: crop_pct below 384, warp from there on
        square = (edge, edge)
        if edge >= 384:
            return None, square, crop
        return int(edge / float(processor.get("crop_pct") or 224 / 256)), None, square
    if kind.startswith("VJEPA2") and crop is not None:
        edge, resize = int(crop[0] * 256 / 224), None  # the class sets it so, whatever the file says
    if crop is None and resize is None:
        if model_size is None:
            raise ValueError("it gives pictures of no fixed size (neither crop_size nor a full size)")
        crop = model_size
    return edge, resize, crop


def _size(value: Any, square: bool) -> tuple[int | None, _Size | None]:
    """transformers' size: {"shortest_edge"}, {"height", "width"} or, in old files, a number."""
    if isinstance(value, Mapping):
        if value.get("height") and value.get("width"):
            return None, (int(value["height"]), int(value["width"]))
        if value.get("shortest_edge") and not value.get("longest_edge"):
            return int(value["shortest_edge"]), None
        raise ValueError(f"size {dict(value)} is neither a shortest edge nor a height and a width")
    if isinstance(value, (list, tuple)):
        return None, (int(value[0]), int(value[1]))
    return (None, (int(value), int(value))) if square else (int(value), None)


def _square_or_pair(value: Any) -> _Size:
    if isinstance(value, Mapping):
        return int(value["height"]), int(value["width"])
    return int(value), int(value)


def _triple(value: Any) -> Triple:
    """One number for all channels, or one each."""
    values = [float(v) for v in value] if isinstance(value, (list, tuple)) else [float(value)] * 3
    if len(values) != 3:
        raise ValueError(f"{len(values)} channels, where a camera has 3")
    return values[0], values[1], values[2]
