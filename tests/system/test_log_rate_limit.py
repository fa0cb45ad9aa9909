"""One line a minute for each cause, and what was left out is counted."""

from __future__ import annotations

import threading

from streamer.system.log_rate_limit import MOST_CAUSES, LogLimit
from streamer.testing import FakeClock


def test_a_cause_is_told_once_a_minute_with_what_was_left_out() -> None:
    lines: list[str] = []
    clock = FakeClock()
    limit = LogLimit(lines.append, clock=clock)
    for number in range(150):
        limit("key", f"key {number}")
        limit("other", "other")
    assert lines == ["key 0", "other"]
    clock.advance(60)
    limit("key", "key again")
    assert lines[2:] == ["key again (149 more like it before)"]
    clock.advance(60)
    limit("key", "and again")
    assert lines[3:] == ["and again"]


def test_made_up_causes_share_one() -> None:
    lines: list[str] = []
    clock = FakeClock()
    limit = LogLimit(lines.append, clock=clock)
    for number in range(10 * MOST_CAUSES):
        limit(number, str(number))
    assert len(lines) <= MOST_CAUSES + 1
    clock.advance(60)
    limit("new", "new")
    assert lines[-1] == "new", "what was told long ago makes room"


def test_threads_share_it() -> None:
    lines: list[str] = []
    limit = LogLimit(lines.append)
    threads = [threading.Thread(target=lambda: [limit("x", "x") for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lines == ["x"]
