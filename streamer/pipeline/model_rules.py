"""What follows from a model's settings and its checkpoint: how often it looks, its scores, its labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.config import ModelConfig
from streamer.errors import ConfigError
from streamer.labels.model_labels import ModelLabels, background_labels
from streamer.recognition.recognizer import Recognizer
from streamer.types import ModelSpec
from streamer.windows.streaming_ticks import interleaved

HOPS_PER_SPAN, SHORTEST_HOP, LONGEST_HOP = 7, 0.1, 0.5  # the default hop; seconds
TINY = 1e-12  # the smallest score that a temperature works on


def default_hop(spec: ModelSpec) -> float:
    """Seconds between windows where the user has not said: short spans are looked at more often.

    A streaming model sees each frame of its grid once: its hop is its interval.
    """
    if spec.streaming:
        return spec.interval
    return max(SHORTEST_HOP, min(LONGEST_HOP, spec.span / HOPS_PER_SPAN))


def hop_of(model: ModelConfig, spec: ModelSpec) -> float:
    """Seconds between windows of a loaded model.

    Raises:
        ConfigError: a streaming model cannot be looked at so often.
    """
    hop = model.hop or default_hop(spec)
    if spec.streaming:
        try:
            interleaved(spec.interval, hop)
        except ValueError as error:
            raise ConfigError(f"model {spec.name}: {error}") from error
    return hop


def tempered(scores: NDArray[Any], temperature: float, independent: bool) -> NDArray[Any]:
    """Scores float32 (L,) as if the logits had been divided by `temperature` before softmax (or sigmoid)."""
    powered = np.power(np.clip(scores, TINY, 1.0, dtype=np.float64), 1.0 / temperature)
    whole = powered.sum()
    if independent:
        whole = powered + np.power(np.clip(1.0 - scores, TINY, 1.0, dtype=np.float64), 1.0 / temperature)
    return np.asarray(powered / whole, dtype=np.float32)


def outcomes_of(recognizer: Recognizer, camera: str) -> ModelLabels:
    """A model's labels, or the words that a camera asks of it."""
    spec, words = recognizer.spec, recognizer.words
    if words is None:
        background = background_labels(spec.labels, spec.background)
        return ModelLabels(spec.labels, spec.thresholds, spec.ignored, background, spec.events)
    return words.of(camera).outcomes
