"""The torch engine: packed weights on a CPU, CUDA graphs on a GPU where they are faster."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from streamer.recognition.engines.packing import pack
from streamer.recognition.families.timesformer import FusedTimesformer

if TYPE_CHECKING:
    from streamer.recognition.engines.engine import Forward

log = logging.getLogger(__name__)

BATCHES = (1, 2, 4, 8)  # sizes that get a graph of their own; others run eagerly
WARM_UPS = 3  # forwards before a graph is captured, so that libraries have chosen their kernels


def torch_forward(module: Any) -> Forward:
    """The module's fastest exact forward on the device where its weights are."""
    module.eval().requires_grad_(False)
    dtype = next(module.parameters()).dtype
    if next(module.parameters()).device.type == "cuda":
        return CudaGraphs(module)
    if isinstance(module, FusedTimesformer):
        packed = pack(module)
        log.debug("packed %d linear layers", packed)

    def forward(pixel_values: Tensor) -> Tensor:
        logits: Tensor = module(pixel_values.to(dtype))
        return logits

    return forward


class CudaGraphs:
    """A module whose forward is recorded as one CUDA graph for each batch size, where that measures faster.

    A forward of TimeSformer launches hundreds of small kernels; replaying a graph launches once. Each graph
    keeps its own memory, so only a few batch sizes have one.

    Args:
        module: on a CUDA device.
        record: makes a replay from (module, example input); tests pass their own.
    """

    def __init__(self, module: Any, record: Callable[[Any, Tensor], RecordedForward] | None = None) -> None:
        self._module = module
        self._record = record or RecordedForward
        self._replays: dict[tuple[int, ...], RecordedForward | None] = {}  # None: eager is as fast

    def __call__(self, pixel_values: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, L)."""
        if len(pixel_values) not in BATCHES:
            return self._eager(pixel_values)
        shape = tuple(pixel_values.shape)
        if shape not in self._replays:
            self._replays[shape] = self._try(pixel_values)
        replay = self._replays[shape]
        return self._eager(pixel_values) if replay is None else replay(pixel_values)

    def _eager(self, pixel_values: Tensor) -> Tensor:
        logits: Tensor = self._module(pixel_values)
        return logits

    def _try(self, pixel_values: Tensor) -> RecordedForward | None:
        """A recorded forward if it gives the same answer sooner, else None."""
        expected = self._eager(pixel_values)
        try:
            replay = self._record(self._module, pixel_values)
        except torch.OutOfMemoryError:
            raise  # the caller halves the batch
        except RuntimeError as error:  # something in this model cannot be recorded
            log.info("no CUDA graph for %s: %s", tuple(pixel_values.shape), str(error).splitlines()[0])
            return None
        if not torch.allclose(replay(pixel_values), expected, rtol=1e-2, atol=1e-2):
            log.warning("a CUDA graph gave another answer than the model; not used")
            return None
        eager_s, replay_s = (_seconds(run, pixel_values) for run in (self._eager, replay))
        log.debug("batch %d: eager %.1f ms, graph %.1f ms", len(pixel_values), eager_s * 1e3, replay_s * 1e3)
        return replay if replay_s < eager_s else None


class RecordedForward:
    """One recorded forward of fixed shape."""

    def __init__(self, module: Any, example: Tensor) -> None:
        self._input = example.clone()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                module(self._input)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output: Tensor = module(self._input)

    def __call__(self, pixel_values: Tensor) -> Tensor:
        """Same shape and dtype as the example; the result is the caller's to keep."""
        self._input.copy_(pixel_values)
        self._graph.replay()
        return self._output.clone()


def _seconds(run: Callable[[Tensor], Tensor], pixel_values: Tensor) -> float:
    """The fastest of three, device finished."""
    times = []
    for _ in range(3):
        _wait(pixel_values.device)
        started = perf_counter()
        run(pixel_values)
        _wait(pixel_values.device)
        times.append(perf_counter() - started)
    return min(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
