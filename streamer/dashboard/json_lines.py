"""The bus's own objects on stdout, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from streamer.dashboard.line_sink import LineSink
from streamer.system.terminal_text import printable_json


class JsonSink(LineSink):
    """Writes each message as one line of JSON, equal to the object on the bus.

    What could steer a terminal (such as U+009B) is written as \\uXXXX, which reads as the same character.
    """

    encoding = "utf-8"

    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        """Queue one message. Predictions and heartbeats are the first to be dropped for a slow reader."""
        line = json.dumps(dict(message), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        self._writer.write(printable_json(line), important=topic.startswith(("event/", "status/")))
