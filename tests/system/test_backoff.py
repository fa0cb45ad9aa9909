"""Waits between attempts."""

from __future__ import annotations

import random

from streamer.system.backoff import Backoff


def test_back_off_grows_jitters_and_is_reset() -> None:
    backoff = Backoff(1.0, 30.0, random.Random(1).random)
    waits = [backoff.next() for _ in range(8)]
    assert all(1.0 <= wait <= 30.0 for wait in waits)
    assert waits[4] > waits[2] > waits[1]
    assert waits[-1] >= 22.0
    assert len({round(wait, 6) for wait in waits[1:]}) == 7
    backoff.reset()
    assert backoff.next() == 1.0
    assert backoff.next(slow=True) >= 22.0


def test_a_year_of_failures_overflows_nothing() -> None:
    backoff = Backoff(1.0, 30.0, lambda: 0.0)
    assert max(backoff.next() for _ in range(2000)) == 30.0
