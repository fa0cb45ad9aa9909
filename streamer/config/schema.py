"""Asks a model's JSON Schema: which keys are there, what a value must be, which is a secret."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel

from streamer.config.yaml_values import KeyPath

Node = dict[str, Any]
LARGE = 1_000_000  # numbers from here on are written out with commas


@cache
def schema_of(model: type[BaseModel]) -> Schema:
    """The schema of a model, made once."""
    return Schema(model)


class Schema:
    """`json` is the JSON Schema (draft 2020-12) of a file."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.json: Node = model.model_json_schema()

    def node_at(self, path: KeyPath) -> Node | None:
        """The schema of a key path; None where there is no such key."""
        node: Node | None = self._resolved(self.json)
        for part in path:
            if node is None:
                return None
            node = self._below(node, part)
        return node

    def kinds_at(self, path: KeyPath) -> set[str]:
        """JSON's types that the value at a key path may have."""
        return {choice["type"] for choice in self._choices(self.node_at(path) or {}) if "type" in choice}

    def keys_at(self, path: KeyPath) -> list[str]:
        """The keys of a section; none for anything else (names that the user chooses included)."""
        return keys_of(self.node_at(path) or {})

    def format_at(self, path: KeyPath) -> str | None:
        """What a text means: `path`, `source`, `checkpoint`, ...; see sections.py."""
        choices = self._choices(self.node_at(path) or {})
        return next((str(choice["format"]) for choice in choices if "format" in choice), None)

    def takes_any_text(self, path: KeyPath) -> bool:
        """Whether a value is free text, so that quotes would make any value right."""
        choices = self._choices(self.node_at(path) or {})
        return any(choice.get("type") == "string" and "enum" not in choice for choice in choices)

    def is_secret(self, path: KeyPath) -> bool:
        """Whether a value may never be shown."""
        node = self.node_at(path)
        if node is not None and any("writeOnly" in part for part in (node, *node.get("anyOf", []))):
            return True
        return any(
            isinstance(part, str) and "pass" in part.lower() and part != "password_file" for part in path
        )

    def expected(self, node: Node) -> str:
        """What a value must be, in words."""
        if "anyOf" in node:
            real = [choice for choice in self._choices(node) if choice.get("type") != "null"]
            return " or ".join(map(self.expected, real))
        if "enum" in node or "const" in node:
            return "one of " + ", ".join(map(str, node.get("enum", [node.get("const")])))
        kind = node.get("type")
        if kind in ("number", "integer"):
            return _number(node, "a whole number" if kind == "integer" else "a number")
        if kind == "boolean":
            return "true or false"
        if kind == "string":
            longest = node.get("maxLength")
            return f"text of {node.get('minLength', 0)} to {longest} characters" if longest else "text"
        if kind == "array":
            parts = node.get("prefixItems")
            inner = self._resolved(parts[0] if parts else node.get("items", {}))
            if parts:
                return f"[{', '.join([self.expected(inner)] * len(parts))}]"
            return f"a list, each item {self.expected(inner)}"
        if keys := keys_of(node):
            return f"a section with the keys {', '.join(keys)}"
        inner = self._resolved(node.get("additionalProperties", {}))
        return f"names, each with {self.expected(inner)}" if kind else "a value"

    def nearest(self, key: str, parent: KeyPath) -> str:
        """What to say of an unknown key: the right one where it can be guessed, all of them where not."""
        known, key = self.keys_at(parent), key[:100].lower()
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        if near:
            return f"did you mean {near[0]}?"
        elsewhere = [
            path if "." in path else f"{path} at the top level"
            for path in self.all_keys()
            if path.rsplit(".", 1)[-1] == key
        ]
        if elsewhere:
            return f"did you mean {' or '.join(elsewhere[:3])}?"
        return f"known here: {', '.join(known)}"

    def nearest_dotted(self, key: str, cutoff: float = 0.6) -> str | None:
        """The dotted key most like a whole dotted one."""
        near = difflib.get_close_matches(key[:200], list(self.all_keys()), n=1, cutoff=cutoff)
        return near[0] if near else None

    def all_keys(self) -> Iterator[str]:
        """Every key, dotted: `bus.bind`, `cameras[].name`."""
        yield from self._keys(self._resolved(self.json), "")

    def _keys(self, node: Node, prefix: str) -> Iterator[str]:
        for key in keys_of(node):
            below = self._below(node, key) or {}
            name = f"{prefix}{key}"
            yield name
            yield from self._keys(below, f"{name}.")
            yield from self._keys(self._below(below, 0) or {}, f"{name}[].")
            free = below.get("additionalProperties")
            if isinstance(free, dict):
                yield from self._keys(self._resolved(free), f"{name}.*.")

    def _below(self, node: Node, part: str | int) -> Node | None:
        for choice in self._choices(node):
            if isinstance(part, int) and choice.get("type") == "array":
                parts = choice.get("prefixItems", [])
                return self._resolved(parts[part] if part < len(parts) else choice.get("items", {}))
            if isinstance(part, str) and part in choice.get("properties", {}):
                return self._section(self._resolved(choice["properties"][part]))
            free = choice.get("additionalProperties")
            if isinstance(part, str) and isinstance(free, dict):
                return self._resolved(free)
        return None

    def _section(self, node: Node) -> Node:
        """An optional section is that section."""
        real = [choice for choice in node.get("anyOf", []) if choice.get("type") != "null"]
        return self._resolved(real[0]) if len(real) == 1 and "$ref" in real[0] else node

    def _choices(self, node: Node) -> list[Node]:
        return [self._resolved(choice) for choice in node.get("anyOf", [node])]

    def _resolved(self, node: Node) -> Node:
        if "$ref" in node:
            found: Node = self.json["$defs"][node["$ref"].rsplit("/", 1)[1]]
            return found
        return node


def keys_of(node: Node) -> list[str]:
    """The keys of a section's node."""
    return list(node.get("properties", ()))


def _number(node: Node, word: str) -> str:
    low, above = node.get("minimum"), node.get("exclusiveMinimum")
    high = node.get("maximum")
    if low is not None and high is not None:
        return f"{word} from {_written(low)} to {_written(high)}"
    if above is not None:
        return f"{word} above {_written(above)}" + (f", at most {_written(high)}" if high is not None else "")
    return word if low is None else f"{word} of at least {_written(low)}"


def _written(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= LARGE else f"{number:g}"
