"""Values of a configuration before they are validated: finding, showing and completing them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from streamer.config import schema as config_schema
from streamer.config.yaml_reader import KeyPath
from streamer.system.redaction import redact

_PATH_KEYS = {
    ("bus", "keys"),
    ("journal", "path"),
    ("label_set",),
    ("uncertain", "folder"),
    ("recording", "folder"),
}


def dotted(path: KeyPath) -> str:
    """`cameras[1].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown_value(value: Any, path: KeyPath) -> str:
    """A value as an error may show it: short, on one line, without secrets."""
    if config_schema.is_secret(path):
        return "***"
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    if isinstance(value, list):
        return "[...]" if value else "[]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = redact(value) if isinstance(value, str) else str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return repr(text) if isinstance(value, str) else text


def value_at(data: Any, path: KeyPath) -> Any:
    """The value at a key path, None where there is none."""
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def present(data: Any, path: KeyPath) -> bool:
    """Whether the key stands in the data itself (its value may be null)."""
    if not path:
        return False
    parent = value_at(data, path[:-1])
    if isinstance(parent, list):
        return isinstance(path[-1], int) and path[-1] < len(parent)
    return isinstance(parent, dict) and path[-1] in parent


def resolved_path(text: str, path: KeyPath, folder: Path | None) -> str:
    """A path in a file is meant from that file's folder; other text stays."""
    key = path[-1] if path else ""
    is_path = path in _PATH_KEYS or key in ("password_file", "calibration")
    if key == "source" and "://" not in text and text != "demo" and not text.isdigit():
        is_path = True
    if "labels" in path[-2:] and text.lower().endswith((".yaml", ".yml")):
        is_path = True
    if key == "id" and (path[-2:-1] == ("model",) or path[-3:-2] == ("models",)):
        is_path = text.startswith((".", "~")) or (folder is not None and (folder / text).is_dir())
    if not is_path or not text:
        return text
    with suppress(RuntimeError):  # no such user: the name is a plain one
        text = str(Path(text).expanduser())
    return text if folder is None else str(folder / text)
