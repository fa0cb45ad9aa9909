"""The labels that a model can answer with, and what is set for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Labels that mean "no action", where a model has one and nobody said otherwise.
BACKGROUND_NAMES = ("background", "idle", "still", "nothing", "none", "no action")


@dataclass(frozen=True, slots=True)
class ModelLabels:
    """A model's labels, those with thresholds of their own, never an event, that mean no action; and settings
    of events by name that fit the model where the user says nothing.
    """

    labels: tuple[str, ...]
    thresholds: tuple[tuple[str, float], ...] = ()
    ignored: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    events: tuple[tuple[str, float], ...] = ()


def background_labels(labels: Sequence[str], own: Sequence[str] = ()) -> tuple[str, ...]:
    """The labels that mean "no action": the checkpoint's own, else those with a usual name."""
    if own:
        return tuple(name for name in own if name in labels)
    return tuple(name for name in labels if name.lower() in BACKGROUND_NAMES)
