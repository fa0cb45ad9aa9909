"""Parts that the tests of the bus share: values to publish, an open publisher, and a watch over leaks."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from streamer.bus import EventMessage, Message, Publisher, Subscriber
from streamer.config import BusConfig, JournalConfig
from streamer.types import CameraState, CameraStatus, Event, Frame, Moment, Phase, Prediction, Window

FREE = "tcp://127.0.0.1:0"
DEADLINE = 60.0  # seconds; what takes longer is broken, on a crowded machine too


def frame(camera: str, index: int, media: float | None = None) -> Frame:
    now = time.monotonic()
    image = np.zeros((2, 2, 3), np.uint8)
    return Frame(camera, index, 0, now, now, time.time(), media, image)


def prediction(
    camera: str = "cam0", number: int = 1, *, media: bool = False, score: float = 0.75
) -> Prediction:
    frames = tuple(frame(camera, i, i * 0.1 if media else None) for i in range(4))
    scores = np.array([1 - score, score], np.float32)
    return Prediction(
        camera, "demo", Window(camera, number, frames, 0.1), ("still", "waving"), scores, 0.001, 0.02
    )


def event(
    name: str = "e1",
    phase: Phase = Phase.START,
    *,
    camera: str = "cam0",
    label: str = "waving",
    media: bool = False,
) -> Event:
    at = Moment(time.monotonic(), time.time(), 1.5 if media else None)
    return Event(name, camera, "demo", label, phase, 0.8, 0.9, at, at, at if phase is Phase.END else None)


def status(camera: str = "cam0", state: CameraState = CameraState.RUNNING, **fields: Any) -> CameraStatus:
    return CameraStatus(camera, state, fields.pop("since", 1_700_000_000.0), **fields)


def publisher(path: Path | str = "", **more: Any) -> Publisher:
    bus = more.pop("bus", None) or BusConfig(bind=FREE)
    return Publisher(bus, JournalConfig(path=str(path)), **more)


def until(condition: Callable[[], bool], what: str = "") -> None:
    """Wait for something that another thread does; never longer than DEADLINE."""
    waiting, end = threading.Event(), time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"did not happen in time: {what or condition}"
        waiting.wait(0.005)


def number_in(file: Path) -> int:
    """The number that another process writes there, once it has: a file is there before it is written."""
    until(lambda: file.exists() and bool(file.read_text().strip()), f"a number in {file}")
    return int(file.read_text())


def free_pair() -> int:
    """A port that is free and whose next one is, too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return int(port)


def collect(subscriber: Subscriber, enough: Callable[[list[Message]], bool]) -> list[Message]:
    """Messages until they are enough."""
    found: list[Message] = []
    end = time.monotonic() + DEADLINE
    while not enough(found):
        message = subscriber.receive(0.2)
        if message is not None:
            found.append(message)
        assert time.monotonic() < end, f"only {found}"
    return found


def connect(subscriber: Subscriber) -> None:
    """Receive until the first heartbeat: from then on nothing is lost for having come late."""
    collect(subscriber, lambda found: subscriber.connected)


def events_of(messages: list[Message]) -> list[int]:
    return [message.seq for message in messages if isinstance(message, EventMessage)]


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fails where a test leaves a thread or a file descriptor behind."""
    gc.collect()
    threads, descriptors = set(threading.enumerate()), psutil.Process().num_fds()
    yield
    until(
        lambda: set(threading.enumerate()) <= threads, f"threads left: {set(threading.enumerate()) - threads}"
    )
    until(lambda: gc.collect() >= 0 and psutil.Process().num_fds() <= descriptors, "descriptors left open")
