"""How many windows a second a model computes on this machine: measured once, when it is loaded."""

from __future__ import annotations

import statistics
import time

import numpy as np

from streamer.errors import ModelError
from streamer.recognition.recognizer import Recognizer
from streamer.types import Frame, Step, Window

FORWARDS = 3
CAMERA = "measuring"
PICTURE = (480, 640, 3)  # of a camera: height, width, colours


def windows_per_second(recognizer: Recognizer) -> float:
    """Of one window after the other, the median; the recognizer is warm and nobody else uses it.

    Raises:
        ModelError: it does not compute.
    """
    spec = recognizer.spec
    image = recognizer.reduce(np.full(PICTURE, 110, np.uint8))
    image.setflags(write=False)
    frames = tuple(Frame(CAMERA, n, 0, n * spec.interval, 0.0, 0.0, None, image) for n in range(spec.frames))
    spent = []
    for number in range(FORWARDS):
        steps = (Step(0, frames[-1], begins=number == 0),) if spec.streaming else ()
        began = time.perf_counter()
        recognizer.predict([Window(CAMERA, number, frames, spec.interval, steps=steps)])
        spent.append(time.perf_counter() - began)
    recognizer.forget(CAMERA)
    median = statistics.median(spent)
    if not median > 0:
        raise ModelError(f"{spec.name}: its speed cannot be measured")
    return min(1.0 / median, 1e6)
