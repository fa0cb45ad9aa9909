"""Reads YAML into plain values, with the place that each came from.

PyYAML composes the nodes, which know their lines; the values are made here, because the file of a person who
watches cameras should not trip over YAML's oddities: dates and 12:30 stay text, keys are always text, a key
that stands twice is an error, and no tag makes an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from streamer.errors import ConfigError

KeyPath = tuple[str | int, ...]
LARGEST_FILE = 1_000_000  # bytes
MOST_VALUES = 20_000  # aliases can make a short text endless
_TAG = "tag:yaml.org,2002:"
_CONSTRUCTOR = yaml.SafeLoader("")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written: `office.yaml:7`, `STREAMER_UI`, `--set`; `folder` for relative paths."""

    label: str
    folder: Path | None = None


@dataclass
class Document:
    """A file's values, the origin of each key path, and what is wrong with the text."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def read_document(path: Path) -> Document:
    """Read a file.

    Raises:
        ConfigError: it cannot be read, or is not YAML; wrong pieces in good YAML are in `errors`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a config file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror or "cannot be read").lower() if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    if len(data) > LARGEST_FILE:
        raise ConfigError(f"{path}: is too large for a config file (at most {LARGEST_FILE} bytes)")
    reader = _Reader(str(path), Origin(str(path), path.absolute().parent))
    root = reader.compose(text)
    if root is None:
        return Document()
    if not isinstance(root, MappingNode):
        raise ConfigError(
            f"{path}:{root.start_mark.line + 1}: expected keys with values, such as `ui: plain`"
        )
    data = reader.value(root, ())
    return Document(data, reader.origins, reader.errors)


def parse_value(text: str, label: str) -> Any:
    """The value of a text in YAML's syntax, as in `--set events.ignore=[still, waving]`.

    Raises:
        ConfigError: it is not YAML.
    """
    reader = _Reader(label, Origin(label))
    root = reader.compose(text)
    value = None if root is None else reader.value(root, ())
    if reader.errors:
        raise ConfigError("\n".join(reader.errors))
    return value


class _Reader:
    def __init__(self, name: str, base: Origin) -> None:
        self._name = name
        self._base = base
        self._count = 0
        self.origins: dict[KeyPath, Origin] = {}
        self.errors: list[str] = []

    def compose(self, text: str) -> Node | None:
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            problem = _own_words(error.problem or "cannot be understood")
            if "alias" in problem or "tag" in problem or "anchor" in problem:
                problem += " (text that begins with * & or ! needs quotes)"
            context = f" ({_own_words(error.context)})" if error.context else ""
            message = f"{self._at(mark)}: not YAML: {problem}{context}"
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            message = f"{self._name}:{line}: not YAML: a control character"
        except RecursionError:
            message = f"{self._name}: not YAML that can be used: nested too deeply"
        raise ConfigError(message) from None

    def value(self, node: Node, path: KeyPath) -> Any:
        self._count += 1
        if self._count > MOST_VALUES or len(path) > 20:
            raise ConfigError(f"{self._at(node.start_mark)}: too many values, or nested too deeply")
        self.origins.setdefault(path, self._origin(node))
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode) and node.tag.removeprefix(_TAG) in _SCALARS:
            return self._scalar(node)
        self.errors.append(
            f"{self._at(node.start_mark)}: tags (text that begins with !) mean nothing; use quotes"
        )
        return None

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in self._pairs(node):
            name = key.value
            if name in lines:
                where = ".".join(map(str, (*path, name)))
                first = lines[name]
                self.errors.append(
                    f"{self._at(key.start_mark)}: {where}: stands twice (first in line {first}); keep one"
                )
                continue
            lines[name] = key.start_mark.line + 1
            self.origins[(*path, name)] = self._origin(key)
            found[name] = self.value(value, (*path, name))
        for merged in self._merged(node, path):
            for name, item in merged.items():
                found.setdefault(name, item)
        return found

    def _pairs(self, node: MappingNode) -> Iterator[tuple[ScalarNode, Node]]:
        for key, value in node.value:
            if key.tag == _TAG + "merge":
                continue
            if isinstance(key, ScalarNode):
                yield key, value
            else:
                self.errors.append(f"{self._at(key.start_mark)}: a key must be plain text")

    def _merged(self, node: MappingNode, path: KeyPath) -> Iterator[dict[str, Any]]:
        """What `<<: *other` brings in: keys that are not there yet."""
        for key, value in node.value:
            if key.tag != _TAG + "merge":
                continue
            for source in value.value if isinstance(value, SequenceNode) else [value]:
                if isinstance(source, MappingNode):
                    yield self.value(source, path)
                else:
                    self.errors.append(f"{self._at(key.start_mark)}: << needs the keys of another section")

    def _scalar(self, node: ScalarNode) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind in ("str", "timestamp", "value") or (kind in ("int", "float") and ":" in node.value):
            return node.value
        try:
            return _CONSTRUCTOR.construct_object(node)
        except (ValueError, yaml.YAMLError):
            return node.value

    def _origin(self, node: Node) -> Origin:
        if self._base.folder is None:
            return self._base
        return Origin(self._at(node.start_mark), self._base.folder)

    def _at(self, mark: yaml.Mark | None) -> str:
        if mark is None or self._base.folder is None:
            return self._name
        return f"{self._name}:{mark.line + 1}"


_SCALARS = ("str", "int", "float", "bool", "null", "timestamp", "value")


def _own_words(problem: str) -> str:
    """The parser's message without what it found in the text, which may be a piece of a password."""

    def replace(match: re.Match[str]) -> str:
        found = match.group(1) or match.group(2) or ""
        return match.group(0) if len(found) < 2 or found.startswith("<") else "..."

    return _QUOTED.sub(replace, problem)
