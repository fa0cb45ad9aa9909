"""Pictures to `pixel_values`: each frame is resized and cropped once, each window is stacked and normalised.

`reduce` gives what transformers' Pillow processors give, within one grey level, at a fraction of their
cost: the same antialiased filters run on uint8, on the camera's own memory (torch's channels-last path
takes BGR pictures without a copy; the colours are put in order after the resize, on the small picture).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from streamer.recognition.checkpoints.processor import BICUBIC, BILINEAR, ProcessorSettings
from streamer.types import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Preprocessor:
    """Applies a checkpoint's `ProcessorSettings`. Has no state that changes: any thread may call it."""

    def __init__(self, numbers: ProcessorSettings) -> None:
        self.numbers = numbers
        self._affine: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def reduce(self, image: NDArray[Any]) -> NDArray[Any]:
        """Resize and crop: uint8 BGR (H, W, 3) -> read-only uint8 RGB (h, w, 3), (h, w) = `numbers.size`.

        Raises:
            ValueError: `image` is not a picture of that form, or is empty.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ValueError(f"a picture is uint8 (H, W, 3), this is {image.dtype} {image.shape}")
        height, width = image.shape[:2]
        target = self.numbers.resized(height, width)
        resized = image if target == (height, width) else resize(image, target, self.numbers.resample)
        return _cropped_rgb(resized, self.numbers.crop or target)

    def normalise(self, frames: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """uint8 RGB (N, H, W, 3) on any device -> `dtype` (N, 3, H, W) there, contiguous.

        Computed in float32 and rounded to `dtype` at the end.
        """
        scale, shift = self._constants(frames.device)
        channels_first = frames.permute(0, 3, 1, 2)
        values = channels_first.to(torch.float32, memory_format=torch.contiguous_format)
        return values.mul_(scale).add_(shift).to(dtype)

    def _constants(self, device: torch.device) -> tuple[Tensor, Tensor]:
        key = (device, torch.float32)
        if key not in self._affine:
            numbers = self.numbers
            values = torch.tensor([numbers.scale, numbers.shift], dtype=torch.float32).view(2, 3, 1, 1)
            scale, shift = values.to(device)
            self._affine[key] = (scale, shift)
        return self._affine[key]


def resize(image: NDArray[Any], size: tuple[int, int], resample: int) -> NDArray[Any]:
    """Pillow's `Image.resize` of uint8 (H, W, 3) to `size` (h, w), within one grey level.

    torch's antialiased filters are Pillow's, at a tenth of the time; where they are not (`_alike`), Pillow
    itself does it.
    """
    if not _alike(image.shape[:2], size, resample):
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(image))
        return np.asarray(picture.resize(size[::-1], Image.Resampling(resample)))
    # torch takes neither negative strides nor, without a warning, read-only memory
    if not image.flags.c_contiguous or not image.flags.writeable:
        image = image.copy()
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    mode = "bilinear" if resample == BILINEAR else "bicubic"
    resized = interpolate(planes, size=size, mode=mode, antialias=True)
    pixels: NDArray[Any] = resized[0].permute(1, 2, 0).numpy()
    return pixels


def _alike(before: tuple[int, ...], after: tuple[int, int], resample: int) -> bool:
    """True where torch gives what Pillow gives, found by trying some 20,000 shapes of pure noise.

    Bilinear, shrinking: within one grey level (two in single pixels of one noise picture in 2,000). Bicubic
    overshoots, and what is cut off at 0 and 255 depends on which axis goes first: torch takes rows first, and
    Pillow too where a picture is no higher than wide and loses no more of its height than of its width.
    """
    if after[0] > before[0] or after[1] > before[1]:
        return False
    if resample == BILINEAR:
        return True
    halved = 2 * after[0] <= before[0] and 2 * after[1] <= before[1]
    rows_first = before[0] <= before[1] and after[1] * before[0] <= after[0] * before[1]
    return resample == BICUBIC and halved and rows_first


def _cropped_rgb(image: NDArray[Any], crop: tuple[int, int]) -> NDArray[Any]:
    """BGR (H, W, 3) -> RGB (h, w, 3): the middle, with black around it where the picture is smaller."""
    height, width = image.shape[:2]
    rows, columns = _middle(height, crop[0]), _middle(width, crop[1])
    smaller = crop[0] > height or crop[1] > width
    out = np.zeros((*crop, 3), np.uint8) if smaller else np.empty((*crop, 3), np.uint8)
    source, target = image[rows[0], columns[0]], out[rows[1], columns[1]]
    for channel in range(3):  # three strided copies: four times faster than [..., ::-1]
        target[..., channel] = source[..., 2 - channel]
    out.flags.writeable = False
    return out


def _middle(length: int, crop: int) -> tuple[slice, slice]:
    """Which part of `length` goes where in `crop`, as transformers' center_crop places it."""
    if crop <= length:
        start = (length - crop) // 2
        return slice(start, start + crop), slice(0, crop)
    front = ceil((crop - length) / 2)  # the odd pixel of padding goes before the picture
    return slice(0, length), slice(front, front + length)


def stack_frames(frames: Sequence[Frame]) -> Tensor:
    """Images of N frames -> uint8 (N, H, W, 3) in host memory, one copy."""
    return torch.from_numpy(np.stack([frame.image for frame in frames]))
