"""torch.cuda's graphs without a GPU: what a module computes is recorded, and computed again by `replay`.

The rules of CUDA that matter here: one recording at a time in a process; in the mode "global" a recording is
spoilt by what any other thread allocates, in "thread_local" it is not; one that was spoilt fails at its end,
and torch then leaves the recording's stream current.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Stream:
    """A stream: here nothing runs beside anything."""

    def wait_stream(self, other: Stream) -> None:
        """Everything is done already."""


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        self.steps.append((func, args, kwargs or {}, results))
        return results


class Graph:
    """Stands for torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, Any, Any, Any]] = []

    def replay(self) -> None:
        """Compute every step again, into the memory that it used when it was recorded."""
        for func, args, kwargs, results in self.steps:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class FakeCuda:
    """Put in the place of torch.cuda's functions by `install`."""

    def __init__(self) -> None:
        self.main = Stream()
        self.recordings = 0  # that were begun
        self.modes: list[str] = []
        self.during: list[Any] = []  # called while something is recorded
        self._local = threading.local()
        self._underway: int | None = None  # the thread that records
        self._spoilt = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("current_stream", "set_stream", "stream", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)

    def current_stream(self) -> Stream:
        return getattr(self._local, "stream", self.main)

    def set_stream(self, stream: Stream) -> None:
        self._local.stream = stream

    def stream(self, stream: Stream) -> Any:
        return _Current(self, stream)

    def graph(self, graph: Graph, capture_error_mode: str = "global") -> Any:
        return _Recording(self, graph, capture_error_mode)

    def allocate(self) -> None:
        """What any thread does now and then: pin or allocate memory."""
        if self._underway is not None and (
            self._underway == threading.get_ident() or self.modes[-1] == "global"
        ):
            self._spoilt = True
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    def begin(self, mode: str) -> None:
        if self._underway is not None:
            self._spoilt = True
            raise RuntimeError("CUDA error: a recording is underway in this process")
        self._underway, self._spoilt = threading.get_ident(), False
        self.recordings += 1
        self.modes.append(mode)
        for call in self.during:
            call()

    def end(self) -> None:
        self._underway = None
        if self._spoilt:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


class _Current:
    def __init__(self, cuda: FakeCuda, stream: Stream) -> None:
        self._cuda, self._stream, self._before = cuda, stream, cuda.current_stream()

    def __enter__(self) -> None:
        self._before = self._cuda.current_stream()
        self._cuda.set_stream(self._stream)

    def __exit__(self, *_: object) -> None:
        self._cuda.set_stream(self._before)


class _Recording:
    def __init__(self, cuda: FakeCuda, graph: Graph, mode: str) -> None:
        self._cuda, self._graph, self._mode = cuda, graph, mode
        self._current, self._recorder = _Current(cuda, Stream()), _Recorder()

    def __enter__(self) -> None:
        self._current.__enter__()
        self._cuda.begin(self._mode)
        self._recorder.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._recorder.__exit__(*error)
        self._cuda.end()  # where this raises, the stream stays
        self._current.__exit__()
        self._graph.steps = self._recorder.steps
