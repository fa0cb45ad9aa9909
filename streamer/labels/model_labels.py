"""The labels that a model can answer with, and what is set for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelLabels:
    """A model's labels, those with thresholds of their own, those never an event."""

    labels: tuple[str, ...]
    thresholds: tuple[tuple[str, float], ...] = ()
    ignored: tuple[str, ...] = ()
