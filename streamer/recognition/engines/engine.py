"""Which engine computes a model, and at which precision: what there is here, and how one is made.

An engine is a function from `pixel_values` (B, T, C, H, W) to logits (B, L), made by `build` from a loaded
model; who calls it does not know which it is. Importing this package imports neither torch nor OpenVINO.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from streamer.errors import ModelLoadError
from streamer.system.install_extras import missing, need

if TYPE_CHECKING:
    from torch import Tensor

    from streamer.recognition.engines.cache import Cache
    from streamer.recognition.forward import Forward

EngineName = Literal["torch", "openvino"]
PRECISIONS: dict[str, tuple[str, ...]] = {  # what each engine can do, on a CPU
    "torch": ("fp32", "bf16"),
    "openvino": ("fp32", "bf16", "int8"),
}
GPU_PRECISIONS = ("fp32", "bf16", "fp16")  # torch alone


@dataclass(frozen=True, slots=True)
class EngineVariant:
    """An engine at a precision."""

    engine: EngineName
    precision: str

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


def has_openvino(precision: str = "fp32") -> bool:
    """True where OpenVINO is installed (and NNCF, which int8 needs)."""
    needed = ("openvino", "nncf") if precision == "int8" else ("openvino",)
    return not set(needed) & set(missing("openvino"))


def check(variant: EngineVariant, device: str) -> None:
    """Refuse what cannot be had here.

    Args:
        variant: what was asked for.
        device: "cpu", "cuda" or "mps".

    Raises:
        ModelLoadError: says why, and what to do instead.
    """
    if variant.engine == "openvino":
        if device != "cpu":
            raise ModelLoadError(f"engine openvino computes on the CPU, not on {device}: add --device cpu")
        if not has_openvino(variant.precision):
            need("openvino", f"{variant}", raising=ModelLoadError, instead="--engine torch --precision auto")
    allowed = PRECISIONS[variant.engine] if device == "cpu" else GPU_PRECISIONS
    if variant.precision not in allowed:
        hint = "; int8 is made by --engine openvino on a CPU" if variant.precision == "int8" else ""
        raise ModelLoadError(
            f"engine {variant.engine} on {device} has no precision {variant.precision}: "
            f"it has {', '.join(allowed)}{hint}"
        )


def build(
    variant: EngineVariant,
    module: Any,
    shape: tuple[int, ...],
    *,
    clips: Tensor | None = None,
    cache: Cache | None = None,
) -> Forward:
    """A model as an engine's forward. The engine becomes the owner of `module`: let go of it.

    Args:
        variant: engine and precision; `check` allows it.
        module: torch module, (B, T, C, H, W) -> logits (B, L), or (B, C, H, W) for single frames. On its
            device; in fp32 for OpenVINO, otherwise in `variant`'s precision.
        shape: of one window, without B.
        clips: (n, *shape) float32, real pictures for the calibration of int8.
        cache: of converted models; None: the user's.

    Raises:
        ModelLoadError: the engine cannot compute this model.
    """
    if variant.engine == "openvino":
        from streamer.recognition.engines.openvino import OpenVino

        return OpenVino.of(module, shape, variant.precision, clips, cache)
    from streamer.recognition.engines.pytorch import torch_forward

    return torch_forward(module)
