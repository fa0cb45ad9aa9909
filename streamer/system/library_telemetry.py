"""Libraries that report to their makers how they are used do not, inside streamer."""

from __future__ import annotations

import sys

REPORTER = "openvino_telemetry"


def switch_off() -> None:
    """Call before openvino or nncf is imported; a second call does nothing.

    OpenVINO tells Google Analytics of each import and each conversion, in a process forked from this one,
    threads and all, unless the user said no in a file of its own or its reporting library is missing. Both
    libraries go on quietly where `REPORTER` cannot be imported, and None in its place says so to Python. A
    program that has imported it before us has decided for itself.
    """
    sys.modules.setdefault(REPORTER, None)  # type: ignore[arg-type]
