"""Reads YAML 1.2 into plain values, with the place that each came from.

ruamel.yaml composes the nodes, which know their lines; the values are made here, because the file of a person
who watches cameras should not trip over YAML's oddities: dates and 12:30 stay text, keys are always text, a
key that stands twice is an error, no tag makes an object, and no text makes endless numbers, depths, copies.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, StreamMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from streamer.errors import ConfigError

KeyPath = tuple[str | int, ...]
LARGEST_FILE = 1_000_000  # bytes
MOST_VALUES = 20_000  # aliases can make a short text endless
DEEPEST = 20
LONGEST_NUMBER = 40  # characters; longer ones stay text, which is no number
PIPE_DEADLINE = 5.0  # seconds without anything from a pipe in a file's place
_TAG = "tag:yaml.org,2002:"
_SCALARS = ("str", "int", "float", "bool", "null", "timestamp", "value")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written: `office.yaml:7`, `STREAMER_UI`, `--set`; `folder` for relative paths."""

    label: str
    folder: Path | None = None


@dataclass
class Document:
    """Values, the origin of each key path, and what is wrong with the text they came from."""

    name: str  # begins messages about values without an origin; "" = nothing does
    data: Any = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def origin(self, path: KeyPath) -> Origin:
        """Of the value, or of the nearest section around it."""
        for length in range(len(path), -1, -1):
            if (origin := self.origins.get(path[:length])) is not None:
                return origin
        return Origin(self.name)

    def value(self, path: KeyPath) -> Any:
        """The value at a key path, None where there is none."""
        data = self.data
        for part in path:
            try:
                data = data[part]
            except (KeyError, IndexError, TypeError):
                return None
        return data

    def has(self, path: KeyPath) -> bool:
        """Whether the key stands in the data itself (its value may be null)."""
        parent = self.value(path[:-1])
        if not path or isinstance(parent, list):
            return bool(path) and isinstance(path[-1], int) and path[-1] < len(parent)
        return isinstance(parent, dict) and path[-1] in parent


def read_document(path: Path) -> Document:
    """Read a file of keys with values.

    Raises:
        ConfigError: it cannot be read, or is not YAML; wrong pieces in good YAML are in `errors`.
    """
    try:
        data = _read(path)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of one that exists") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    if len(data) > LARGEST_FILE:
        raise ConfigError(f"{path}: is too large for a config file (at most {LARGEST_FILE} bytes)")
    name = str(path)
    reader = _Reader(name, Origin(name, path.absolute().parent))
    root = reader.compose(text)
    if root is None:
        return Document(name)
    if not isinstance(root, MappingNode):
        line = root.start_mark.line + 1
        raise ConfigError(f"{path}:{line}: expected keys with values, such as `ui: plain`")
    values = reader.value(root, (), 0)
    return Document(name, values, reader.origins, reader.errors)


def parse_value(text: str, label: str) -> Any:
    """The value of a text in YAML's syntax, as in `--set events.ignore=[still, waving]`.

    Raises:
        ConfigError: it is not YAML.
    """
    reader = _Reader(label, Origin(label))
    root = reader.compose(text)
    value = None if root is None else reader.value(root, (), 0)
    if reader.errors:
        raise ConfigError("\n".join(reader.errors))
    return value


def _read(path: Path) -> bytes:
    """A file's bytes, at most one more than allowed. A pipe (`<(...)`) is read too, but not waited for."""
    found = b""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        is_pipe = path.is_fifo()
        deadline = time.monotonic() + PIPE_DEADLINE
        while len(found) <= LARGEST_FILE:
            if is_pipe and not select.select([file], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"nothing came out of this pipe for {PIPE_DEADLINE:g} s")
            piece = file.read(LARGEST_FILE + 1 - len(found))
            if piece is None:
                raise OSError("it gives nothing now")
            if not piece:
                break
            found += piece
            deadline = time.monotonic() + PIPE_DEADLINE
    return found


class _BoundedComposer(Composer):
    """Nodes of a text that is not nested endlessly."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > DEEPEST:
            mark = self.loader.parser.peek_event().start_mark
            raise MarkedYAMLError(problem="nested too deeply", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Reader:
    def __init__(self, name: str, base: Origin) -> None:
        self._name = name
        self._base = base
        self._count = 0
        self._yaml = YAML(typ="safe", pure=True)
        self._yaml.Composer = _BoundedComposer
        self._yaml.composer.warn_double_anchors = False  # the later one counts, as YAML says
        self.origins: dict[KeyPath, Origin] = {}
        self.errors: list[str] = []

    def compose(self, text: str) -> Node | None:
        try:
            node: Node | None = self._yaml.compose(text)
            return node
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            problem = _own_words(error.problem or "cannot be understood")
            if "alias" in problem or "tag" in problem or "anchor" in problem:
                problem += " (text that begins with * & or ! needs quotes)"
            context = f" ({_own_words(error.context)})" if error.context else ""
            message = f"{self._at(mark)}: not YAML: {problem}{context}"
            lines = text.splitlines()
            if mark is not None and mark.line < len(lines) and re.match(r" *\t", lines[mark.line]):
                message = f"{self._at(mark)}: a tab before the text; YAML wants spaces there"
        except ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            message = f"{self._name}:{line}: not YAML: a control character"
        except (YAMLError, ValueError, OverflowError):  # "\U99999999"
            message = f"{self._name}: not YAML: a character that does not exist"
        raise ConfigError(message) from None

    def value(self, node: Node, path: KeyPath, depth: int) -> Any:
        self._count += 1
        if self._count > MOST_VALUES or depth > DEEPEST:
            raise ConfigError(f"{self._at(node.start_mark)}: too many values, or nested too deeply")
        self.origins.setdefault(path, self._origin(node))
        tag = str(node.tag)
        if isinstance(node, MappingNode) and tag == _TAG + "map":
            return self._mapping(node, path, depth)
        if isinstance(node, SequenceNode) and tag == _TAG + "seq":
            return [self.value(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode) and tag.removeprefix(_TAG) in _SCALARS:
            return self._scalar(node, tag.removeprefix(_TAG))
        self._error(node, "tags (text that begins with !) mean nothing; use quotes")
        return None

    def _mapping(self, node: MappingNode, path: KeyPath, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in self._pairs(node):
            name = key.value
            if name in lines:
                where = ".".join(map(str, (*path, name)))
                self._error(key, f"{where[:200]}: stands twice (first in line {lines[name]}); keep one")
                continue
            lines[name] = key.start_mark.line + 1
            self.origins[(*path, name)] = self._origin(key)
            found[name] = self.value(value, (*path, name), depth + 1)
        for merged in self._merged(node, path, depth):
            for name, item in merged.items():
                found.setdefault(name, item)
        return found

    def _pairs(self, node: MappingNode) -> Iterator[tuple[ScalarNode, Node]]:
        for key, value in node.value:
            if key.tag == _TAG + "merge":
                continue
            if isinstance(key, ScalarNode) and not _CONTROL.search(key.value):
                yield key, value
            else:
                self._error(key, "a key must be plain text")

    def _merged(self, node: MappingNode, path: KeyPath, depth: int) -> Iterator[dict[str, Any]]:
        """What `<<: *other` brings in: keys that are not there yet."""
        for key, value in node.value:
            if key.tag != _TAG + "merge":
                continue
            for source in value.value if isinstance(value, SequenceNode) else [value]:
                merged = self.value(source, path, depth + 1) if isinstance(source, MappingNode) else None
                if isinstance(merged, dict):
                    yield merged
                else:
                    self._error(key, "<< needs the keys of another section")

    def _scalar(self, node: ScalarNode, kind: str) -> Any:
        text: str = node.value
        if _CONTROL.search(text):
            self._error(node, "a control character, which means nothing here; leave it out")
            return None
        is_text = kind in ("str", "timestamp", "value") or (kind in ("int", "float") and ":" in text)
        if is_text or (len(text) > LONGEST_NUMBER and kind in ("int", "float")):
            return text
        constructor: SafeConstructor = self._yaml.constructor
        try:
            return constructor.construct_object(node)
        except (ValueError, KeyError, YAMLError):  # !!int x
            return text

    def _error(self, node: Node, text: str) -> None:
        self.errors.append(f"{self._at(node.start_mark)}: {text}")

    def _origin(self, node: Node) -> Origin:
        if self._base.folder is None:
            return self._base
        return Origin(self._at(node.start_mark), self._base.folder)

    def _at(self, mark: StreamMark | None) -> str:
        if mark is None or self._base.folder is None:
            return self._name
        return f"{self._name}:{mark.line + 1}"


def _own_words(problem: str) -> str:
    """The parser's message without what it found in the text, which may be a piece of a password."""

    def replace(match: re.Match[str]) -> str:
        found = match.group(1) or match.group(2) or ""
        return match.group(0) if len(found) < 2 or found.startswith("<") else "..."

    return _QUOTED.sub(replace, problem)
