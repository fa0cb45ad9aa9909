"""Puts a camera into a config file, and leaves every other byte of it as it is.

A round trip through a YAML library keeps comments but moves them (those behind the last camera would stand
before the new one) and lays the file out anew; so the place is found with the library, and lines put there.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from streamer.config.config_loading import load_config
from streamer.errors import ConfigError
from streamer.system.atomic_files import replacing

_NEW = "# `streamer add` writes here; configs/cameras.yaml of streamer documents every key.\ncameras:\n"


def add_camera(path: Path, camera: Mapping[str, str | int]) -> None:
    """Write `camera` (key -> value, `name` first) behind the cameras of a config file, or make the file.

    Raises:
        ConfigError: the file is no config, or would be wrong with it (such as a name that is taken); it is
            untouched then.
    """
    try:
        old = path.read_bytes().decode("utf-8") if path.exists() else ""  # with the line ends it has
        text = with_camera(old, camera, str(path))
        with replacing(path, durable=True) as part:
            part.touch(mode=0o600 if not path.exists() else path.stat().st_mode & 0o777)
            part.write_text(text, encoding="utf-8", newline="")
            try:
                load_config(part)
            except ConfigError as error:
                part.unlink()
                raise ConfigError(str(error).replace(str(part), str(path))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be changed: {getattr(error, 'strerror', '') or error}") from error


def with_camera(text: str, camera: Mapping[str, str | int], name: str) -> str:
    """The text of a config file with one more camera, its lines ended as the others are. Raises ConfigError
    where it is no mapping.
    """
    if "\r\n" not in text:
        return _with_camera(text, camera, name)
    return _with_camera(text.replace("\r\n", "\n"), camera, name).replace("\n", "\r\n")


def _with_camera(text: str, camera: Mapping[str, str | int], name: str) -> str:
    if not text.strip():
        return text + _NEW + _entry(camera, 2)
    try:
        root = YAML(typ="rt").compose(io.StringIO(text))
    except (MarkedYAMLError, YAMLError) as error:
        raise ConfigError(f"{name} is no YAML; streamer check {name} says where") from error
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    if root is None:  # comments only
        return "".join([*lines, "cameras:\n", _entry(camera, 2)])
    if not isinstance(root, MappingNode) or root.flow_style:
        raise ConfigError(f"{name} is no list of settings, one a line; write the camera into it yourself")
    found = [pair for pair in root.value if isinstance(pair[0], ScalarNode) and pair[0].value == "cameras"]
    if not found:
        return "".join([*lines, "\ncameras:\n", _entry(camera, 2)])
    key, node = found[0]
    if isinstance(node, SequenceNode) and node.value and not node.flow_style:
        at, column = _behind(lines, node), node.start_mark.column
    elif node.value in ("", "null", "~", []):
        at, column = key.start_mark.line + 1, 2
        lines[at - 1] = lines[at - 1].replace("[]", "", 1).replace("null", "", 1).replace("~", "", 1)
    else:
        raise ConfigError(
            f"{name}: cameras: is written in brackets; one camera a line is needed to add another"
        )
    return "".join([*lines[:at], _entry(camera, column), *lines[at:]])


def _entry(camera: Mapping[str, str | int], column: int) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = False, 10_000, False  # type: ignore[assignment]
    out = io.StringIO()
    yaml.dump(dict(camera), out)
    body = [" " * (column + 2) + line for line in out.getvalue().splitlines()]
    return "\n".join([" " * column + "- " + body[0].lstrip(), *body[1:]]) + "\n"


def _behind(lines: list[str], node: SequenceNode) -> int:
    """The line behind the last item, with the comments that stand deeper than its dash."""
    at = _last_line(node) + 1
    end = at
    for number in range(at, len(lines)):
        bare = lines[number].lstrip(" ")
        if bare.startswith("#") and len(lines[number]) - len(bare) > node.start_mark.column:
            end = number + 1
        elif bare.strip():
            break
    return end


def _last_line(node: Node) -> int:
    """Of the last thing in it: a block's own end is where the next key begins."""
    if not isinstance(node, CollectionNode) or not node.value or node.flow_style:
        end: int = node.end_mark.line
        return end - 1 if isinstance(node, ScalarNode) and node.style in ("|", ">") else end
    last = node.value[-1]
    return _last_line(last[1] if isinstance(node, MappingNode) else last)
