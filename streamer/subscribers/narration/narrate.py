"""From a publisher's messages to utterances, until asked to stop: what speech and captions run on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from streamer.bus.messages import Message
from streamer.bus.subscriber import Subscriber
from streamer.subscribers.narration.policy import Policy, Utterance

POLL = 0.25  # seconds between two looks at the time
TOPICS = ["event/", "status/", "heartbeat/"]  # which tell the cameras and the publisher's clock

Heard = Callable[[Message | None, list[Utterance]], None]


def narrate(
    subscriber: Subscriber, policy: Policy, heard: Heard, stop: threading.Event, duration: float | None
) -> None:
    """Receive until `stop` is set; `heard` gets each message (None: time passed) and what it means."""
    end = None if duration is None else time.monotonic() + duration
    next_tick = 0.0
    while not stop.is_set():
        now = time.monotonic()
        if end is not None and now >= end:
            return
        message = subscriber.receive(POLL if end is None else min(POLL, max(0.0, end - now)))
        if message is not None:
            heard(message, policy.message(message))
        if time.monotonic() >= next_tick:
            next_tick = time.monotonic() + POLL
            heard(None, policy.tick(subscriber.connected))
