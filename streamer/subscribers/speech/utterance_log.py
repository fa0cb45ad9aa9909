"""What became of each utterance, on disk: the index (one JSON object a line), and the place to go on from.

The place moves only behind events of which all is settled, and a restart passes over what the index already
has, so that a program that was killed at any moment accounts for every event, once.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from streamer.bus.position import Position
from streamer.errors import BusError, SpeechError
from streamer.subscribers.narration.policy import Utterance
from streamer.subscribers.state_file import StateFile
from streamer.system.clock import Clock
from streamer.system.terminal_text import printable_json

MOST_KEPT = 200  # sentences and open events in the state file


class UtteranceLog:
    """Appends to a file. `done`: what it had at the start, as (event id, kind)."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._lock = threading.Lock()
        self.done: set[tuple[str, str]] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torn = self._read()
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)  # it tells what people did
            self._file: TextIO = os.fdopen(number, "a", encoding="utf-8")
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
                self._file.write(printable_json(json.dumps(line, ensure_ascii=False)) + "\n")
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


class Progress:
    """How far the speaking has come: where to go on, what was said lately, which open events people know of.

    Kept in `state` where there is one. `known` are event ids, in the order in which they were told.

    Raises BusError where the state file's lists are not what they should be.
    """

    def __init__(self, state: StateFile | None, clock: Clock) -> None:
        self._state, self._clock = state, clock
        self._lock = threading.Lock()
        self._steps: deque[_Step] = deque()
        kept = {} if state is None else state.extra
        try:
            self.said = {str(text): float(at) for text, at in kept.get("said", {}).items()}  # Unix seconds
            self.known = dict.fromkeys(map(str, kept.get("known", [])))
        except (ValueError, TypeError, AttributeError) as error:
            path = "" if state is None else state.path
            raise BusError(f"the state file {path} is damaged ({error}); remove it to begin anew") from error

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
            if self._state is not None:
                self._state.touch()
            self._advance(now=utterance.left_out is None)  # or a kill has it said again

    def _account_for(self, utterance: Utterance, event: str) -> None:
        if utterance.kind == "end":
            self.known.pop(event, None)
        elif utterance.left_out is None:
            self.known[event] = None
        for step in self._steps:
            if step.seq == utterance.seq:
                step.seq = None

    def tick(self) -> None:
        """Write what waits; call it a few times a second."""
        with self._lock:
            if self._state is not None:
                self._state.tick()

    def _advance(self, now: bool = False) -> None:
        while self._steps and self._steps[0].seq is None:
            position = self._steps.popleft().position
            if self._state is not None:
                self._state.move(position)
        if self._state is not None:
            self._state.extra = {"said": self.said, "known": list(self.known)}
            self._state.tick(now=now)
