"""Linear layers whose weights are kept in the order in which the CPU's matrix kernels read them.

torch hands fp32 products to MKL, which on AMD processors reaches less than half of what the same core gives
with oneDNN's kernels, and reorders bf16 weights at each call. Packed once, both run near the core's limit.
The operators are those that torch's own compiler emits (`torch._inductor`, "freezing"); where a version of
torch lacks them, layers are left as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ROWS = 1576  # tokens of a usual window: oneDNN picks a layout for about this many


class PackedLinear(nn.Module):
    """y = x Wᵀ + b, then GELU (the exact one) where asked. fp32 or bf16, CPU, inference only."""

    def __init__(self, linear: nn.Linear, *, gelu: bool = False) -> None:
        super().__init__()
        weight = linear.weight.detach().contiguous()
        self.packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)  # opaque layout
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.after = ("gelu", "none") if gelu else ("none", "")

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        name, variant = self.after
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, name, [], variant)
        return y


class PackedPatches(nn.Module):
    """A convolution whose patches do not overlap, as a `PackedLinear` over each patch's numbers."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.height, self.width = (int(size) for size in convolution.kernel_size)
        bias = convolution.bias
        numbers, width = convolution.weight[0].numel(), convolution.out_channels
        linear = nn.Linear(numbers, width, bias=bias is not None, device="meta")
        linear.weight = nn.Parameter(convolution.weight.detach().flatten(1), requires_grad=False)
        if bias is not None:
            linear.bias = nn.Parameter(bias.detach(), requires_grad=False)
        self.linear = PackedLinear(linear)

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, height, width) -> (R, D, rows, columns); what is left beside whole patches is not seen."""
        r, c, height, width = x.shape
        rows, columns = height // self.height, width // self.width
        x = x[:, :, : rows * self.height, : columns * self.width]
        x = x.reshape(r, c, rows, self.height, columns, self.width).permute(0, 2, 4, 1, 3, 5)
        y: Tensor = self.linear(x.reshape(r, rows * columns, -1))  # (R, rows x columns, D)
        return y.transpose(1, 2).view(r, -1, rows, columns)


def can_pack(dtype: torch.dtype) -> bool:
    """True where this torch and this processor have the kernels, and they give the right answer."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    linear = nn.Linear(32, 16).to(dtype)
    x = torch.linspace(-1, 1, 4 * 32, dtype=dtype).view(4, 32)
    try:
        packed = PackedLinear(linear, gelu=True)(x)
    except (AttributeError, RuntimeError):  # another torch, another processor
        return False
    expected = nn.functional.gelu(linear(x))
    return bool(torch.allclose(packed, expected, rtol=0.05, atol=0.02 if dtype == torch.bfloat16 else 1e-5))


def pack(model: Any) -> int:
    """Pack the linear layers of a `FusedTimesformer` in place; returns how many.

    Left alone: the layers that the last block uses for one token only, and the classifier.
    """
    parameter = next(model.parameters())
    if parameter.device.type != "cpu" or not can_pack(parameter.dtype):
        return 0
    count = _pack_patches(model)
    for block in model.blocks:
        last = block is model.blocks[-1]
        for attention in (block.time, None if last else block.space):
            if attention is not None:
                count += _pack(attention, "query", "key", "value", "out")
        if not last:
            count += _pack_mlp(block)
    return count


def pack_streaming(model: Any) -> int:
    """The same for a `StreamingTimesformer` that only steps; returns how many."""
    parameter = next(model.parameters())
    if parameter.device.type != "cpu" or not can_pack(parameter.dtype):
        return 0
    count = _pack_patches(model)
    for block in model.blocks:
        count += _pack(block, "time_qkv", "time_out")
        if block is not model.blocks[-1]:
            count += _pack(block, "space_qkv", "space_out") + _pack_mlp(block)
    return count


def _pack(module: Any, *names: str) -> int:
    for name in names:
        setattr(module, name, PackedLinear(getattr(module, name)))
    return len(names)


def _pack_patches(model: Any) -> int:
    projection = model.projection
    if projection.stride != projection.kernel_size or any(projection.padding):
        return 0
    model.projection = PackedPatches(projection)
    return 1


def _pack_mlp(block: Any) -> int:
    gelu = _is_exact_gelu(block.act)
    block.widen = PackedLinear(block.widen, gelu=gelu)
    block.act = nn.Identity() if gelu else block.act
    block.narrow = PackedLinear(block.narrow)
    return 2


def _is_exact_gelu(act: Any) -> bool:
    """True for x Φ(x), whatever the class is called; tanh approximations differ by up to 5e-4."""
    x = torch.linspace(-4, 4, 101)
    return bool(torch.allclose(act(x), nn.functional.gelu(x), rtol=0, atol=1e-6))
