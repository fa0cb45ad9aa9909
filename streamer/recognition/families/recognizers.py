"""The two kinds of recognizer: models of whole windows, and models of single frames, whose
logits are averaged over a window.

What differs between TimeSformer, VideoMAE, ViViT, V-JEPA 2 and the others is in their checkpoints' files;
here they are a function from `pixel_values` to logits.
"""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from streamer.errors import ModelError, ModelLoadError, WindowShapeError
from streamer.recognition.device import Placement, use_threads
from streamer.recognition.device_frames import DevicePool, FrameKey, frame_key
from streamer.recognition.forward import Forward
from streamer.recognition.preprocessing import Preprocessor, stack_frames
from streamer.types import Frame, ModelSpec, Scores, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamer.recognition.words.camera_words import CameraWords

log = logging.getLogger(__name__)

Aggregate = Literal["mean", "max", "recent"]

RECENT_HALF_LIFE = 0.5  # seconds: "recent" halves a frame's weight for each of these that it is older
LOGITS_KEPT = 4096  # frames whose logits a frame model remembers, over all cameras
# What a model may raise on input it was not made for (a wrong size, a wrong dtype, an internal limit).
FORWARD_ERRORS = (RuntimeError, ValueError, TypeError, IndexError)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What loading hands to a recognizer. `model` is kept so that engines can look into it."""

    spec: ModelSpec
    preprocessor: Preprocessor
    placement: Placement
    forward: Forward
    model: Any = dataclasses.field(default=None, repr=False)


class RecognizerBase(ABC):
    """What both kinds share: checks, pixels, the forward with its errors, scores."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.spec = loaded.spec
        self.preprocessor = loaded.preprocessor
        self.placement = loaded.placement
        self.model = loaded.model
        self.forward: Forward = loaded.forward
        self.threads: int | None = None  # of a forward on a CPU; None: what the calling thread has
        self.words: CameraWords | None = None
        self._pool: DevicePool | None = None

    def use(self, forward: Forward, **changes: Any) -> None:
        """Compute with another forward from now on; `changes` are the spec's (engine="openvino", ...)."""
        self.forward = forward
        self.spec = dataclasses.replace(self.spec, **changes)

    @property
    def picture_key(self) -> Hashable:
        """See `Recognizer.picture_key`."""
        return self.preprocessor.numbers

    def reduce(self, image: NDArray[Any]) -> NDArray[Any]:
        """See `Recognizer.reduce`."""
        return self.preprocessor.reduce(image)

    def forget(self, camera: str, track: int | None = None) -> None:
        """See `Recognizer.forget`."""
        if self._pool is not None and track is None:  # of one person nothing is kept that does not age out
            self._pool.forget(camera)

    def close(self) -> None:
        """Let the weights go. `predict` fails afterwards."""
        self.model = None
        self.forward = closed
        self._pool = None

    def warm_up(self) -> None:
        """See `Recognizer.warm_up`."""
        shape = self._shape_of(1)
        try:
            logits = self._run(torch.zeros(shape, dtype=self.placement.dtype, device=self.placement.device))
        except ModelError as error:
            raise ModelLoadError(
                f"{self.spec.name} cannot compute {shape}, the shape its own files ask for: {error}"
            ) from error
        if logits.shape != (1, self._outputs()):
            raise ModelLoadError(
                f"{self.spec.name} gives {tuple(logits.shape)} scores for {len(self.spec.labels)} labels: "
                "its config.json does not fit its weights"
            )
        self._prepare()

    def _prepare(self) -> None:
        """What an engine does once per batch size is done now, not when the first such batch comes."""
        prepare = getattr(self.forward, "prepare", None)
        if prepare is None:
            return
        placement = self.placement

        def example(batch: int) -> Tensor:
            return torch.randn(self._shape_of(batch), dtype=placement.dtype, device=placement.device)

        with torch.inference_mode():
            prepare(example)

    @abstractmethod
    def _shape_of(self, batch: int) -> tuple[int, ...]:
        """The shape of the model's input for so many windows (or frames)."""

    def _outputs(self) -> int:
        """Numbers that the forward gives for one window or frame."""
        return len(self.spec.labels)

    def _check(self, windows: Sequence[Window]) -> None:
        spec = self.spec
        for window in windows:
            shapes = {frame.image.shape for frame in window.frames}
            expected = (*spec.size, 3)
            if len(window.frames) == spec.frames and shapes == {expected}:
                continue
            actual = " and ".join(str((len(window.frames), *shape)) for shape in sorted(shapes))
            raise WindowShapeError(
                f"{spec.name} takes windows of {(spec.frames, *expected)} (frames, height, width, RGB), "
                f"window {window.id} of {window.camera} is {actual or 'empty'}"
            )

    def _pixels(self, frames: Sequence[Frame]) -> Tensor:
        """Frames -> (N, C, H, W) on the device, in the model's dtype."""
        try:
            stacked = stack_frames(frames) if self._pool is None else self._pool.gather(frames)
            return self.preprocessor.normalise(stacked.to(self.placement.device), self.placement.dtype)
        except torch.OutOfMemoryError as error:  # a caller may try fewer windows
            raise ModelError(
                f"{self.spec.name}: not enough memory on {self.placement.device} for {len(frames)} frames"
            ) from error
        except RuntimeError as error:  # of the driver, while frames travel
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"{self.spec.name}: {len(frames)} frames could not be copied to {self.placement.device}: "
                f"{reason[:200]}"
            ) from error

    def _run(self, pixel_values: Tensor) -> Tensor:
        """Logits float32 (B, L) on the host. Out of GPU memory halves the batch and goes on."""
        if self.threads is not None:
            use_threads(self.threads)
        try:
            with torch.inference_mode():
                logits = self.forward(pixel_values).float().cpu()
            return logits.view(len(pixel_values), -1)  # VideoPrism's are (B, 1, L)
        except torch.OutOfMemoryError as error:
            if len(pixel_values) < 2:
                raise ModelError(
                    f"{self.spec.name}: not enough memory on {self.placement.device} for one window; use "
                    "--precision bf16, a smaller model or --device cpu"
                ) from error
        except FORWARD_ERRORS as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"{self.spec.name} failed on {tuple(pixel_values.shape)}: {reason[:200]}"
            ) from error
        # Outside the except: the exception's traceback would keep the tensors of the failed forward alive.
        torch.cuda.empty_cache()
        half = (len(pixel_values) + 1) // 2
        return torch.cat([self._run(pixel_values[:half]), self._run(pixel_values[half:])])

    def _scores(self, logits: Tensor) -> list[NDArray[Any]]:
        """Softmax, or sigmoid for independent labels: float32 (L,) each."""
        scores = torch.sigmoid(logits) if self.spec.independent else torch.softmax(logits, -1)
        if not bool(torch.isfinite(scores).all()):
            raise ModelError(f"{self.spec.name} gave scores that are not numbers; try --precision fp32")
        return list(scores.numpy())


class VideoRecognizer(RecognizerBase):
    """A model of whole windows: any AutoModelForVideoClassification. Stateless, but for frames on a GPU."""

    def __init__(self, loaded: LoadedModel, pool: DevicePool | None = None) -> None:
        super().__init__(loaded)
        self._pool = pool
        if pool is None and loaded.placement.device.type == "cuda":
            try:
                self._pool = DevicePool(loaded.placement.device, loaded.spec.size)
            except torch.OutOfMemoryError:  # each window then brings all of its frames
                log.info("%s: no memory to keep frames on %s", loaded.spec.name, loaded.placement.device)

    def predict(self, windows: Sequence[Window]) -> Scores:
        """See `Recognizer.predict`."""
        if not windows:
            return Scores(())
        self._check(windows)
        started = perf_counter()
        frames = [frame for window in windows for frame in window.frames]
        pixels = self._pixels(frames)
        pixel_values = pixels.view(len(windows), self.spec.frames, *pixels.shape[1:])
        preprocess_s = perf_counter() - started
        return Scores(self._scores(self._run(pixel_values)), preprocess_s)

    def _shape_of(self, batch: int) -> tuple[int, ...]:
        return batch, self.spec.frames, 3, *self.spec.size


class FrameRecognizer(RecognizerBase):
    """A model of single pictures: any AutoModelForImageClassification.

    Each frame is computed once and its logits kept; a window's logits are made from those of its frames, so
    where windows share frames a hop costs only the new ones.

    Args:
        loaded: the model.
        aggregate: "mean", "max" (per label) or "recent" (mean weighted by half-life RECENT_HALF_LIFE).
        kept: frames whose logits are remembered.
    """

    def __init__(self, loaded: LoadedModel, aggregate: Aggregate = "mean", kept: int = LOGITS_KEPT) -> None:
        super().__init__(loaded)
        self._aggregate = aggregate
        self._kept = kept
        self._logits: OrderedDict[FrameKey, Tensor] = OrderedDict()
        self.computed = 0  # frames through the model

    def predict(self, windows: Sequence[Window]) -> Scores:
        """See `Recognizer.predict`."""
        if not windows:
            return Scores(())
        self._check(windows)
        logits, preprocess_s = self._logits_of([frame for window in windows for frame in window.frames])
        aggregated = []
        for window in windows:
            stacked = torch.stack([logits[frame_key(frame)] for frame in window.frames])  # (T, L)
            aggregated.append(self._aggregated(stacked, window))
        return Scores(self._scores(torch.stack(aggregated)), preprocess_s)

    def forget(self, camera: str, track: int | None = None) -> None:
        """See `Recognizer.forget`."""
        super().forget(camera, track)
        for key in [key for key in self._logits if track is None and key[0] == camera]:
            del self._logits[key]

    def _logits_of(self, frames: Sequence[Frame]) -> tuple[dict[FrameKey, Tensor], float]:
        """Logits (L,) of each frame, computing those that are not known yet in one batch; and the seconds
        that preparing those took.
        """
        started = perf_counter()
        wanted = {frame_key(frame): frame for frame in frames}
        new = {key: frame for key, frame in wanted.items() if key not in self._logits}
        pixel_values = self._pixels(list(new.values())) if new else None
        preprocess_s = perf_counter() - started
        if pixel_values is not None:
            self._logits.update(zip(new, self._run(pixel_values), strict=True))
            self.computed += len(new)
        found = {key: self._logits[key] for key in wanted}
        for key in wanted:
            self._logits.move_to_end(key)
        while len(self._logits) > self._kept:
            self._logits.popitem(last=False)
        return found, preprocess_s

    def _aggregated(self, logits: Tensor, window: Window) -> Tensor:
        """(T, L) -> (L,)."""
        if self._aggregate == "max":
            return logits.amax(0)
        if self._aggregate == "mean":
            return logits.mean(0)
        ages = torch.tensor([window.end - frame.time for frame in window.frames])
        weights = torch.softmax(-(ages / RECENT_HALF_LIFE) * torch.log(torch.tensor(2.0)), 0)
        return weights @ logits

    def _shape_of(self, batch: int) -> tuple[int, ...]:
        return batch, 3, *self.spec.size


def closed(pixel_values: Tensor) -> Tensor:
    raise ModelError("this recognizer was closed")
