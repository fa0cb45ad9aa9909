"""The third kind of recognizer: models that keep a state of each camera and compute its newest frame only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor

from streamer.errors import ModelError, ModelLoadError, WindowShapeError
from streamer.recognition.device import use_threads
from streamer.recognition.families.recognizers import FORWARD_ERRORS, LoadedModel, RecognizerBase
from streamer.types import Scores, Step, Subject, Window

StreamKey = tuple[str, int | None, int]  # camera, who is followed there, number of the interleaved stream


class StreamEngine(Protocol):
    """What computes the steps: torch, or another engine. Rows are streams; only one thread calls."""

    def grow(self, rows: int) -> None:
        """Make room for so many streams; what the others remember stays."""

    def reset(self, row: int) -> None:
        """Forget a stream's frames."""

    def step(self, pixel_values: Tensor, rows: Sequence[int]) -> Tensor:
        """The next frame (B, C, H, W) of each of these streams -> logits (B, L)."""


class StreamRecognizer(RecognizerBase):
    """A streaming model over `Window.steps`: each frame is computed once, whatever is kept of it is bounded.

    A camera's streams get their rows with its first frame and give them back with `forget`.

    Args:
        loaded: the model; its `forward` is not used.
        engine: computes the steps; `use_engine` may give it later.
    """

    def __init__(self, loaded: LoadedModel, engine: StreamEngine | None = None) -> None:
        super().__init__(loaded)
        self.engine = engine
        self._rows: dict[StreamKey, int] = {}
        self._free: list[int] = []

    def use_engine(self, engine: StreamEngine, *, name: str, precision: str) -> None:
        """Compute with it from now on, all caches empty; name and precision are what the spec says of it."""
        self.engine = engine
        self._rows.clear()
        self._free.clear()
        self.spec = dataclasses.replace(self.spec, engine=name, precision=precision)

    def predict(self, windows: Sequence[Window]) -> Scores:
        """See `Recognizer.predict`; the scores are those at each window's newest frame."""
        if not windows:
            return Scores(())
        if self.engine is None:
            raise ModelError("this recognizer was closed")
        if self.threads is not None:
            use_threads(self.threads)
        steps = [window.steps or _from_cold(window) for window in windows]
        self._check_steps(windows, steps)
        started = perf_counter()
        pixels = self._pixels([step.frame for own in steps for step in own])
        preparing = perf_counter() - started
        firsts = [sum(map(len, steps[:n])) for n in range(len(steps))]
        logits: dict[int, Tensor] = {}
        for turn in range(max(map(len, steps))):
            due = [n for n, own in enumerate(steps) if turn < len(own)]
            rows = [self._row(windows[n].subject, steps[n][turn]) for n in due]
            places = [firsts[n] + turn for n in due]
            found = self._step(pixels[places], rows, [windows[n] for n in due])
            logits.update(zip(due, found, strict=True))
        stacked = torch.stack([logits[n] for n in range(len(windows))])
        return Scores(self._scores(stacked), preparing)

    def forget(self, camera: str, track: int | None = None) -> None:
        """See `Recognizer.forget`."""
        super().forget(camera, track)
        for key in [key for key in self._rows if key[0] == camera and track in (None, key[1])]:
            self._free.append(self._rows.pop(key))

    def warm_up(self) -> None:
        """See `Recognizer.warm_up`."""
        shape = self._shape_of(1)
        zeros = torch.zeros(shape, dtype=self.placement.dtype, device=self.placement.device)
        try:
            logits = self._step(zeros, [0], ())
        except ModelError as error:
            raise ModelLoadError(
                f"{self.spec.name} cannot compute {shape}, the shape its own files ask for: {error}"
            ) from error
        self._forget_rows([0])
        if logits.shape != (1, self._outputs()):
            raise ModelLoadError(
                f"{self.spec.name} gives {tuple(logits.shape)} scores for {len(self.spec.labels)} labels: "
                "its config.json does not fit its weights"
            )

    def close(self) -> None:
        """See `Recognizer.close`."""
        super().close()
        self.engine = None

    def _row(self, subject: Subject, step: Step) -> int:
        assert self.engine is not None
        key = *subject, step.stream
        if key not in self._rows:
            if not self._free:
                count = len(self._rows)
                self.engine.grow(count + 1)
                self._free.append(count)
            self._rows[key] = self._free.pop()
            self.engine.reset(self._rows[key])
        elif step.begins:
            self.engine.reset(self._rows[key])
        return self._rows[key]

    def _step(self, pixel_values: Tensor, rows: Sequence[int], windows: Sequence[Window]) -> Tensor:
        """Logits float32 (B, L) on the host. What a failed step left half done is forgotten."""
        assert self.engine is not None
        try:
            with torch.inference_mode():
                return self.engine.step(pixel_values, rows).float().cpu()
        except torch.OutOfMemoryError as error:
            self._forget_rows(rows)
            raise ModelError(
                f"{self.spec.name}: not enough memory on {self.placement.device} for {len(rows)} streams; "
                "use --precision bf16, fewer cameras or --device cpu"
            ) from error
        except FORWARD_ERRORS as error:
            self._forget_rows(rows)
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            cameras = ", ".join(window.camera for window in windows) or "no camera"
            raise ModelError(
                f"{self.spec.name} failed on {tuple(pixel_values.shape)} of {cameras}: {reason[:200]}"
            ) from error

    def _forget_rows(self, rows: Sequence[int]) -> None:
        assert self.engine is not None
        for row in rows:
            self.engine.reset(row)

    def _check_steps(self, windows: Sequence[Window], steps: Sequence[Sequence[Step]]) -> None:
        expected = (*self.spec.size, 3)
        for window, own in zip(windows, steps, strict=True):
            wrong = [step.frame.image.shape for step in own if step.frame.image.shape != expected]
            if not own or wrong:
                raise WindowShapeError(
                    f"{self.spec.name} takes frames of {expected} (height, width, RGB), window {window.id} "
                    f"of {window.camera} has {wrong[0] if wrong else 'none'}"
                )

    def _shape_of(self, batch: int) -> tuple[int, ...]:
        return batch, 3, *self.spec.size


def _from_cold(window: Window) -> tuple[Step, ...]:
    """A window by itself, such as one of a labelled clip, as a stream that begins with its oldest frame."""
    return tuple(Step(0, frame, begins=number == 0) for number, frame in enumerate(window.frames))
