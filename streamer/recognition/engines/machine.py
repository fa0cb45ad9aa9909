"""What the machine is called: part of the keys of measurements, and of their reports."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def processor() -> str:
    """The processor's name and the cores that this process may use, such as "AMD EPYC 9B45, 2 cores"."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = found.get("model name", name)
    if name and found.get("cpu family") and found.get("model"):
        name += f" (family {found['cpu family']}, model {found['model']})"
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return f"{name}, {cores} core{'s' if cores != 1 else ''}"


def versions() -> dict[str, str]:
    """Of what computes: torch, transformers, openvino, nncf; those that are installed."""
    found = {}
    for name in ("torch", "transformers", "openvino", "nncf"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
