"""Label sets for people: names in their language, other names, groups, and labels never to be spoken of.

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

Messages carry the label as the model knows it, which never changes, and its display name beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamer.config import EventsConfig, LabelRule
from streamer.config.yaml_reader import read_document
from streamer.errors import ConfigError
from streamer.labels.phrases import ENGLISH, fault_in

# In a wheel the files lie beside this one; in a checkout they are where people look for them.
FOLDERS = (Path(__file__).parent / "languages", Path(__file__).parents[2] / "configs" / "labels")
LONGEST = 300  # characters of a name or sentence
EXIT = 0.7  # of a label's own threshold: where its event closes
_KEYS = ("language", "labels", "start", "end", "groups", "ignore", "phrases")
_OWN_KEYS = ("display", "aliases", "start", "end")


@dataclass(frozen=True, slots=True)
class LabelText:
    """What people read and hear of one label."""

    display: str
    start: str | None = None  # the sentence at an event's start, and at its end
    end: str | None = None


@dataclass(frozen=True)
class LabelSet:
    """Names, groups and ignored labels. Empty: every label is called what it is called."""

    language: str | None = None
    texts: Mapping[str, LabelText] = field(default_factory=dict)
    alias_of: Mapping[str, str] = field(default_factory=dict)  # other name -> label
    start: str = "{}"
    end: str = "{} ended"
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    phrases: Mapping[str, str] = field(default_factory=dict)

    def display(self, label: str) -> str:
        """What people call a label; itself where nobody said."""
        found = self._text(label)
        return found.display if found else label

    def sentence(self, label: str, *, start: bool) -> str:
        """What is said when an event of this label starts, or ends."""
        found = self._text(label)
        own = (found.start if start else found.end) if found else None
        return own or (self.start if start else self.end).replace("{}", self.display(label))

    def known_as(self, name: str, known: Iterable[str]) -> str:
        """The one of `known` that `name` means: itself, or another name of the same label; else `name`."""
        known = list(known)
        if name in known:
            return name
        meant = self.alias_of.get(name, name)
        return next((label for label in known if self.alias_of.get(label, label) == meant), name)

    def _text(self, label: str) -> LabelText | None:
        return self.texts.get(label) or self.texts.get(self.alias_of.get(label, ""))

    def over(self, other: LabelSet) -> LabelSet:
        """This set where it says something, the other elsewhere."""
        empty = LabelSet()
        return LabelSet(
            self.language or other.language,
            {**other.texts, **self.texts},
            {**other.alias_of, **self.alias_of},
            other.start if self.start == empty.start else self.start,
            other.end if self.end == empty.end else self.end,
            {**other.groups, **self.groups},
            tuple(dict.fromkeys([*other.ignore, *self.ignore])),
            {**other.phrases, **self.phrases},
        )


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a model answers with: its labels, those with thresholds of their own, those never an event."""

    labels: tuple[str, ...]
    thresholds: tuple[tuple[str, float], ...] = ()
    ignored: tuple[str, ...] = ()


def events_for(
    config: EventsConfig, own: Outcomes, names: LabelSet, elsewhere: Iterable[str] | None = ()
) -> EventsConfig:
    """The events' settings as one model of a camera needs them.

    Names are turned into the model's own, the label set's groups and ignored labels come in, and what is
    meant for the camera's other models stays out.

    Args:
        config: as written.
        own: the model's outcomes.
        names: the label set.
        elsewhere: labels of the camera's other models; None: unknown names are of no interest at all.

    Returns:
        A config; a name that nobody knows stays in it, for the tracker to refuse.
    """
    others = set(elsewhere or ())
    all_groups = {**names.groups, **config.groups}

    def translate(wanted: Sequence[str], groups: Iterable[str] = ()) -> tuple[str, ...]:
        """In the model's own words, without what is meant for others."""
        known = [*own.labels, *groups]
        found = dict.fromkeys(names.known_as(name, known) for name in wanted)
        return tuple(name for name in found if name in known or not foreign(name))

    def foreign(name: str) -> bool:
        return elsewhere is None or name in all_groups or names.known_as(name, others) in others

    groups = {name: translate(members) for name, members in config.groups.items()}
    for name, members in names.groups.items():
        if name not in groups and name not in own.labels:
            groups[name] = tuple(label for label in translate(members) if label in own.labels)
    groups = {name: members for name, members in groups.items() if members}
    usual = [name for name in translate(names.ignore, groups) if name in own.labels or name in groups]
    thresholds = {label: _rule(config, at) for label, at in own.thresholds}
    for name, rule in config.thresholds.items():
        thresholds.update(dict.fromkeys(translate([name], groups), rule))
    include = None if config.include is None else translate(config.include, groups)
    # what is asked for by name is only ignored where the settings themselves say so
    unasked = [name for name in (*usual, *own.ignored) if name not in (include or ())]
    ignore = dict.fromkeys([*translate(config.ignore, groups), *unasked])
    update = {
        "groups": groups,
        "include": include,
        "ignore": tuple(ignore),
        "thresholds": thresholds,
    }
    return config.model_copy(update=update)


def _rule(config: EventsConfig, enter: float) -> LabelRule:
    """A label's own threshold, with an exit as far below it as is usual."""
    return LabelRule(enter=enter, exit=min(config.exit, EXIT * enter))


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
    document = read_document(path)
    if document.errors:
        raise ConfigError("\n".join(document.errors))

    def wrong(keys: tuple[str | int, ...], text: str) -> ConfigError:
        origin = next(
            (document.origins[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in document.origins),
            None,
        )
        return ConfigError(f"{origin.label if origin else path}: {'.'.join(map(str, keys))}: {text}")

    return _Reader(document.data, wrong).read()


class _Reader:
    def __init__(self, data: Mapping[str, Any], wrong: Any) -> None:
        self._data = data
        self._wrong = wrong

    def read(self) -> LabelSet:
        data = self._data
        self._keys(data, _KEYS, ())
        texts: dict[str, LabelText] = {}
        alias_of: dict[str, str] = {}
        labels = data.get("labels") or {}
        if not isinstance(labels, Mapping):
            raise self._wrong(("labels",), "expected labels with their names")
        for label, own in labels.items():
            path = ("labels", label)
            own = {"display": own} if isinstance(own, str) else own
            if not isinstance(own, Mapping):
                raise self._wrong(
                    path, "expected its display name, or keys; a name like no or 12 needs quotes"
                )
            self._keys(own, _OWN_KEYS, path)
            texts[label] = LabelText(
                self._text(own, "display", path) or label,
                self._text(own, "start", path),
                self._text(own, "end", path),
            )
            for alias in self._list(own.get("aliases"), (*path, "aliases")):
                if alias_of.setdefault(alias, label) != label or alias in labels:
                    raise self._wrong((*path, "aliases"), f"{alias!r} is another label's name already")
        empty = LabelSet()
        groups = data.get("groups") or {}
        if not isinstance(groups, Mapping):
            raise self._wrong(("groups",), "expected names, each with a list of labels")
        return LabelSet(
            self._text(data, "language", ()),
            texts,
            alias_of,
            self._text(data, "start", ()) or empty.start,
            self._text(data, "end", ()) or empty.end,
            {name: self._list(members, ("groups", name)) for name, members in groups.items()},
            self._list(data.get("ignore"), ("ignore",)),
            self._phrases(data.get("phrases") or {}),
        )

    def _phrases(self, phrases: Any) -> dict[str, str]:
        path = ("phrases",)
        if not isinstance(phrases, Mapping):
            raise self._wrong(path, f"expected phrases; known: {', '.join(ENGLISH)}")
        self._keys(phrases, tuple(ENGLISH), path)
        found = {name: self._text(phrases, name, path) for name in phrases}
        for name, text in found.items():
            if text is not None and (fault := fault_in(name, text)):
                raise self._wrong((*path, name), fault)
        return {name: text for name, text in found.items() if text is not None}

    def _keys(self, data: Mapping[str, Any], known: Sequence[str], path: tuple[str, ...]) -> None:
        for key in data:
            if key not in known:
                raise self._wrong((*path, key), f"unknown key; known here: {', '.join(known)}")

    def _text(self, data: Mapping[str, Any], key: str, path: tuple[str, ...]) -> str | None:
        value = data.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip() or len(value) > LONGEST:
            raise self._wrong((*path, key), f"expected text of at most {LONGEST} characters")
        return " ".join(value.split())

    def _list(self, value: Any, path: tuple[str, ...]) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else value or ()
        if not isinstance(items, (list, tuple)) or not all(isinstance(i, str) and i.strip() for i in items):
            raise self._wrong(path, "expected a list of names")
        return tuple(dict.fromkeys(items))
