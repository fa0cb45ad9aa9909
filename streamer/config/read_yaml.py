"""One way from a YAML file to a pydantic model, which names every mistake with its place and reason.

An error has the file and line (or the option, or the variable), the key, the value as it was written (never a
secret) and what is allowed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from streamer.config.schema import schema_of
from streamer.config.yaml_values import DEEPEST, Document, KeyPath, read_document
from streamer.errors import ConfigError
from streamer.system.redaction import redact_address
from streamer.system.terminal_text import printable

M = TypeVar("M", bound=BaseModel)
MOST_ERRORS = 50  # told at once
LONGEST_LINE = 1000  # characters
LONGEST_PART = 60  # of these, of one value or key


def read_yaml(path: Path, model: type[M]) -> M:
    """A file's content.

    Raises:
        ConfigError: everything that is wrong, one line each: file, line, key, value and what is allowed.
    """
    return validated(read_document(path), model)


def validated(document: Document, model: type[M], filled: Any = None) -> M:
    """The model of a document's values.

    Args:
        filled: the values to validate, where they are not those that were written.

    Raises:
        ConfigError: see `read_yaml`.
    """
    errors = [*document.errors, *_misplaced_booleans(document, model)]
    found = None
    try:
        found = model.model_validate(document.data if filled is None else filled)
    except ValidationError as error:
        errors += _explained(error, document, model)
    if errors or found is None:
        lines = [printable(line, LONGEST_LINE) for line in sorted(dict.fromkeys(errors), key=_line)]
        more = len(lines) - MOST_ERRORS
        raise ConfigError("\n".join(lines[:MOST_ERRORS] + [f"... and {more} more"] * (more > 0)))
    return found


def _explained(error: ValidationError, document: Document, model: type[BaseModel]) -> list[str]:
    """What pydantic found, in our words."""
    found: dict[KeyPath, str] = {}
    for item in error.errors(include_url=False, include_input=False)[: 4 * MOST_ERRORS]:
        path = _known_part(item["loc"], item["type"], model)
        path += tuple(item.get("ctx", {}).get("path", ()))
        found.setdefault(path, _message(path, item["type"], item["msg"], document, model))
    # what a camera has from the common section is told there
    inherited = [path for path in found if path[:1] == ("cameras",) and not document.has(path)]
    return [message for path, message in found.items() if not (path in inherited and path[2:] in found)]


def _misplaced_booleans(document: Document, model: type[BaseModel]) -> list[str]:
    """pydantic would take `enter: true` for 1.0."""
    schema = schema_of(model)

    def walk(value: Any, path: KeyPath) -> Iterator[str]:
        if isinstance(value, bool) and schema.kinds_at(path) & {"number", "integer"}:
            yield located(path, f"expected {schema.expected(schema.node_at(path) or {})}", document, model)
        elif isinstance(value, (dict, list)) and len(path) < DEEPEST:
            for key, below in value.items() if isinstance(value, dict) else enumerate(value):
                yield from walk(below, (*path, key))

    return list(walk(document.data, ()))


def located(path: KeyPath, text: str, document: Document, model: type[BaseModel]) -> str:
    """`office.yaml:7: events.enter = 2: ` and what is to be said of it."""
    value = document.value(path)
    shown = f" = {_shown(value, path, model)}" if document.has(path) else ""
    where = [document.origin(path).label, f"{dotted(path)}{shown}", text]
    return ": ".join(part for part in where if part)


def dotted(path: KeyPath) -> str:
    """`cameras[1].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else "." * bool(text) + printable(part, LONGEST_PART)
    return text


def _message(path: KeyPath, kind: str, text: str, document: Document, model: type[BaseModel]) -> str:
    schema = schema_of(model)
    where = ": ".join(part for part in (document.origin(path).label, dotted(path)) if part)
    if kind == "extra_forbidden":
        return f"{where}: unknown key; {schema.nearest(str(path[-1]), path[:-1])}"
    node = schema.node_at(path)
    if kind == "missing" and node is not None:
        return f"{where}: missing; expected {schema.expected(node)}"
    if kind == "streamer" or node is None:
        return located(path, text, document, model)
    in_quotes = schema.takes_any_text(path) and isinstance(document.value(path), (bool, int, float))
    hint = "; put it in quotes" if in_quotes else ""
    return located(path, f"expected {schema.expected(node)}{hint}", document, model)


def _shown(value: Any, path: KeyPath, model: type[BaseModel]) -> str:
    """A value as an error may show it: short, on one line, without secrets."""
    if schema_of(model).is_secret(path):
        return "***"
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    if isinstance(value, (list, tuple)):
        return "[...]" if value else "[]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return repr(printable(redact_address(value), LONGEST_PART))
    if isinstance(value, int) and value.bit_length() > 200:
        return "a huge number"
    return printable(str(value), LONGEST_PART)


def _known_part(loc: tuple[str | int, ...], kind: str, model: type[BaseModel]) -> KeyPath:
    """Without the names of union branches that pydantic appends."""
    if kind == "extra_forbidden":
        return loc
    while loc and schema_of(model).node_at(loc) is None:
        loc = loc[:-1]
    return loc


def _line(message: str) -> int:
    """What is wrong in the file comes in the order of its lines, all else after it."""
    match = re.match(r".*?:(\d+): ", message)
    return int(match[1]) if match else sys.maxsize
