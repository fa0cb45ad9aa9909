"""Asks the schema of the configuration: which keys are there, what a value must be, which is a secret."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import cache
from typing import Any

from streamer.config.yaml_reader import KeyPath

Node = dict[str, Any]


@cache
def schema() -> Node:
    """The JSON Schema (draft 2020-12) of a config file."""
    from streamer.config import Config

    found = Config.model_json_schema()
    found["title"] = "streamer's configuration"
    return found


def node_at(path: KeyPath) -> Node | None:
    """The schema of a key path; None where there is no such key."""
    node: Node | None = _resolved(schema())
    for part in path:
        if node is None:
            return None
        node = _below(node, part)
    return node


def keys_of(node: Node) -> list[str] | None:
    """The keys of a section; None for anything else (names that the user chooses included)."""
    return list(node["properties"]) if "properties" in node else None


def kinds(node: Node) -> set[str]:
    """JSON's types that a value may have."""
    if "anyOf" in node:
        return {kind for choice in node["anyOf"] for kind in kinds(_resolved(choice))}
    return {node["type"]} if "type" in node else set()


def takes_any_text(node: Node) -> bool:
    """Whether a value is free text, so that quotes would make any value right."""
    choices = [_resolved(choice) for choice in node.get("anyOf", [node])]
    return any(choice.get("type") == "string" and "enum" not in choice for choice in choices)


def is_secret(path: KeyPath) -> bool:
    """Whether a value may never be shown."""
    node = node_at(path)
    if node is not None and _has(node, "writeOnly"):
        return True
    return any(isinstance(part, str) and "pass" in part.lower() and part != "password_file" for part in path)


def expected(node: Node) -> str:
    """What a value must be, in words."""
    if "anyOf" in node:
        choices = [_resolved(choice) for choice in node["anyOf"]]
        return " or ".join(expected(choice) for choice in choices if choice.get("type") != "null")
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
        inner = _resolved(parts[0] if parts else node.get("items", {}))
        return (
            f"[{', '.join([expected(inner)] * len(parts))}]"
            if parts
            else f"a list, each item {expected(inner)}"
        )
    if keys := keys_of(node):
        return f"a section with the keys {', '.join(keys)}"
    return (
        f"names, each with {expected(_resolved(node.get('additionalProperties', {})))}" if kind else "a value"
    )


def nearest(key: str, parent: KeyPath) -> str:
    """What to say of an unknown key: the right one where it can be guessed, all of them where not."""
    known = keys_of(node_at(parent) or {}) or []
    near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    elsewhere = [path for path in all_keys() if path.rsplit(".", 1)[-1] == key.lower()]
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere[:3])}?"
    return f"known here: {', '.join(known)}"


def nearest_dotted(key: str) -> str | None:
    """The dotted key most like a whole dotted one."""
    near = difflib.get_close_matches(key, list(all_keys()), n=1, cutoff=0.6)
    return near[0] if near else None


def all_keys() -> Iterator[str]:
    """Every key of the schema, dotted: `bus.bind`, `cameras[].name`."""
    yield from _keys(_resolved(schema()), "")


def _keys(node: Node, prefix: str) -> Iterator[str]:
    for key in keys_of(node) or ():
        below = _below(node, key)
        name = f"{prefix}{key}"
        yield name
        if below is None:
            continue
        if keys_of(below):
            yield from _keys(below, f"{name}.")
        item = _below(below, 0)
        if item is not None and keys_of(item):
            yield from _keys(item, f"{name}[].")
        free = below.get("additionalProperties")
        if isinstance(free, dict):
            yield from _keys(_resolved(free), f"{name}.*.")


def _below(node: Node, part: str | int) -> Node | None:
    for choice in node.get("anyOf", [node]):
        choice = _resolved(choice)
        if isinstance(part, int) and choice.get("type") == "array":
            parts = choice.get("prefixItems", [])
            return _resolved(parts[part] if part < len(parts) else choice.get("items", {}))
        if isinstance(part, str) and part in choice.get("properties", {}):
            return _section(_resolved(choice["properties"][part]))
        free = choice.get("additionalProperties")
        if isinstance(part, str) and isinstance(free, dict):
            return _resolved(free)
    return None


def _section(node: Node) -> Node:
    """An optional section is that section."""
    real = [choice for choice in node.get("anyOf", []) if choice.get("type") != "null"]
    if len(real) == 1 and "$ref" in real[0]:
        return _resolved(real[0])
    return node


def _resolved(node: Node) -> Node:
    if "$ref" in node:
        found: Node = schema()["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return found
    return node


def _has(node: Node, mark: str) -> bool:
    return mark in node or any(mark in choice for choice in node.get("anyOf", []))


def _number(node: Node, word: str) -> str:
    low, high, above = node.get("minimum"), node.get("maximum"), node.get("exclusiveMinimum")
    if low is not None and high is not None:
        return f"{word} from {low:g} to {high:g}"
    if above is not None:
        return f"{word} above {above:g}"
    return word if low is None else f"{word} of at least {low:g}"
