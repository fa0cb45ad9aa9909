"""What the tests of metrics, health and life signs share."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamer.config import MetricsConfig
from streamer.types import (
    CameraState,
    CameraStats,
    CameraStatus,
    InferenceStats,
    PublisherState,
    Stats,
)
from tests.helpers.http_get import get

PATIENCE = 60.0  # seconds for a process of its own, on a crowded machine
NOW = 1000.0
LIMITS = MetricsConfig()
EVIL = "gate\x1b]0;x\x07\x9b31m\ud800\nall is well"
unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs unix sockets")


def until(condition: Callable[[], bool], what: str = "") -> None:
    """Wait for something that another thread or process does."""
    end, waiting = time.monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < end, f"did not happen in time: {what or condition}"
        waiting.wait(0.02)


def camera(
    name: str, state: CameraState = CameraState.RUNNING, *, age: float = 0.1, **more: Any
) -> CameraStats:
    return CameraStats(CameraStatus(name, state, 0.0, newest=NOW - age, **more))


def stats(*cameras: CameraStats, **more: Any) -> Stats:
    lane = InferenceStats("demo", None, NOW - 0.2)
    made = Stats(NOW, 1.8e9, 500.0, cameras or (camera("cam0"),), inference=(lane,), publisher=bus())
    return replace(made, **{"ready_since": NOW - 400, "last_loop": NOW - 0.1, **more})


def bus(ago: float | None = 0.1, **more: Any) -> PublisherState:
    last_loop = None if ago is None else NOW - ago
    return PublisherState(**{"last_loop": last_loop, "durable": True, "wants_durable": True, **more})


def health(address: str) -> tuple[int, dict[str, Any]]:
    status, text = get(address, "/healthz")
    return status, json.loads(text)


def scrape(address: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(name, labels) -> value of every sample."""
    status, text = get(address, "/metrics")
    assert status == 200
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def value(found: dict[Any, float], name: str, **labels: str) -> float:
    return found.get((f"streamer_{name}", tuple(sorted(labels.items()))), math.nan)
