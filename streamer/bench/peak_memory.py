"""By how much the peak of memory grows while something is built and run."""

from __future__ import annotations

from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """Counts from when it is made. On a GPU its own memory, else this process's resident memory (Linux)."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before: float | None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device) / 1e6
            return
        try:
            _CLEAR.write_text("5", encoding="ascii")  # the kernel's high-water mark starts again
            self._before = _status("VmRSS")
            if (peak := _status("VmHWM")) is None or self._before is None or peak > self._before + 64:
                self._before = None  # it did not: nothing can be said
        except OSError:
            self._before = None

    def mb(self) -> float | None:
        """MB above the start, at the worst moment since; None where the system does not tell."""
        if self._before is None:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 1e6 - self._before
        peak = _status("VmHWM")
        return None if peak is None else max(0.0, peak - self._before)


def _status(key: str) -> float | None:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    return None
