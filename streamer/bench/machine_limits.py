"""What the machine itself can do: matrix products per second at each precision, and what a model needs."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

ROWS, WIDTH, OUT = 1576, 768, 3072  # the largest product of TimeSformer-base, one window
REPEATS = 12


def gemm_peaks(device: torch.device, precisions: tuple[str, ...]) -> dict[str, float]:
    """GFLOP/s (for int8: GOP/s) of the fastest way we know to multiply on this device, per precision.

    The best of REPEATS: a peak is what the machine can do, not what it does on average.
    """
    peaks = {}
    for precision in precisions:
        rates = [rate for make in (_plain, _packed, _integers) if (rate := _rate(make, device, precision))]
        if rates:
            peaks[precision] = max(rates)
    return peaks


def count_flops(module: Any, shape: tuple[int, ...]) -> float:
    """GFLOP (two for each multiply-add) of one window's products, counted from the shapes.

    Args:
        module: on the meta device: nothing is computed.
        shape: (1, T, C, H, W).
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(torch.zeros(shape, device="meta"))
    return float(counter.get_total_flops()) / 1e9


def _rate(make: Callable[..., Any], device: torch.device, precision: str) -> float | None:
    try:
        run = make(device, precision)
        if run is None:
            return None
        run()
        best = min(_timed(run, device) for _ in range(REPEATS))
    except (RuntimeError, AttributeError, NotImplementedError):  # not on this device or in this torch
        return None
    return 2 * ROWS * WIDTH * OUT / best / 1e9


def _timed(run: Callable[[], Tensor], device: torch.device) -> float:
    started = perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - started


_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def _operands(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.randn(ROWS, WIDTH, device=device, dtype=dtype), torch.randn(
        OUT, WIDTH, device=device, dtype=dtype
    )


def _plain(device: torch.device, precision: str) -> Callable[[], Tensor] | None:
    if precision not in _DTYPES or (precision == "fp16" and device.type == "cpu"):
        return None
    x, weight = _operands(device, _DTYPES[precision])
    return lambda: linear(x, weight)


def _packed(device: torch.device, precision: str) -> Callable[[], Tensor] | None:
    from streamer.recognition.engines.packing import PackedLinear, can_pack

    if device.type != "cpu" or precision not in _DTYPES or not can_pack(_DTYPES[precision]):
        return None
    x, weight = _operands(device, _DTYPES[precision])
    layer = torch.nn.Linear(WIDTH, OUT, bias=False)
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    packed = PackedLinear(layer)
    return lambda: packed(x)


def _integers(device: torch.device, precision: str) -> Callable[[], Tensor] | None:
    if precision != "int8":
        return None
    x = torch.randint(-127, 127, (ROWS, WIDTH), dtype=torch.int8, device=device)
    weight = torch.randint(-127, 127, (WIDTH, OUT), dtype=torch.int8, device=device)
    return lambda: torch._int_mm(x, weight)
