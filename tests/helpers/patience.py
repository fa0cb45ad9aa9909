"""How long something may take: as promised where the machine is free, longer as others share its cores."""

from __future__ import annotations

import os


def patience(seconds: float) -> float:
    """`seconds`, times the programs that wait for each core (over the last minute, this run among them)."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return seconds * max(1.0, load / (os.cpu_count() or 1))
