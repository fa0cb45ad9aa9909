"""Memory that was let go is given back to the system, and none is held without need."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from streamer.capture.camera_supervisor import Camera
from streamer.capture.reader_thread import Reader
from streamer.config import CameraConfig, CaptureConfig, Pace
from streamer.errors import SourceLostError
from streamer.system import memory
from streamer.types import Frame
from tests.helpers.media import moving, write_clip
from tests.helpers.servers.mini_rtsp import MiniRtsp

BLOCK, COUNT = 100_000, 1_000  # bytes, below what glibc maps by itself; 100 MB in all
HANG_UPS = 6
MOST_HELD = 3  # pictures: the newest, the one that the reader works on, the one it makes


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


_HEAPS = """
import ctypes, sys, threading
from streamer.system import memory
memory.prepare()
library = ctypes.CDLL(None)
library.malloc.restype = library.fopen.restype = ctypes.c_void_p
threads = [threading.Thread(target=library.malloc, args=(50_000,)) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
file = ctypes.c_void_p(library.fopen(sys.argv[1].encode(), b"w"))
library.malloc_info(0, file)
library.fclose(file)
"""


@pytest.mark.skipif(memory._glibc() is None, reason="the C library here is not glibc")
@pytest.mark.parametrize("of_the_user", [None, "3"])
def test_threads_share_one_heap_unless_the_user_wants_more(tmp_path: Path, of_the_user: str | None) -> None:
    env = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    if of_the_user is not None:
        env["MALLOC_ARENA_MAX"] = of_the_user
    told = tmp_path / "heaps.xml"
    subprocess.run([sys.executable, "-c", _HEAPS, str(told)], env=env, check=True, timeout=60)
    heaps = told.read_text().count("<heap nr=")
    assert heaps == 1 if of_the_user is None else 1 < heaps <= 3


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another C library: its own functions of these names, if any, are not called."""
    called: list[str] = []
    library = SimpleNamespace(mallopt=called.append, malloc_info=called.append)  # no malloc_trim
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: library)
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    memory._glibc.cache_clear()
    try:
        memory.prepare()
        memory.trim()
    finally:
        memory._glibc.cache_clear()
    assert called == []


@pytest.fixture
def no_collector() -> Iterator[None]:
    """As in a program with torch, whose many objects put full collections off for hours."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class _Frames:
    """Hears of each picture in full size without keeping it."""

    def __init__(self) -> None:
        self._pictures: list[weakref.ref[Any]] = []
        self._came = threading.Condition()

    def reduce(self, image: Any) -> Any:
        with self._came:
            self._pictures.append(weakref.ref(image))
        return np.zeros((4, 4, 3), np.uint8)

    def deliver(self, frame: Frame) -> bool:
        with self._came:
            self._came.notify_all()
        return True

    def until_more(self) -> None:
        """Wait for three pictures that have not come yet."""
        with self._came:
            wanted = len(self._pictures) + 3
            assert self._came.wait_for(lambda: len(self._pictures) >= wanted, 20.0)

    @property
    def held(self) -> int:
        with self._came:
            return sum(picture() is not None for picture in self._pictures)


@pytest.mark.realtime
def test_a_lost_connection_keeps_no_picture(tmp_path: Path, no_collector: None) -> None:
    frames, lost = _Frames(), threading.Event()
    clip = write_clip(tmp_path / "clip.h264", moving(25), container="h264", gop=5)
    with MiniRtsp(clip) as server:
        camera = Camera(
            CameraConfig(name="door", source=server.url),
            reduce=frames.reduce,
            deliver=frames.deliver,
            capture=CaptureConfig(retry_min=0.01, retry_max=0.02),
            pace=Pace.REALTIME,
            loop=False,
            on_status=lambda status: lost.set() if status.code else None,
        )
        camera.start()
        try:
            for _ in range(HANG_UPS):
                frames.until_more()
                lost.clear()
                server.drop()
                assert lost.wait(20.0)
            frames.until_more()
            assert camera.status.reconnects >= HANG_UPS
            assert frames.held <= MOST_HELD
        finally:
            camera.stop()
            assert camera.join(10.0)


def _with_a_picture(make: type[Exception], pictures: list[weakref.ref[Any]]) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    pictures.append(weakref.ref(picture))
    raise make("it broke")


@pytest.mark.parametrize("kind", [SourceLostError, RuntimeError])
def test_an_error_of_a_reader_holds_no_picture(kind: type[Exception], no_collector: None) -> None:
    pictures: list[weakref.ref[Any]] = []

    def play(reader: Reader) -> None:
        try:
            _with_a_picture(OSError, pictures)
        except OSError:
            _with_a_picture(kind, pictures)

    reader = Reader("reader", play, threading.Event())
    reader.start()
    reader.thread.join(10.0)
    assert isinstance(reader.error, kind)
    assert [picture() for picture in pictures] == [None, None]
    if kind is RuntimeError:  # a defect of ours: the log says where
        assert "_with_a_picture" in "".join(traceback.format_exception(reader.error))
