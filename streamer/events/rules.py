"""What the events' settings mean for one model: labels, groups and thresholds by index."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.config import EventsConfig, LabelRule
from streamer.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Rule:
    """The thresholds of one label."""

    enter: float
    exit: float
    min_on: float
    min_off: float


class EventLabels:
    """Labels and groups by index: the model's labels first, then the groups.

    A label in a group speaks through the group only; an ignored label counts nowhere, not even in a group's
    sum. `rules` has the thresholds of every index that may become an event.

    Raises ConfigError if the config names a label that the model does not have.
    """

    def __init__(self, model: str, labels: Sequence[str], config: EventsConfig) -> None:
        self.names = (*labels, *config.groups)
        members = {name for group in config.groups.values() for name in group}
        _check(model, "groups", sorted(members), labels)
        _check(model, "include", config.include or (), self.names)
        _check(model, "ignore", config.ignore, self.names)
        _check(model, "background", config.background or (), self.names)
        _check(model, "thresholds", config.thresholds, self.names)
        for group, own in config.groups.items():
            if group in labels and group not in own:
                raise ConfigError(
                    f"events.groups: {group!r} is a label of {model} itself; "
                    f"choose another name for the group, or add {group!r} to it"
                )
        self.background = frozenset(config.background or ())
        ignored = set(config.ignore)
        wanted = set(self.names if config.include is None else config.include) - ignored
        self._size = len(labels)
        self._groups = [
            np.array([i for i, name in enumerate(labels) if name in set(own) - ignored], dtype=np.intp)
            for own in config.groups.values()
        ]
        self.rules = {
            i: _rule(config, name)
            for i, name in enumerate(self.names)
            if name in wanted and (i >= self._size or name not in members)
        }
        self.enter = np.full(len(self.names), np.inf)  # inf: never an event
        for i, rule in self.rules.items():
            self.enter[i] = rule.enter

    def scores(self, scores: NDArray[np.float64], independent: bool) -> NDArray[np.float64]:
        """(L,) scores to (L + groups,), clipped to [0, 1]: a group has the sum, or the greatest (sigmoid)."""
        if scores.shape != (self._size,):
            raise ValueError(f"expected {self._size} scores, got an array of shape {scores.shape}")
        groups = [
            0.0 if not own.size else scores[own].max() if independent else scores[own].sum()
            for own in self._groups
        ]
        return np.asarray(np.clip([*scores, *groups], 0.0, 1.0), dtype=np.float64)


def _check(model: str, where: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            some = near or known[:5]
            shown = ", ".join(map(repr, some))
            hint = f"did you mean {shown}?" if near else f"its labels begin with {shown}"
            raise ConfigError(f"events.{where}: {name!r} is not a label of {model} or a group; {hint}")


def _rule(config: EventsConfig, name: str) -> Rule:
    own = config.thresholds.get(name, LabelRule())
    return Rule(
        enter=config.enter if own.enter is None else own.enter,
        exit=config.exit if own.exit is None else own.exit,
        min_on=config.min_on if own.min_on is None else own.min_on,
        min_off=config.min_off if own.min_off is None else own.min_off,
    )
