"""Memory that was let go is given back to the system."""

from __future__ import annotations

import numpy as np
import psutil
import pytest

from streamer import memory

BLOCK, COUNT = 100_000, 1_000  # bytes, below what glibc maps by itself; 100 MB in all


@pytest.mark.skipif(memory._glibc() is None, reason="the C library here is not glibc")
def test_holes_in_the_heap_go_back_to_the_system() -> None:
    process = psutil.Process()
    memory.prepare()
    blocks = [np.ones(BLOCK, np.uint8) for _ in range(COUNT)]
    last = np.ones(BLOCK, np.uint8)  # lies above them and keeps the heap from shrinking by itself
    del blocks
    before = process.memory_info().rss
    memory.trim()
    assert last.all()
    assert before - process.memory_info().rss > 0.5 * BLOCK * COUNT


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    memory.prepare()
    memory.trim()
