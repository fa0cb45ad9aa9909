"""The torch engine: packed weights on a CPU, CUDA graphs on a GPU where they are faster."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from streamer.recognition.engines.packing import pack
from streamer.recognition.families.timesformer import FusedTimesformer

if TYPE_CHECKING:
    from streamer.recognition.forward import Forward

log = logging.getLogger(__name__)

BATCHES = (1, 2, 4, 8)  # sizes that get a graph of their own; others run eagerly
_RECORDING = threading.Lock()  # CUDA records one graph at a time in a process
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
    keeps its own memory, so only a few batch sizes have one. They are recorded by `prepare`, while the model
    warms up; a call never records.

    Args:
        module: on a CUDA device.
        record: makes a replay from (module, example input); tests pass their own.
    """

    def __init__(self, module: Any, record: Callable[[Any, Tensor], RecordedForward] | None = None) -> None:
        self._module = module
        self._record = record or RecordedForward
        self._replays: dict[tuple[int, ...], RecordedForward] = {}

    def __call__(self, pixel_values: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, L)."""
        replay = self._replays.get(tuple(pixel_values.shape))
        return self._eager(pixel_values) if replay is None else replay(pixel_values)

    def prepare(self, example: Callable[[int], Tensor]) -> None:
        """Record every batch size that is worth it.

        Args:
            example: so many windows (or frames) -> an input of that batch size, other values each time.
        """
        with _RECORDING:
            for batch in BATCHES:
                try:
                    values = example(batch)
                    replay = self._recorded(values, example(batch))
                except torch.OutOfMemoryError:
                    log.info("no CUDA graph for batches of %d and more: not enough memory", batch)
                    torch.cuda.empty_cache()
                    return
                except RuntimeError as error:  # something in this model cannot be recorded
                    log.info("no CUDA graph for batches of %d: %s", batch, str(error).splitlines()[0])
                    continue
                if replay is not None:
                    self._replays[tuple(values.shape)] = replay

    def _eager(self, pixel_values: Tensor) -> Tensor:
        logits: Tensor = self._module(pixel_values)
        return logits

    def _recorded(self, recorded_with: Tensor, other: Tensor) -> RecordedForward | None:
        """A recorded forward if it gives the same answer for another input sooner, else None."""
        replay = self._record(self._module, recorded_with)
        if not torch.allclose(replay(other), self._eager(other), rtol=1e-2, atol=1e-2):
            log.warning("a CUDA graph gave another answer than the model; not used")
            return None
        eager_s, replay_s = (_seconds(run, other) for run in (self._eager, replay))
        log.debug("batch %d: eager %.1f ms, graph %.1f ms", len(other), eager_s * 1e3, replay_s * 1e3)
        return replay if replay_s < eager_s else None


class RecordedForward:
    """One recorded forward of fixed shape.

    While a thread records, others go on: only its own calls that a recording cannot hold make it fail
    ("thread_local"), not what they allocate or pin.

    Raises RuntimeError: it cannot be recorded, or the memory is not enough (torch.OutOfMemoryError).
    """

    def __init__(self, module: Any, example: Tensor) -> None:
        self._input = example.clone()
        before = torch.cuda.current_stream()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(before)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                module(self._input)
        before.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._output: Tensor = module(self._input)
        finally:
            torch.cuda.set_stream(before)  # a recording that fails at its end leaves its own stream behind

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
