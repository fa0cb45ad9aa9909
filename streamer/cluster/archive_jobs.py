"""What an archive's scheduler and its players tell each other: plain values, so that they travel anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from queue import Queue
from typing import Any, Protocol, Self


@dataclass(frozen=True, slots=True)
class Job:
    """One recording to be played.

    `number`: counts the recordings. `source`: its real path. `size`: bytes; `modified`: nanoseconds, as the
    file system says. `camera`: what its messages call it. `part`: where the messages are written meanwhile;
    `result`: what `part` is renamed to when all of them are there. `note`: ends up in the last line.
    """

    number: int
    source: str
    size: int
    modified: int
    camera: str
    part: str
    result: str
    note: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**value)


class What(StrEnum):
    """What a player has to say."""

    READY = "ready"  # its models are loaded: `models`
    AT = "at"  # playing: `seconds` of `length` are done, `windows` so far
    DONE = "done"  # the result is there: `seconds`, `windows`, `events`
    FAILED = "failed"  # this recording could not be played: `reason`; with a `code` the player ends too
    UNFIT = "unfit"  # nothing can be played here: `reason`, and `code`, the error's class
    GONE = "gone"  # the player has ended, whatever it was at: `reason`


@dataclass(frozen=True, slots=True)
class News:
    """One thing that a player says. `seconds`, `length`: of the recording; `length` None = not known."""

    what: What
    job: int = 0
    seconds: float = 0.0
    length: float | None = None
    windows: int = 0
    events: int = 0
    reason: str = ""
    code: str = ""
    models: tuple[Mapping[str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**{**value, "what": What(value["what"])})


class Pool(Protocol):
    """Players of recordings, by number: processes here, or actors on many machines. `heard` has (player,
    news) of all of them; every other method belongs to one thread and does not wait for a player.
    """

    heard: Queue[tuple[int, News]]

    def start(self, player: int) -> None:
        """Start one, empty."""
        ...

    def load(self, player: int, config: Mapping[str, Any]) -> None:
        """Have it load the models of a configuration (as JSON); READY follows."""
        ...

    def play(self, player: int, job: Job) -> None: ...

    def kill(self, player: int) -> None:
        """End one at once; GONE follows."""
        ...

    def close(self) -> None:
        """End all of them at once."""
        ...
