"""Which engine computes a streaming model's steps: chosen and measured as `tuning` does for windows.

Compared are the scores at every tick of stretches that begin cold, in the order in which live video brings
them: an error that a cache would carry on is in them.
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from streamer.config import ModelConfig
from streamer.recognition.device import BIG, DTYPES, model_threads, use_threads
from streamer.recognition.engines.cache import Cache
from streamer.recognition.engines.comparison import Choice, Comparison
from streamer.recognition.engines.engine import EngineVariant, check
from streamer.recognition.engines.torch_stream import TorchStream
from streamer.recognition.engines.tuning import candidates

if TYPE_CHECKING:
    from streamer.recognition.families.stream_recognizer import StreamEngine, StreamRecognizer

log = logging.getLogger(__name__)

TICKS = 32  # of a stretch
STRETCHES = {True: 2, False: 8}  # for checking, and as many others for calibration; by "is it large"


def build_stream(
    variant: EngineVariant,
    model: Any,
    size: tuple[int, ...],
    *,
    stretches: Tensor | None = None,
    cache: Cache | None = None,
) -> StreamEngine:
    """A streaming model's engine.

    Args:
        variant: `check` allows it.
        model: `StreamingTimesformer` for inference. OpenVINO only reads it (fp32, on the CPU); torch becomes
            its owner and converts it.
        size: (C, H, W) of a frame.
        stretches: (n, S, C, H, W) float32, real video that int8 is calibrated on.
        cache: of converted models; None: the user's.

    Raises:
        ModelLoadError: the engine cannot compute this model.
    """
    if variant.engine == "openvino":
        from streamer.recognition.engines.openvino_stream import OpenVinoStream

        return OpenVinoStream.of(model, size, variant.precision, stretches, cache)
    return TorchStream(model.to(DTYPES[variant.precision]))


def choose_stream_engine(
    recognizer: StreamRecognizer, model: Any, config: ModelConfig, cache: Cache | None = None
) -> Choice:
    """Choose the engine, build it, and let the recognizer compute with it.

    Args:
        recognizer: without an engine so far.
        model: `StreamingTimesformer` for inference, on its device; on a CPU fp32. The engine becomes its
            owner.
        config: `engine`, `precision` and `calibration`.
        cache: where measurements and converted models are kept.

    Raises:
        ModelLoadError: what was asked for cannot be had here.
    """
    placement = recognizer.placement
    parameters = sum(parameter.numel() for parameter in model.parameters())
    recognizer.threads = model_threads(parameters, placement.device)
    use_threads(recognizer.threads)
    variants = candidates(config.engine, config.precision, placement, large=parameters >= BIG)
    for variant in variants:
        check(variant, placement.device.type)
    if len(variants) == 1 and variants[0].precision != "int8":
        why = "the only one that fits" if config.engine != "auto" else "no other is worth trying"
        choice = Choice(variants[0], why)
        engine = build_stream(variants[0], model, (3, *recognizer.spec.size))
    else:
        comparison = _StepComparison(recognizer, config, model, large=parameters >= BIG, cache=cache)
        choice, engine = comparison.decide(variants)
    log.info("model: %s; %s", choice.variant, choice.why)
    recognizer.use_engine(engine, name=choice.variant.engine, precision=choice.variant.precision)
    return choice


class _StepComparison(Comparison):
    """Of streaming models; a sample is a stretch, what is timed is a step."""

    KIND = "hop"
    ROUNDS = 9

    def samples_wanted(self, large: bool) -> tuple[tuple[int, ...], int]:
        """See `Comparison`."""
        return (TICKS, 3, *self.recognizer.spec.size), STRETCHES[large]

    def build(self, variant: EngineVariant, clips: Tensor | None) -> StreamEngine:
        """See `Comparison`."""
        model = copy.deepcopy(self.module) if variant.engine == "torch" else self.module
        return build_stream(variant, model, self.shape[1:], stretches=clips, cache=self.cache)

    def logits(self, engine: StreamEngine, sample: Tensor) -> Tensor:
        """See `Comparison`."""
        engine.reset(0)
        found = torch.cat([engine.step(frame[None], [0]) for frame in sample])
        engine.reset(0)
        return found

    def once(self, engine: StreamEngine, sample: Tensor) -> None:
        """See `Comparison`."""
        engine.step(sample[:1], [0])
