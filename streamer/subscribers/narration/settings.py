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

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from streamer.config.yaml_reader import Document, read_document
from streamer.errors import ConfigError

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


def _priority(value: Any) -> Any:
    names = {level.name.lower(): level for level in Priority}
    if isinstance(value, str) and value in names:
        return names[value]
    if isinstance(value, Priority):
        return value
    raise ValueError(f"must be one of {', '.join(names)}")


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


def _hours(value: Any) -> Any:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be spans of the day, such as [22:00-07:00]")
    for text in texts:
        parse_hours(text)
    return tuple(texts)


def _sentence(value: str | None) -> str | None:
    if value is not None:
        if len(value) > LONGEST:
            raise ValueError(f"must have at most {LONGEST} characters")
        for place in re.findall(r"\{(\w*)\}", value):
            if place != "camera":
                raise ValueError(f"has a place {{{place}}}; the only one here is {{camera}}")
    return value


Sentence = Annotated[str | None, AfterValidator(_sentence)]
Level = Annotated[Priority, BeforeValidator(_priority)]
Seconds = Annotated[float, Field(ge=0, le=86400 * 7, allow_inf_nan=False)]
_STRICT = ConfigDict(extra="forbid", frozen=True)


class LabelSettings(BaseModel):
    """One label. Sentences may hold {camera}; "" says nothing."""

    model_config = _STRICT
    start: Sentence = None
    end: Sentence = None
    priority: Level | None = None
    repeat_after: Seconds | None = None


class CameraSettings(BaseModel):
    """One camera: its name as it is said, whether it is spoken of, and how much it matters at least."""

    model_config = _STRICT
    name: str | None = Field(None, max_length=100)
    say: bool = True
    priority: Level | None = None


class Settings(BaseModel):
    """All of it; seconds where nothing else is said."""

    model_config = _STRICT
    language: str = "en"
    label_set: str | None = None
    verbosity: Literal["brief", "normal", "full"] = "normal"
    camera: tuple[str, ...] = ()  # the only ones to speak of; none: all
    camera_names: Literal["auto", "always", "never"] = "auto"
    repeat_after: Seconds = 60.0
    fresh: Seconds = 15.0  # older news is not said any more; 0: however old
    settle: Seconds = 3.0  # a camera must be lost, or back, for so long
    goes_on_every: Seconds = 30.0
    priority: Level = Priority.NORMAL
    camera_lost: Level = Priority.HIGH
    quiet_hours: Annotated[tuple[str, ...], BeforeValidator(_hours)] = ()
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
    document = Document() if path is None else read_document(Path(path))
    if document.errors:
        raise ConfigError("\n".join(document.errors))
    data = {**document.data, **{key: value for key, value in options.items() if value is not None}}
    if path is not None and isinstance(data.get("label_set"), str) and options.get("label_set") is None:
        data["label_set"] = str(Path(path).absolute().parent / Path(data["label_set"]).expanduser())
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise ConfigError(
            "\n".join(_fault(item, document, path, options) for item in error.errors())
        ) from None


def _fault(item: Any, document: Document, path: Path | str | None, options: Mapping[str, Any]) -> str:
    keys: tuple[str | int, ...] = tuple(key for key in item["loc"])
    if keys and options.get(str(keys[0])) is not None:
        where = f"--{str(keys[0]).replace('_', '-')}"
    else:
        origins = document.origins
        near = next((keys[:n] for n in range(len(keys), -1, -1) if keys[:n] in origins), ())
        label = origins[near].label if near in origins else str(path)
        where = f"{label}: {'.'.join(map(str, keys))}"
    if item["type"] == "extra_forbidden":
        known = {0: Settings, 2: LabelSettings if keys[0] == "labels" else CameraSettings}
        model: type[BaseModel] = known.get(len(keys) - 1, Settings)
        return f"{where}: unknown key; known here: {', '.join(model.model_fields)}"
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}"
