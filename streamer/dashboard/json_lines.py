"""The bus's own objects on stdout, one JSON object a line."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

from streamer.dashboard.background_writer import BackgroundWriter


class JsonSink:
    """Writes each message as one line of JSON, exactly as it is on the bus. A `bus.Sink`.

    complete: never drop a line, hold up the caller instead (files with `--pace fast`).
    stop: set when the reader of stdout has gone; the program should then end.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        stop: threading.Event | None = None,
        complete: bool = False,
    ) -> None:
        self._writer = BackgroundWriter(stream, stop=stop, complete=complete, encoding="utf-8")

    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        """Queue one message. Predictions and heartbeats are the first to be dropped for a slow reader."""
        # half a surrogate pair becomes its JSON escape in the writer
        line = json.dumps(dict(message), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        self._writer.write(line, important=topic.startswith(("event/", "status/")))

    def close(self, timeout: float = 1.0) -> None:
        """Write what is queued, for `timeout` seconds at most."""
        self._writer.close(timeout)

    def __enter__(self) -> JsonSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
