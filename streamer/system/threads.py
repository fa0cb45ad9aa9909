"""How the machine's cores are shared: every number of threads in the program is decided here.

Capture threads, the inference thread and the screen live beside the model's own threads. Decoding and
resizing a camera takes one thread each, and the model gets all cores while it runs. Its threads must then not
spin while they wait for each other: with anything else running they wait for a thread that was pushed off its
core, and OpenMP's default of spinning keeps that core busy meanwhile. Measured on two cores at a load of 8:
the demo model on two threads took 91 ms spinning and 11 ms sleeping, two layers of TimeSformer-base 1.87 s
and 1.44 s.
"""

from __future__ import annotations

import os

OPENCV = 1  # it only crops and copies here
DECODER = 1  # each further FFmpeg thread holds back one more frame: 40 ms at 25 frames/s


def prepare() -> None:
    """What must be in the environment before torch is imported; what the user has set stays."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def available_cores() -> int:
    """Cores this process may use (fewer than the machine has in containers and under taskset)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def for_model() -> int | None:
    """Threads of one forward; None where the user has decided with OMP_NUM_THREADS."""
    return None if os.environ.get("OMP_NUM_THREADS") else available_cores()
