"""The page lives on whatever a publisher sends: what breaks the contract is skipped, and news go on."""

from __future__ import annotations

import time

from streamer.bus import wire
from tests.helpers.bus_parts import event
from tests.helpers.hostile_publisher import MESSAGES, Hostile
from tests.helpers.web_parts import listening, served


def test_the_page_goes_on_after_hostile_messages() -> None:
    def beat(last: int) -> bytes:
        extra = {"journal": "j", "started_at": 1.0, "requests": None}
        body = wire.heartbeat_body(last, {"cam0": "running"}, extra)
        return wire.encode(wire.stamp(body, "z", last + 1, time.time()))

    with Hostile() as publisher, served(publisher.endpoint) as web, listening(web.port) as page:
        publisher.wait_for_a_reader()
        for data in MESSAGES:
            publisher.pub.send_multipart([b"event/cam0/", data])
        for seq in (1, 2):
            publisher.pub.send_multipart([b"heartbeat/", beat(seq - 1)])
            told = wire.stamp(wire.event_body(event(f"fresh{seq}")), "z", seq, time.time())
            publisher.pub.send_multipart([b"event/cam0/", wire.encode(told)])
        page.until(lambda: "fresh2" in page.events(), "the page goes on")
        assert web.json("/healthz")["status"] == "ok"
