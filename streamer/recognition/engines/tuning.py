"""Which engine at which precision: what the user asked for, or what measures fastest here and is right.

`choose_engine` gives a loaded recognizer its engine. Where something is left to "auto" and the model is large
enough to matter, the possible variants (engine and precision) are measured once on this machine, on real
frames, and the result is kept (see `comparison`).
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from streamer.config import ModelConfig
from streamer.recognition.device import BIG, has_bf16, model_threads, use_threads
from streamer.recognition.engines.cache import Cache
from streamer.recognition.engines.comparison import Choice, Comparison
from streamer.recognition.engines.engine import EngineVariant, build, check, has_openvino

if TYPE_CHECKING:
    from streamer.recognition.forward import Forward

log = logging.getLogger(__name__)

WINDOWS = {True: 8, False: 48}  # for checking, and as many others for calibration; by "is it large"


class LogitsOnly(nn.Module):
    """A transformers model as a module from `pixel_values` to logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, T, C, H, W) or (B, C, H, W) -> (B, L)."""
        logits: Tensor = self.model(pixel_values).logits
        return logits


def choose_engine(recognizer: Any, config: ModelConfig, cache: Cache | None = None) -> Choice:
    """Choose the engine, build it, and let the recognizer compute with it.

    Args:
        recognizer: a `VideoRecognizer` or `FrameRecognizer`; on a CPU its weights are fp32. It lets go of its
            transformers model: one copy of the weights stays.
        config: `engine`, `precision`, and `calibration` (a video; None = the bundled clip).
        cache: where measurements and converted models are kept.

    Raises:
        ModelLoadError: what was asked for cannot be had here.
    """
    device = recognizer.placement.device.type
    module = recognizer.forward if isinstance(recognizer.forward, nn.Module) else LogitsOnly(recognizer.model)
    recognizer.model = None
    parameters = sum(p.numel() for p in module.parameters())
    large = parameters >= BIG
    recognizer.threads = model_threads(parameters, recognizer.placement.device)
    use_threads(recognizer.threads)  # for measuring and converting here; each forward sees to it again
    variants = candidates(config.engine, config.precision, recognizer.placement, large=large)
    for variant in variants:
        check(variant, device)
    if len(variants) == 1 and variants[0].precision != "int8":
        why = "the only one that fits" if config.engine != "auto" or large else "a small model needs no more"
        choice, forward = Choice(variants[0], why), _build(variants[0], module, _shape(recognizer), None)
    else:
        comparison = _WindowComparison(recognizer, config, module, large=large, cache=cache)
        choice, forward = comparison.decide(variants)
    log.info("model: %s; %s", choice.variant, choice.why)
    recognizer.use(forward, engine=choice.variant.engine, precision=choice.variant.precision)
    return choice


def candidates(engine: str, precision: str, placement: Any, *, large: bool) -> list[EngineVariant]:
    """The ways that fit what was asked for, the expected slowest first. Never empty."""
    device = placement.device
    if device.type != "cpu":  # chosen by the hardware when the weights were loaded
        wanted = precision if precision == "int8" else placement.precision
        return [EngineVariant("openvino" if engine == "openvino" else "torch", wanted)]
    if engine == "auto":
        use_openvino = has_openvino(precision if precision == "int8" else "fp32") and (
            large or precision == "int8"
        )
        engines = ["torch", "openvino"] if use_openvino else ["torch"]
        if precision == "int8":
            engines = ["openvino"]
    else:
        engines = [engine]
    if precision != "auto":
        precisions = [precision]
    elif not large:
        precisions = ["fp32"]
    else:
        precisions = ["fp32", *(["bf16"] if has_bf16(device) else []), "int8"]
    variants = [EngineVariant(name, kind) for kind in precisions for name in engines]  # type: ignore[arg-type]
    if precision == "auto":
        variants = [variant for variant in variants if variant.precision != "int8" or _has_int8(variant)]
    return variants


class _WindowComparison(Comparison):
    """Of models of windows, or of single frames; engines are forwards."""

    def samples_wanted(self, large: bool) -> tuple[tuple[int, ...], int]:
        """See `Comparison`."""
        return _shape(self.recognizer), WINDOWS[large]

    def build(self, variant: EngineVariant, clips: Tensor | None) -> Forward:
        """See `Comparison`."""
        module = copy.deepcopy(self.module) if variant.engine == "torch" else self.module
        return _build(variant, module, self.shape, clips, self.cache)

    def logits(self, engine: Forward, sample: Tensor) -> Tensor:
        """See `Comparison`."""
        return engine(sample[None])

    def once(self, engine: Forward, sample: Tensor) -> None:
        """See `Comparison`."""
        engine(sample[None])


def _build(
    variant: EngineVariant,
    module: Any,
    shape: tuple[int, ...],
    clips: Tensor | None,
    cache: Cache | None = None,
) -> Forward:
    if variant.engine == "torch":
        from streamer.recognition.device import DTYPES

        module = module.to(DTYPES[variant.precision])
    return build(variant, module, shape, clips=clips, cache=cache)


def _shape(recognizer: Any) -> tuple[int, ...]:
    """Of one window, or of one frame for models of single frames; without B."""
    from streamer.recognition.families.recognizers import FrameRecognizer

    spec = recognizer.spec
    picture = (3, *spec.size)
    return picture if isinstance(recognizer, FrameRecognizer) else (spec.frames, *picture)


def _has_int8(variant: EngineVariant) -> bool:
    return variant.engine == "openvino" and has_openvino("int8")
