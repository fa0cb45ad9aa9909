"""The bus: messages out to other programs, the event history, and the subscriber for Python programs.

Importing this package imports no ZeroMQ; the names below load their module on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "AsyncSubscriber": "streamer.bus.subscriber",
    "EventMessage": "streamer.bus.messages",
    "Gap": "streamer.bus.messages",
    "HeartbeatMessage": "streamer.bus.messages",
    "Journal": "streamer.bus.journal",
    "Message": "streamer.bus.messages",
    "OtherMessage": "streamer.bus.messages",
    "PredictionMessage": "streamer.bus.messages",
    "PreviewMessage": "streamer.bus.messages",
    "Publisher": "streamer.bus.publisher",
    "Sink": "streamer.bus.sinks",
    "Snapshot": "streamer.bus.messages",
    "StatusMessage": "streamer.bus.messages",
    "Subscriber": "streamer.bus.subscriber",
}
__all__ = [
    "AsyncSubscriber",
    "EventMessage",
    "Gap",
    "HeartbeatMessage",
    "Journal",
    "Message",
    "OtherMessage",
    "PredictionMessage",
    "PreviewMessage",
    "Publisher",
    "Sink",
    "Snapshot",
    "StatusMessage",
    "Subscriber",
]

if TYPE_CHECKING:
    from streamer.bus.journal import Journal
    from streamer.bus.messages import (
        EventMessage,
        Gap,
        HeartbeatMessage,
        Message,
        OtherMessage,
        PredictionMessage,
        PreviewMessage,
        Snapshot,
        StatusMessage,
    )
    from streamer.bus.publisher import Publisher
    from streamer.bus.sinks import Sink
    from streamer.bus.subscriber import AsyncSubscriber, Subscriber


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'streamer.bus' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
