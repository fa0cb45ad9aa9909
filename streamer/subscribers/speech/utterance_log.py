"""What became of each utterance, on disk: the index (one JSON object a line), and the place to go on from.

The place moves only behind events of which all is settled, and a restart passes over what the index already
has, so that a program that was killed at any moment accounts for every event, once.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from streamer.bus.since import Position, check_since
from streamer.errors import BusError, SpeechError
from streamer.subscribers.narration.policy import Utterance
from streamer.system.atomic_files import write_atomically
from streamer.system.clock import Clock
from streamer.system.private_files import private_folder

MOST_KEPT = 200  # sentences and open events in the state file
STATE_KIND = "streamer speak"


class Index:
    """Appends to a file. `done`: what it had at the start, as (event id, kind)."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._lock = threading.Lock()
        self.done: set[tuple[str, str]] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torn = self._read()
            self._file: TextIO = path.open("a", encoding="utf-8")
            if torn:
                self._file.write("\n")  # a line that a power cut tore stays alone
        except OSError as error:
            raise SpeechError(f"{path}: cannot be written: {error.strerror or error}") from error

    def _read(self) -> bool:
        if not self._path.exists():
            return False
        last = ""
        with self._path.open(encoding="utf-8", errors="replace") as file:
            for last in file:
                try:
                    found = json.loads(last)
                    self.done.add((str(found["event"]), str(found["kind"])))
                except (ValueError, KeyError, TypeError):
                    continue
        return bool(last) and not last.endswith("\n")

    def write(self, utterance: Utterance, file: str | None = None, seconds: float | None = None) -> None:
        """One line, at once. Raises SpeechError."""
        line: dict[str, Any] = {
            "time": round(self._clock.wall(), 3),
            "happened": round(utterance.at, 3),
            "outcome": "spoken" if utterance.left_out is None else "left out",
            "reason": utterance.left_out,
            "text": utterance.text,
            "kind": utterance.kind,
            "priority": utterance.priority.name.lower(),
            "camera": utterance.camera,
            "label": utterance.label,
            "seq": utterance.seq,
            "event": utterance.event,
            "file": file,
            "seconds": None if seconds is None else round(seconds, 3),
        }
        try:
            with self._lock:
                self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
                self._file.flush()
        except OSError as error:
            raise SpeechError(f"{self._path}: cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(slots=True)
class _Step:
    position: Position | None
    seq: int | None  # of the utterance that is not settled yet


class State:
    """The state file: where to go on, what was said lately, and which open events people know of."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._lock = threading.Lock()
        self._steps: deque[_Step] = deque()
        self.position: Position | None = None
        self.said: dict[str, float] = {}  # text -> Unix seconds
        self.known: dict[str, None] = {}
        if path is not None and path.exists():
            self._load(path)

    def _load(self, path: Path) -> None:
        try:
            data = json.loads(path.read_text("utf-8"))
            if data["kind"] != STATE_KIND:
                raise ValueError("of another kind")
            check_since(data["position"])
            self.position = data["position"]
            self.said = {str(text): float(at) for text, at in data["said"].items()}
            self.known = dict.fromkeys(map(str, data["known"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, BusError) as error:
            raise SpeechError(
                f"{path}: is no state file of streamer speak ({type(error).__name__}); move it away"
                " to begin anew"
            ) from error

    def received(self, position: Position | None, waiting: int | None) -> None:
        """An event was received; `waiting`: its number where an utterance of it is not settled yet."""
        with self._lock:
            self._steps.append(_Step(position, waiting))
            self._advance()

    def settled(self, utterance: Utterance) -> None:
        """An utterance was said or left out for good."""
        with self._lock:
            if utterance.left_out is None:
                self.said[utterance.text] = self._clock.wall()
            if utterance.event is not None:
                self._account_for(utterance, utterance.event)
            for kept in (self.said, self.known):
                for oldest in list(kept)[: len(kept) - MOST_KEPT]:
                    kept.pop(oldest)
            self._advance()

    def _account_for(self, utterance: Utterance, event: str) -> None:
        if utterance.kind == "end":
            self.known.pop(event, None)
        elif utterance.left_out is None:
            self.known[event] = None
        for step in self._steps:
            if step.seq == utterance.seq:
                step.seq = None

    def _advance(self) -> None:
        moved = False
        while self._steps and self._steps[0].seq is None:
            self.position, moved = self._steps.popleft().position, True
        if moved and self._path is not None and self.position is not None:
            self._save(self._path)

    def _save(self, path: Path) -> None:
        data = {"kind": STATE_KIND, "position": self.position, "said": self.said, "known": list(self.known)}
        try:
            private_folder(path.parent)
            write_atomically(path, json.dumps(data, ensure_ascii=False), mode=0o600)
        except OSError as error:
            raise SpeechError(f"{path}: cannot be written: {error.strerror or error}") from error
