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
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamer.config.yaml_reader import read_document
from streamer.errors import ConfigError
from streamer.labels.label_set import LabelSet, LabelText
from streamer.labels.phrases import ENGLISH, fault_in

# In a wheel the files lie beside this one; in a checkout they are where people look for them.
FOLDERS = (Path(__file__).parent / "languages", Path(__file__).parents[2] / "configs" / "labels")
LONGEST = 300  # characters of a name or sentence
_KEYS = ("language", "labels", "start", "end", "groups", "ignore", "phrases")
_OWN_KEYS = ("display", "aliases", "start", "end")


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
