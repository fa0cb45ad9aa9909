"""The function that every engine makes of a model: pixels in, logits out."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

# pixel_values (B, T, C, H, W), or (B, C, H, W) for single frames -> logits (B, L)
Forward = Callable[[Tensor], Tensor]
