"""Label sets for people: names in their language, other names, groups, and labels to ignore.

A label set is a YAML file; `configs/labels/<language>.yaml` are three that come with streamer:

    language: tr
    labels:
      waving: {display: El sallama, aliases: [waving hand], start: Biri el sallıyor, end: El sallama bitti}
      bowling: Bovling oynama                  # the display name alone
    start: "{} başladı"                        # sentences of labels that have none of their own
    end: "{} bitti"
    groups: {drinking: [drinking beer, drinking shots]}   # one event for several labels
    ignore: [still]                            # never an event
    phrases: {lost: "{camera}: görüntü yok"}   # what else is said: see phrases.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, create_model, model_validator

from streamer.config.read_yaml import read_yaml
from streamer.config.section_parts import Section, wrong
from streamer.errors import ConfigError
from streamer.labels.label_set import LabelSet, LabelText
from streamer.labels.phrases import ENGLISH, fault_in

# In a wheel the files lie beside this one; in a checkout they are where people look for them.
FOLDERS = (Path(__file__).parent / "languages", Path(__file__).parents[2] / "configs" / "labels")
LONGEST = 300  # characters of a name or sentence


def _one_line(value: Any) -> Any:
    return " ".join(value.split()) if isinstance(value, str) else value


def _names(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _entry(value: Any) -> Any:
    return {"display": value} if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_one_line), Field(min_length=1, max_length=LONGEST)]
Names = Annotated[tuple[Text, ...], BeforeValidator(_names)]


class LabelEntry(Section):
    """One label of the file; a text alone is its display name."""

    display: Text | None = None
    aliases: Names = ()
    start: Text | None = None
    end: Text | None = None


_Phrases: Any = create_model("_Phrases", __base__=Section, **dict.fromkeys(ENGLISH, (Text | None, None)))  # type: ignore[call-overload]


class LabelFile(Section):
    """A file as it is written."""

    language: Text | None = None
    labels: dict[str, Annotated[LabelEntry, BeforeValidator(_entry)]] = Field(default_factory=dict)
    start: Text | None = None
    end: Text | None = None
    groups: dict[str, Names] = Field(default_factory=dict)
    ignore: Names = ()
    phrases: _Phrases = _Phrases()

    @model_validator(mode="after")
    def _names_are_of_one_label(self) -> LabelFile:
        taken: dict[str, str] = {}
        for label, entry in self.labels.items():
            for alias in entry.aliases:
                if taken.setdefault(alias, label) != label or alias in self.labels:
                    raise wrong(("labels", label, "aliases"), f"{alias!r} is another label's name already")
        return self

    @model_validator(mode="after")
    def _phrases_have_their_places(self) -> LabelFile:
        for name, text in self.phrases.model_dump(exclude_none=True).items():
            if fault := fault_in(name, text):
                raise wrong(("phrases", name), fault)
        return self


def languages() -> list[str]:
    """The languages that come with streamer."""
    return sorted({file.stem for folder in FOLDERS for file in folder.glob("*.yaml")})


def load_labels(language: str | None, file: Path | str | None = None) -> LabelSet:
    """The label set of a language, and a file of one's own over it.

    Raises:
        ConfigError: there is no such language or file, or it is wrong: file, line, what is allowed.
    """
    found = LabelSet()
    if language is not None:
        places = (folder / f"{language}.yaml" for folder in FOLDERS)
        place = next((path for path in places if language in languages() and path.exists()), None)
        if place is None:
            raise ConfigError(
                f"language {language!r}: there are no label names in it; there are "
                f"{', '.join(languages())}, and label_set: FILE.yaml takes one of your own"
            )
        found = read_labels(place)
    if file is not None:
        found = read_labels(Path(file)).over(found)
    return found


def read_labels(path: Path) -> LabelSet:
    """One file. Raises ConfigError."""
    file = read_yaml(path, LabelFile)
    empty = LabelSet()
    texts = {label: LabelText(one.display or label, one.start, one.end) for label, one in file.labels.items()}
    return LabelSet(
        file.language,
        texts,
        {alias: label for label, one in file.labels.items() for alias in one.aliases},
        file.start or empty.start,
        file.end or empty.end,
        {name: tuple(dict.fromkeys(members)) for name, members in file.groups.items()},
        tuple(dict.fromkeys(file.ignore)),
        file.phrases.model_dump(exclude_none=True),
    )
