"""Puts the layers of a configuration together and says, for all that is wrong, where and why.

A value goes through four steps: read with its origin, merged over weaker layers, filled in (`${NAME}` of the
environment, paths relative to their file), validated by pydantic. An error shows the value as it was written,
never what was filled in, and never a secret.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from streamer.config import Config
from streamer.config import schema as config_schema
from streamer.config.values import dotted, present, resolved_path, shown_value, value_at
from streamer.config.yaml_reader import KeyPath, Origin, parse_value, read_document
from streamer.errors import ConfigError
from streamer.system.redaction import redact

PREFIX = "STREAMER_"
_VARIABLE = re.compile(r"\$(\$)?\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Option:
    """An override that names itself in errors (`--hop`). A text value is read as the key's kind wants it."""

    key: str
    value: Any
    label: str


def load(
    path: Path | str | None,
    overrides: Mapping[str, Any] | Sequence[str | Option],
    env: Mapping[str, str] | None,
) -> Config:
    """See `streamer.config.load_config`."""
    env = os.environ if env is None else env
    tree = Tree()
    if path is not None:
        document = read_document(Path(path))
        tree.data, tree.origins, tree.errors = document.data, document.origins, document.errors
    for name in sorted(env):
        if name.startswith(PREFIX):
            tree.from_environment(name, env[name])
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            tree.put(key.split("."), value, Origin(key))
    else:
        for item in overrides:
            if isinstance(item, Option):
                is_text = isinstance(item.value, str)
                tree.put(item.key.split("."), item.value, Origin(item.label), text=is_text)
            else:
                tree.from_text(item)
    return tree.validated(env)


class Tree:
    """The values so far, the origin of each, and what is wrong."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.origins: dict[KeyPath, Origin] = {}
        self.errors: list[str] = []

    # --- layers ---

    def from_environment(self, name: str, text: str) -> None:
        """`STREAMER_BUS__BIND`."""
        keys = name[len(PREFIX) :].lower().split("__")
        self.put(keys, text, Origin(name), text=True)

    def from_text(self, item: str) -> None:
        """`bus.bind=tcp://127.0.0.1:7000`."""
        key, sign, text = item.partition("=")
        if not sign or not key.strip():
            self.errors.append(f"--set {redact(item)}: write --set KEY=VALUE, such as --set events.enter=0.6")
        else:
            self.put(key.strip().split("."), text.strip(), Origin(f"--set {key.strip()}"), text=True)

    def put(self, keys: Sequence[str], value: Any, origin: Origin, *, text: bool = False) -> None:
        """Set the value at `keys`; `text` is turned into what the schema wants there."""
        path = self._path(keys, origin)
        if path is None:
            return
        if text:
            try:
                value = _from_text(value, path, origin)
            except ConfigError as error:
                self.errors.append(str(error))
                return
        if isinstance(value, Mapping) and config_schema.keys_of(config_schema.node_at(path) or {}):
            for key, below in value.items():  # a section's keys are set one by one, the others stay
                self.put([*map(str, path), str(key)], below, origin)
            return
        container = self._container(path)
        if isinstance(container, list) and path[-1] == len(container):
            container.append(value)
        else:
            container[path[-1]] = value
        for below in [known for known in self.origins if known[: len(path)] == path]:
            del self.origins[below]
        self.origins[path] = origin

    def _path(self, keys: Sequence[str], origin: Origin) -> KeyPath | None:
        """The key path that is meant, list items by index or by name; None (and an error) if unknown."""
        path: KeyPath = ()
        for key in keys:
            node = config_schema.node_at(path) or {}
            step: str | int = key
            if "array" in config_schema.kinds(node):
                found = self._index(path, key)
                if found is None:
                    self.errors.append(
                        f"{origin.label}: {dotted(path)} has no item {key}; {self._items(path)}"
                    )
                    return None
                step = found
            if config_schema.node_at((*path, step)) is None:
                self.errors.append(f"{origin.label}: {self._unknown(path, key, keys, origin)}")
                return None
            path = (*path, step)
        return path

    def _unknown(self, path: KeyPath, key: str, keys: Sequence[str], origin: Origin) -> str:
        if path and not config_schema.keys_of(config_schema.node_at(path) or {}):
            return f"{dotted(path)} is a value and has no keys below it"
        if not origin.label.startswith(PREFIX):
            return f"unknown key; {config_schema.nearest(key, path)}"
        near = config_schema.nearest_dotted(".".join(keys))
        right = (
            f"did you mean {PREFIX}{near.replace('.', '__').upper()}?" if near else "see configs/cameras.yaml"
        )
        return f"unknown variable; {right}"

    def _index(self, path: KeyPath, key: str) -> int | None:
        items = value_at(self.data, path)
        items = items if isinstance(items, list) else []
        names = [str(item.get("name")) if isinstance(item, dict) else None for item in items]
        if key in names:
            return names.index(key)
        return int(key) if key.isascii() and key.isdigit() and int(key) <= len(items) else None

    def _items(self, path: KeyPath) -> str:
        items = value_at(self.data, path)
        count = len(items) if isinstance(items, list) else 0
        return f"there are {count}, counted from 0"

    def _container(self, path: KeyPath) -> Any:
        here: Any = self.data
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

    # --- checks ---

    def validated(self, env: Mapping[str, str]) -> Config:
        """The configuration, or a ConfigError with all that is wrong."""
        filled = self._filled(self.data, (), env)
        try:
            config = Config.model_validate(filled)
        except ValidationError as error:
            self._explain(error)
        if self.errors:
            raise ConfigError("\n".join(sorted(dict.fromkeys(self.errors), key=_line)))
        return config

    def _filled(self, value: Any, path: KeyPath, env: Mapping[str, str]) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(item, (*path, key), env) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item, (*path, index), env) for index, item in enumerate(value)]
        if value is None:
            return self._empty(path)
        if isinstance(value, bool):
            self._check_bool(value, path)
        if not isinstance(value, str):
            return value
        if path[:1] == ("cameras",):
            value = self._expanded(value, path, env)
        return resolved_path(value, path, self._origin(path).folder)

    def _empty(self, path: KeyPath) -> Any:
        """`events:` with nothing below it, all its keys being comments, is an empty section."""
        kinds = config_schema.kinds(config_schema.node_at(path) or {})
        return {} if kinds == {"object"} else [] if kinds == {"array"} else None

    def _check_bool(self, value: bool, path: KeyPath) -> None:
        """pydantic would take `enter: yes` for 1.0."""
        node = config_schema.node_at(path)
        if node is not None and config_schema.kinds(node) & {"number", "integer"}:
            self.errors.append(self._at(path, f"expected {config_schema.expected(node)}", value))

    def _expanded(self, text: str, path: KeyPath, env: Mapping[str, str]) -> str:
        def replace(match: re.Match[str]) -> str:
            escaped, name = match.groups()
            if escaped:
                return match.group(0)[1:]
            if name not in env:
                self.errors.append(
                    self._at(path, f"the environment has no variable {name!r}; set it, or write $${{")
                )
                return ""
            return env[name]

        return _VARIABLE.sub(replace, text)

    def _explain(self, error: ValidationError) -> None:
        found: dict[KeyPath, str] = {}
        for item in error.errors(include_url=False, include_input=False):
            path = _known_part(item["loc"], item["type"])
            path += tuple(item.get("ctx", {}).get("path", ()))
            found.setdefault(path, self._message(path, item["type"], item["msg"]))
        for path, message in found.items():
            inherited = path[:1] == ("cameras",) and not present(self.data, path)
            if not (inherited and path[2:] in found):
                self.errors.append(message)

    def _message(self, path: KeyPath, kind: str, text: str) -> str:
        if kind == "extra_forbidden":
            near = config_schema.nearest(str(path[-1]), path[:-1])
            return f"{self._origin(path).label}: {dotted(path)}: unknown key; {near}"
        node = config_schema.node_at(path)
        if kind == "missing" and node is not None:
            wanted = config_schema.expected(node)
            return f"{self._origin(path).label}: {dotted(path)}: missing; expected {wanted}"
        value = value_at(self.data, path)
        if kind == "streamer" or node is None:
            return self._at(path, text, value)
        hint = ""
        if config_schema.takes_any_text(node) and isinstance(value, (int, float)):
            hint = "; put it in quotes"
        return self._at(path, f"expected {config_schema.expected(node)}{hint}", value)

    def _at(self, path: KeyPath, text: str, value: Any = None) -> str:
        if value is None:
            value = value_at(self.data, path)
        shown = f" = {shown_value(value, path)}" if present(self.data, path) else ""
        key = f": {dotted(path)}" if path else ""
        return f"{self._origin(path).label}{key}{shown}: {text}"

    def _origin(self, path: KeyPath) -> Origin:
        for length in range(len(path), -1, -1):
            if (origin := self.origins.get(path[:length])) is not None:
                return origin
        return Origin("configuration")


def _line(message: str) -> int:
    """What is wrong in the file comes in the order of its lines, all else after it."""
    match = re.match(r".*?:(\d+): ", message)
    return int(match[1]) if match else sys.maxsize


def _known_part(loc: tuple[str | int, ...], kind: str) -> KeyPath:
    """Without the names of union branches that pydantic appends."""
    if kind == "extra_forbidden":
        return loc
    while loc and config_schema.node_at(loc) is None:
        loc = loc[:-1]
    return loc


def _from_text(text: str, path: KeyPath, origin: Origin) -> Any:
    kinds = config_schema.kinds(config_schema.node_at(path) or {})
    if "null" in kinds and text in ("null", "~"):
        return None
    if kinds & {"array", "object"}:
        return parse_value(text, origin.label)
    return text  # pydantic makes numbers and booleans of it; text stays as it is
