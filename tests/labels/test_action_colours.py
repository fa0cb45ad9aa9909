"""Colours of actions: their own where there are enough, the same at each start, readable on every ground."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streamer.labels.action_colours import (
    BLACK,
    COLOURS,
    HUES,
    NO_ACTION,
    WHITE,
    Colour,
    colour_of,
    colours_of,
)

DEMO = (
    "still",
    "moving left",
    "moving right",
    "moving up",
    "moving down",
    "approaching",
    "receding",
    "waving",
)


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 has it."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_each_action_of_a_model_has_its_own_colour_and_no_action_is_grey() -> None:
    numbers = colours_of(DEMO)
    assert numbers["still"] == NO_ACTION
    assert sorted(numbers[label] for label in DEMO[1:]) == list(range(HUES))
    many = colours_of([f"action {n}" for n in range(400)])
    assert set(many.values()) == set(range(HUES))
    assert colours_of([]) == {}


def test_a_label_of_another_model_has_one_that_stays() -> None:
    code = "from streamer.labels.action_colours import colour_of; print(colour_of('يلوّح', {}))"
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert int(again.stdout) == colour_of("يلوّح", {}) < HUES
    assert 0 <= colour_of("\ud800", colours_of(DEMO)) < HUES, "half a character"


@pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: colour.fill)
def test_colours_can_be_read_on_dark_and_on_light(colour: Colour) -> None:
    assert contrast(colour.fill, colour.on) >= 4.5
    for ground in (BLACK, WHITE, "#1e1e1e"):
        assert contrast(colour.text, ground) >= 3.0
