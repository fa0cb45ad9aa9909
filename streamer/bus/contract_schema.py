"""The JSON Schema of the bus, made of the types in contract.py."""

from __future__ import annotations

import json
import re
from typing import Any

from msgspec.json import schema_components

from streamer.bus import contract


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of all messages and replies."""
    types = {**contract.MESSAGES, **contract.REPLIES}
    _, found = schema_components(list(types.values()), ref_template="#/$defs/{name}")
    text = re.sub(r'"#/\$defs/(\w+)Json"', lambda m: f'"#/$defs/{_lower(m[1])}"', json.dumps(found))
    components = {_lower(name.removesuffix("Json")): part for name, part in json.loads(text).items()}
    for name, part in components.items():  # in the order in which they are written above
        keys = getattr(contract, f"{name[:1].upper()}{name[1:]}Json").__annotations__
        part["properties"] = {key: part["properties"][key] for key in keys}
        part.pop("title", None)
    for kind, named in types.items():
        part = components[_lower(named.__name__.removesuffix("Json"))]
        part["properties"]["type"] = {"const": kind}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:streamer:bus:{contract.VERSION}",
        "title": f"Messages of streamer's bus, version {contract.VERSION}",
        "description": "One JSON object per message. Further keys may appear at any time; readers ignore what"
        " they do not know.",
        "oneOf": [
            {"$ref": f"#/$defs/{_lower(named.__name__.removesuffix('Json'))}"} for named in types.values()
        ],
        "$defs": components,
    }


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]
