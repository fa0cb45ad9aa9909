"""Prints the bus's JSON Schema, or writes the tables of keys into pages of the documentation.

python -m streamer.bus.contract_tables              prints the schema
python -m streamer.bus.contract_tables docs/bus.md  writes the tables between the page's marks anew
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from streamer.bus.contract import MESSAGES, HeadJson
from streamer.bus.contract_schema import schema

_MARKED = re.compile(r"<!-- keys of (\w+) -->\n.*?<!-- end of keys -->", re.DOTALL)


def table(kind: str) -> str:
    """A Markdown table of a kind's keys ("message": those that every message has)."""
    parts = schema()["$defs"]
    part = parts["prediction" if kind == "message" else kind]
    head = {"type", *HeadJson.__annotations__}
    left_out = part["properties"].keys() - head if kind == "message" else head
    return "\n".join(["| key | | meaning |", "|---|---|---|", *_rows(parts, part, "", left_out)])


def _rows(
    parts: dict[str, Any], part: dict[str, Any], before: str, left_out: Collection[str]
) -> Iterator[str]:
    for key, told in part["properties"].items():
        if key in left_out:
            continue
        inner = parts[told["$ref"].rsplit("/", 1)[1]] if "$ref" in told else None
        if inner is not None and "description" not in told:
            yield from _rows(parts, inner, f"{before}{key}.", ())
            continue
        if key == "type":
            told = {"type": "string", "description": ", ".join(f"`{kind}`" for kind in MESSAGES)}
        optional = "" if key in part["required"] else ", not always"
        yield f"| `{before}{key}` | {_kind_of(told)}{optional} | {told.get('description', '')} |"


def _kind_of(told: dict[str, Any]) -> str:
    """A type in people's words."""
    if "anyOf" in told:
        return " or ".join(dict.fromkeys(_kind_of(one) for one in told["anyOf"]))
    if "enum" in told or "const" in told:
        return "text" if isinstance(told.get("enum", [told.get("const")])[0], str) else "number"
    words = {"string": "text", "integer": "whole number", "array": "list", "null": "`null`"}
    return words.get(told.get("type", "object"), str(told.get("type", "object")))


def with_tables(page: str) -> str:
    """A page with its tables as they are now."""
    return _MARKED.sub(
        lambda found: f"<!-- keys of {found[1]} -->\n{table(found[1])}\n<!-- end of keys -->", page
    )


def main(words: list[str]) -> int:
    """Print the schema, or write the tables of the pages named; returns the exit code."""
    for word in words:
        path = Path(word)
        path.write_text(with_tables(path.read_text("utf-8")), "utf-8")
    if not words:
        print(json.dumps(schema(), indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
