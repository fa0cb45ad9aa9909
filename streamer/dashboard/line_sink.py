"""What plain text and JSON lines share: a sink of the bus that writes lines to standard output."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TextIO

from streamer.dashboard.background_writer import BackgroundWriter


class LineSink(ABC):
    """A `bus.Sink`; what a message becomes is for its subclasses to say.

    complete: never drop a line, hold up the caller instead (files with `--pace fast`).
    stop: set when the reader of stdout has gone; the program should then end.
    encoding: None: the stream's own.
    """

    encoding: str | None = None

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        stop: threading.Event | None = None,
        complete: bool = False,
    ) -> None:
        self._writer = BackgroundWriter(stream, stop=stop, complete=complete, encoding=self.encoding)

    @abstractmethod
    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        """Queue what is to be written of one message."""

    def close(self, timeout: float = 1.0) -> None:
        """Write what is queued, for `timeout` seconds at most."""
        self._writer.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
