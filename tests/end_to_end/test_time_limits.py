"""A test that hangs in native code is named and ends in time, and takes neither report nor others with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CAMERA = """
import threading
import cv2, numpy as np, pytest
from streamer.testing import FakeCamera

def read(url, ready):
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, [cv2.CAP_PROP_READ_TIMEOUT_MSEC, 60_000])
    while capture.read()[0]:
        ready.set()
"""
LEFT_BEHIND = """
@pytest.mark.timeout(3)
def test_waits_for_ever_beside_readers():
    camera, ready = FakeCamera(lambda n: np.zeros((480, 640, 3), np.uint8), fps=1000), threading.Event()
    camera.start()
    for _ in range(3):
        threading.Thread(target=read, args=(camera.url, ready), daemon=True).start()
    assert ready.wait(30)
    threading.Event().wait()
"""
IN_NATIVE_CODE = """
@pytest.mark.timeout(2)
def test_reads_for_ever():
    camera = FakeCamera(lambda n: np.zeros((48, 64, 3), np.uint8))
    camera.start()
    camera.stall = True
    read(camera.url, threading.Event())
"""


def run(folder: Path, test: str, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(CAMERA + test + "\n\ndef test_after_it():\n    assert True\n", "utf-8")
    (folder / "conftest.py").write_text('pytest_plugins = ["tests.helpers.time_limits"]\n', "utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--rootdir={folder}",
        "-c/dev/null",
    ]
    return subprocess.run(
        [*command, "-ohung_after=1", *words, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.realtime(about=9)
def test_threads_left_in_native_code_do_not_crash_the_process(tmp_path: Path) -> None:
    done = run(tmp_path, LEFT_BEHIND)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "Timeout (>3.0s)" in done.stdout
    assert done.returncode == 1, f"ended by signal {-done.returncode}: {done.stderr[-300:]}"


@pytest.mark.realtime(about=9)
def test_a_native_call_that_does_not_return_ends_the_process_and_is_shown(tmp_path: Path) -> None:
    done = run(tmp_path, IN_NATIVE_CODE)
    assert done.returncode == 1
    assert "in test_reads_for_ever" in done.stderr, "the stack of the thread that hangs"


@pytest.mark.realtime(about=9)
def test_a_worker_that_ends_so_is_reported_and_replaced(tmp_path: Path) -> None:
    done = run(tmp_path, IN_NATIVE_CODE, "-n", "1")
    assert "crashed while running 'test_it.py::test_reads_for_ever'" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert done.returncode == 1
