"""A test that hangs ends with its name and every thread's place, also where Python itself cannot act.

pytest-timeout interrupts Python code. Two things it cannot do: end a native call that does not return (its
signal is looked at only between Python instructions), and end the process well when a left-behind thread is
in such a call. At the interpreter's end a thread that comes back from native code is ended by unwinding its
stack, and through frames of C++ (OpenCV's among them) that is an abort or a segmentation fault. streamer
itself leaves by `os._exit`, and so does a test run.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

ENDS: dict[str, Any] = {}  # what the run has come to


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("hung_after", "seconds after its time-out until a test ends the process", default="60")


def pytest_configure() -> None:
    ENDS["stderr"] = os.fdopen(os.dup(2), "w")  # as it is now, before a test's output is captured


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0] if marker is not None else item.config.getini("timeout") or 0)
    if limit > 0:
        grace = float(item.config.getini("hung_after"))
        faulthandler.dump_traceback_later(limit + grace, exit=True, file=ENDS["stderr"])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(exitstatus: int | pytest.ExitCode) -> None:
    ENDS["status"] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    left = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if left and "status" in ENDS and not hasattr(config, "workerinput"):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ENDS["status"])
