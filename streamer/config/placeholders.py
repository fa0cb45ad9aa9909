"""Fills in what a written value leaves to its surroundings: ${NAME} of the environment, the file's folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from streamer.config.read_yaml import located
from streamer.config.schema import schema_of
from streamer.config.yaml_values import Document, KeyPath

_VARIABLE = re.compile(r"\$(\$)?\{([^}]{0,200})\}")
EXPANDED = "cameras"  # the section whose texts may name variables


def filled(document: Document, model: type[BaseModel], env: Mapping[str, str] | None) -> Any:
    """The document's values as they are meant; a variable that is not there goes into its `errors`.

    `env`: None: ${NAME} means nothing.
    """
    schema = schema_of(model)

    def fill(value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: fill(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [fill(item, (*path, index)) for index, item in enumerate(value)]
        if value is None:
            # `events:` with nothing below it, all its keys being comments, is an empty section
            kinds = schema.kinds_at(path)
            return {} if kinds == {"object"} else [] if kinds == {"array"} else None
        if not isinstance(value, str):
            return value
        if env is not None and path[:1] == (EXPANDED,):
            value = expand(value, path, env)
        kind = schema.format_at(path) or schema.format_at((*path, 0))  # a text may stand for a list of one
        return resolved_path(value, kind, document.origin(path).folder)

    def expand(text: str, path: KeyPath, env: Mapping[str, str]) -> str:
        def replace(match: re.Match[str]) -> str:
            escaped, name = match.groups()
            if escaped:
                return match.group(0)[1:]
            if name not in env:
                why = f"the environment has no variable {name[:100]!r}; set it, or write $${{"
                document.errors.append(located(path, why, document, model))
            return env.get(name, "")

        return _VARIABLE.sub(replace, text)

    return fill(document.data, ())


def resolved_path(text: str, kind: str | None, folder: Path | None) -> str:
    """A path in a file is meant from that file's folder; other text stays. `kind`: the schema's format."""
    if kind == "source":
        is_path = "://" not in text and text != "demo" and not text.isdigit()
    elif kind == "words":
        is_path = text.lower().endswith((".yaml", ".yml"))
    elif kind == "checkpoint":
        is_path = text.startswith((".", "~")) or (folder is not None and os.path.isdir(folder / text))
    else:
        is_path = kind == "path"
    if not is_path or not text:
        return text
    with suppress(RuntimeError, ValueError):  # no such user: the name is a plain one
        text = str(Path(text).expanduser())
    return text if folder is None else str(folder / text)
