"""Each action's own colour, the same in the terminal and on the page, and at every start.

A model's actions get the colours in the order of its labels; labels that mean "no action" are grey. A label
of another model, or of one whose labels are not known, gets one by its name.

The hues are Okabe and Ito's ("Color Universal Design"), which people who see fewer colours can tell apart;
where there are more actions than hues their names do. `text` is the same hue at a lightness that can be read
on black and on white (3:1 or more), for terminals, whose ground nobody knows.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamer.labels.model_labels import background_labels


@dataclass(frozen=True, slots=True)
class Colour:
    """`fill`: of bars and boxes, with `on` for the text upon it; `text`: of letters. All #rrggbb."""

    fill: str
    on: str
    text: str


BLACK, WHITE = "#000000", "#ffffff"
COLOURS = (
    Colour("#56b4e9", BLACK, "#2a88bd"),  # sky blue
    Colour("#e69f00", BLACK, "#a87400"),  # orange
    Colour("#009e73", BLACK, "#008f68"),  # bluish green
    Colour("#cc79a7", BLACK, "#b8608f"),  # reddish purple
    Colour("#f0e442", BLACK, "#858000"),  # yellow
    Colour("#0072b2", WHITE, "#0072b2"),  # blue
    Colour("#d55e00", BLACK, "#d55e00"),  # vermilion
    Colour("#9aa4b2", BLACK, "#7d8794"),  # grey: no action
)
NO_ACTION = len(COLOURS) - 1
HUES = NO_ACTION


def colours_of(labels: Sequence[str]) -> Mapping[str, int]:
    """Number of each label's colour in COLOURS; `labels`: a model's, in its order."""
    none = frozenset(background_labels(labels))
    actions = [label for label in dict.fromkeys(labels) if label not in none]
    return {**dict.fromkeys(none, NO_ACTION), **{label: n % HUES for n, label in enumerate(actions)}}


def colour_of(label: str, known: Mapping[str, int]) -> int:
    """Number of a label's colour; `known`: what `colours_of` says of the model's."""
    own = known.get(label)
    return zlib.crc32(label.encode("utf-8", "replace")) % HUES if own is None else own
