"""What people can set about what is said: a YAML file, and options of the command line over it.

language: en
quiet_hours: ["22:00-07:00"]
labels:
  approaching: {priority: urgent, start: "Someone is approaching {camera}"}
cameras:
  front-door: {name: the front door}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from streamer.config import Option
from streamer.config.precedence import Layers
from streamer.config.section_parts import PathText, Section, wrong

LONGEST = 300  # characters of a sentence
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]|24):([0-5]\d)")


class Priority(IntEnum):
    """How much something matters. `HIGH` goes ahead of what waits; `URGENT` also breaks in on what is said,
    and is said in quiet hours.
    """

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


def parse_hours(text: str) -> tuple[int, int]:
    """ "22:00-07:00" as minutes of the day, first included, last not; across midnight where first > last.

    Raises ValueError.
    """
    found = _CLOCK.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no span of the day: write HH:MM-HH:MM, such as 22:00-07:00")
    first, last = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if last > 24 * 60 or first == last:
        raise ValueError(f"{text!r} is no span of the day: it must end at another time than it begins")
    return first, last


def _span(text: str) -> str:
    try:
        parse_hours(text)
    except ValueError as error:
        raise wrong((), str(error)) from None
    return text


def _spans(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _priority(value: Any) -> Any:
    return Priority[value.upper()] if isinstance(value, str) and value in PRIORITIES else value


def _sentence(value: str) -> str:
    for place in re.findall(r"\{(\w*)\}", value):
        if place != "camera":
            raise wrong((), f"has a place {{{place}}}; the only one here is {{camera}}")
    return value


PRIORITIES = [level.name.lower() for level in Priority]
Sentence = Annotated[str, Field(max_length=LONGEST), AfterValidator(_sentence)]
Level = Annotated[Priority, BeforeValidator(_priority), WithJsonSchema({"enum": PRIORITIES})]
Seconds = Annotated[float, Field(ge=0, le=86400 * 7, allow_inf_nan=False)]
Spans = Annotated[tuple[Annotated[str, AfterValidator(_span)], ...], BeforeValidator(_spans)]


class LabelSettings(Section):
    """One label. Sentences may hold {camera}; "" says nothing."""

    start: Sentence | None = None
    end: Sentence | None = None
    priority: Level | None = None
    repeat_after: Seconds | None = None


class CameraSettings(Section):
    """One camera: its name as it is said, whether it is spoken of, and how much it matters at least."""

    name: str | None = Field(None, max_length=100)
    say: bool = True
    priority: Level | None = None


class Settings(Section):
    """All of it; seconds where nothing else is said."""

    language: str = "en"
    label_set: PathText | None = None
    verbosity: Literal["brief", "normal", "full"] = "normal"
    camera: tuple[str, ...] = ()  # the only ones to speak of; none: all
    label: tuple[str, ...] = ()  # the only ones to speak of; none: all that mean an action
    camera_names: Literal["auto", "always", "never"] = "auto"
    repeat_after: Seconds = 60.0
    fresh: Seconds = 15.0  # older news is not said any more; 0: however old
    settle: Seconds = 3.0  # a camera must be lost, or back, for so long
    goes_on_every: Seconds = 30.0
    priority: Level = Priority.NORMAL
    camera_lost: Level = Priority.HIGH
    quiet_hours: Spans = ()
    quiet_priority: Level = Priority.URGENT
    labels: Mapping[str, LabelSettings] = Field(default_factory=dict)
    cameras: Mapping[str, CameraSettings] = Field(default_factory=dict)
    # speech alone
    engine: Literal["auto", "espeak-ng", "spd-say", "pyttsx3"] = "auto"
    voice: str | None = Field(None, min_length=1, max_length=200)
    rate: int = Field(170, ge=80, le=450)  # words per minute
    pause: Seconds = 0.7  # of silence between two utterances, at least


def load_settings(path: Path | str | None, options: Mapping[str, Any]) -> Settings:
    """The file's settings with those options of the command line over it that are not None.

    Raises:
        ConfigError: file and line, or option, what is wrong and what is allowed.
    """
    layers = Layers(Settings, None if path is None else Path(path))
    layers.add_options(
        Option(key, value, f"--{key.replace('_', '-')}")
        for key, value in options.items() if value is not None
    )  # fmt: skip
    return layers.validated()
