"""Where and how finely a model computes: device, precision, threads, memory that ran out."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from streamer.errors import ModelLoadError
from streamer.system.threads import for_model

# Parameters below which one thread computes: it needs a few milliseconds, and threads that wait for others
# on a busy machine cost a time slice at each step (measured with the demo's model: 744 ms).
TINY = 5_000_000
_ASKED_FOR = torch.get_num_threads()  # by OMP_NUM_THREADS, before anything here changes it
BIG = 20_000_000  # parameters from which bf16 pays for its rounding; below, fp32 is fast enough

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Placement:
    """Device and precision of a loaded model."""

    device: torch.device
    precision: str  # "fp32", "bf16" or "fp16"

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.precision]


def choose_device(asked: str) -> torch.device:
    """ "auto" takes cuda, then mps, then cpu.

    Raises:
        ModelLoadError: the device asked for is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        asked = next(name for name, there in available.items() if there)
    if not available.get(asked, False):
        there = ", ".join(name for name, yes in available.items() if yes)
        without = asked == "cuda" and torch.version.cuda is None
        why = "this torch is built without CUDA" if without else "none was found"
        raise ModelLoadError(
            f"device {asked!r} cannot be used: {why}; available here: {there} (--device auto)"
        )
    return torch.device(asked)


def choose_precision(asked: str, device: torch.device, parameters: int) -> str:
    """ "auto": bf16 for models with millions of parameters where the hardware multiplies it, otherwise fp32.

    Raises:
        ModelLoadError: the precision cannot be had on this device.
    """
    if asked == "auto":
        return "bf16" if parameters >= BIG and has_bf16(device) else "fp32"
    if asked == "fp16" and device.type == "cpu":
        raise ModelLoadError("precision fp16 needs a GPU; on a CPU use bf16 or fp32 (--precision auto)")
    if asked not in DTYPES:
        raise ModelLoadError(
            f"precision {asked!r} is not one of torch's here: {', '.join(DTYPES)} (--precision auto)"
        )
    return asked


def has_bf16(device: torch.device) -> bool:
    """True where bf16 products are done in hardware, and are therefore faster than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # private in torch, so absent in some versions: then fp32, which is always right
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(bool(getattr(torch.cpu, name, bool)()) for name in probes)
    return False


def model_threads(parameters: int, device: torch.device) -> int:
    """Threads of one forward of a model with so many parameters (see `streamer.system.threads`)."""
    if device.type == "cpu" and parameters < TINY:
        return 1
    return for_model() or _ASKED_FOR


def use_threads(threads: int) -> None:
    """Forwards on this thread use so many threads from now on.

    torch keeps the number for each thread, but a new thread begins with what any thread has set last
    (measured with torch 2.13, OpenMP). So whoever computes sets it, each time: it costs 0.1 us.
    """
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
