"""Puts the layers of a configuration together: the file, the environment, options, the later the stronger."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from streamer.config.placeholders import filled
from streamer.config.read_yaml import dotted, validated
from streamer.config.schema import schema_of
from streamer.config.yaml_values import Document, KeyPath, Origin, parse_value, read_document
from streamer.errors import ConfigError
from streamer.system.redaction import redact_address

log = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)
PREFIX = "STREAMER_"
# what Kubernetes (and docker's --link) set in every container for a service called streamer, or streamer-...
_PORT = r"PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
_SERVICE_LINK = re.compile(rf"STREAMER(_[A-Z0-9]+)*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9]+)*|{_PORT})")
_told: set[str] = set()


@dataclass(frozen=True, slots=True)
class Option:
    """An override that names itself in errors (`--hop`). A text value is read as the key's kind wants it."""

    key: str
    value: Any
    label: str


class Layers(Generic[M]):
    """The values so far, the origin of each, and what is wrong.

    Args:
        model: what the values are to become.
        path: the file; None: there is none. Raises ConfigError if it cannot be read.
    """

    def __init__(self, model: type[M], path: Path | None) -> None:
        self._model = model
        self._schema = schema_of(model)
        self.document = Document("configuration") if path is None else read_document(path)
        self._errors = self.document.errors
        self._set: set[KeyPath] = set()  # what was put

    def add_environment(self, env: Mapping[str, str]) -> None:
        """`STREAMER_BUS__BIND`."""
        links = []
        for name in sorted(name for name in env if name.startswith(PREFIX)):
            keys = name[len(PREFIX) :].lower().split("__")
            if _SERVICE_LINK.fullmatch(name) and self._schema.node_at((keys[0],)) is None:
                links.append(name)
            else:
                self.put(keys, env[name], Origin(name), text=True)
        self._tell_of_links(links)

    def add_options(self, options: Mapping[str, Any] | Iterable[str | Option]) -> None:
        """Options of the command line, `bus.bind=tcp://127.0.0.1:7000` or `{"bus.bind": ...}`."""
        if isinstance(options, Mapping):
            for key, value in options.items():
                self.put(key.split("."), value, Origin(key))
            return
        for item in options:
            if isinstance(item, Option):
                is_text = isinstance(item.value, str)
                self.put(item.key.split("."), item.value, Origin(item.label), text=is_text)
                continue
            key, sign, text = (part.strip() for part in item.partition("="))
            if not sign or not key:
                hint = "write --set KEY=VALUE, such as --set events.enter=0.6"
                self._errors.append(f"--set {redact_address(item)}: {hint}")
            else:
                self.put(key.split("."), text, Origin(f"--set {key}"), text=True)

    def put(self, keys: Sequence[str], value: Any, origin: Origin, *, text: bool = False) -> None:
        """Set the value at `keys`; `text` is turned into what the schema wants there."""
        path = self._path(keys, origin)
        if path is None:
            return
        if text:
            try:
                value = self._from_text(value, path, origin)
            except ConfigError as error:
                self._errors.append(str(error))
                return
        if isinstance(value, Mapping) and self._schema.keys_at(path):
            for key, below in value.items():  # a section's keys are set one by one, the others stay
                self.put([*map(str, path), str(key)], below, origin)
            return
        container = self._container(path)
        if isinstance(container, list) and path[-1] == len(container):
            container.append(value)
        else:
            container[path[-1]] = value
        origins = self.document.origins
        for below in [known for known in origins if known[: len(path)] == path]:
            del origins[below]
        origins[path] = origin
        self._set.add(path)

    def validated(self, env: Mapping[str, str] | None = None) -> M:
        """All of it, with the variables that values name. Raises ConfigError with all that is wrong."""
        return validated(self.document, self._model, filled(self.document, self._model, env))

    def _path(self, keys: Sequence[str], origin: Origin) -> KeyPath | None:
        """The key path that is meant, list items by index or by name; None (and an error) if unknown."""
        path: KeyPath = ()
        for key in keys:
            step: str | int = key
            if "array" in self._schema.kinds_at(path):
                found = self._index(path, key)
                if found is None:
                    count = len(self._items(path))
                    self._errors.append(
                        f"{origin.label}: {dotted(path)} has no item {key}; there are {count}, counted from 0"
                    )
                    return None
                step = found
            if self._schema.node_at((*path, step)) is None:
                self._errors.append(f"{origin.label}: {self._unknown(path, key, keys, origin)}")
                return None
            path = (*path, step)
        return path

    def _unknown(self, path: KeyPath, key: str, keys: Sequence[str], origin: Origin) -> str:
        if path and not self._schema.keys_at(path):
            return f"{dotted(path)} is a value and has no keys below it"
        if not origin.label.startswith(PREFIX):
            return f"unknown key; {self._schema.nearest(key, path)}"
        near = self._nearest_variable(keys)
        return f"unknown variable; {f'did you mean {near}?' if near else 'see configs/cameras.yaml'}"

    def _nearest_variable(self, keys: Sequence[str], cutoff: float = 0.6) -> str | None:
        near = self._schema.nearest_dotted(".".join(keys), cutoff)
        return f"{PREFIX}{near.replace('.', '__').upper()}" if near else None

    def _tell_of_links(self, names: Sequence[str]) -> None:
        """Kubernetes sets STREAMER_PORT and the like for a service called streamer; mentioned once."""
        new = [name for name in names if name not in _told]
        _told.update(new)
        for name in new[:3]:
            words = name[len(PREFIX) :].lower().split("_")
            near = self._nearest_variable(words, 0.5) if words[0] in self._schema.keys_at(()) else None
            log.warning(
                "%s is no setting%s; it looks like Kubernetes' link to a service and is ignored "
                "(enableServiceLinks: false in the pod keeps such variables out)",
                name, f" (the nearest is {near})" if near else "",
            )  # fmt: skip
        if len(new) > 3:
            log.warning("%d more variables like %s are ignored", len(new) - 3, new[-1])

    def _index(self, path: KeyPath, key: str) -> int | None:
        items = self._items(path)
        names = [str(item.get("name")) if isinstance(item, dict) else None for item in items]
        if key in names:
            return names.index(key)
        small = key.isascii() and key.isdigit() and len(key) < 10
        return int(key) if small and int(key) <= len(items) else None

    def _items(self, path: KeyPath) -> list[Any]:
        items = self.document.value(path)
        return items if isinstance(items, list) else []

    def _container(self, path: KeyPath) -> Any:
        here: Any = self.document.data
        for part, after in pairwise(path):
            wanted = list if isinstance(after, int) else dict
            if isinstance(here, list) and part == len(here):
                here.append(wanted())
            elif isinstance(here, list):
                if not isinstance(here[int(part)], wanted):
                    here[int(part)] = wanted()
            elif not isinstance(here.get(part), wanted):
                here[part] = wanted()
            here = here[part]
        return here

    def _from_text(self, text: str, path: KeyPath, origin: Origin) -> Any:
        kinds = self._schema.kinds_at(path)
        if "null" in kinds and text in ("null", "~"):
            return None
        if kinds & {"array", "object"}:
            return parse_value(text, origin.label)
        return text  # pydantic makes numbers and booleans of it; text stays as it is
