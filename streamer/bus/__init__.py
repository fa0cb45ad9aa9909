"""The bus: messages out to other programs, the event history, and the subscriber for Python programs.

Importing this package imports no ZeroMQ; the names below load their module on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamer.system.lazy_imports import lazy_names

__all__ = [
    "AsyncSubscriber",
    "EventMessage",
    "Gap",
    "HeartbeatMessage",
    "Journal",
    "Message",
    "OtherMessage",
    "Position",
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
    from streamer.bus.position import Position
    from streamer.bus.publisher import Publisher
    from streamer.bus.sinks import Sink
    from streamer.bus.subscriber import AsyncSubscriber, Subscriber

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "streamer.bus.subscriber": ("AsyncSubscriber", "Subscriber"),
        "streamer.bus.position": ("Position",),
        "streamer.bus.messages": (
            "EventMessage",
            "Gap",
            "HeartbeatMessage",
            "Message",
            "OtherMessage",
            "PredictionMessage",
            "PreviewMessage",
            "Snapshot",
            "StatusMessage",
        ),
        "streamer.bus.journal": ("Journal",),
        "streamer.bus.publisher": ("Publisher",),
        "streamer.bus.sinks": ("Sink",),
    },
)
