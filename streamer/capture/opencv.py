"""The one place that imports OpenCV, and everything that has to be set before it.

OpenCV and the FFmpeg inside it are configured through environment variables that are read once, and they
write what they think (with addresses, and so with passwords) to stderr. Both are settled here. What the
user has set in the environment stays, except where it would print passwords.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from streamer.capture.network_rules import joined
from streamer.system import threads

log = logging.getLogger(__name__)

CAPTURE_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_DEFAULTS = {
    "OPENCV_LOG_LEVEL": "SILENT",  # our own messages name the reason, without the address
    "OPENCV_FFMPEG_LOGLEVEL": "-8",  # AV_LOG_QUIET
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "2",  # seconds; 10 by default, for a webcam that hangs
    "OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS": "0",  # Windows: opens in one second instead of twenty
    "OPENCV_AVFOUNDATION_SKIP_AUTH": "1",  # macOS: cameras are opened outside the main thread
}
_LOUDEST = 24  # AV_LOG_WARNING: above it FFmpeg prints whole requests, addresses and passwords included

_import_lock = threading.Lock()
_cv2: Any = None


def load() -> Any:
    """The module `cv2`, imported on first use with quiet logging and `threads.OPENCV` threads."""
    global _cv2
    with _import_lock:
        if _cv2 is None:
            _prepare_environment()
            import cv2

            cv2.setNumThreads(threads.OPENCV)
            if os.environ["OPENCV_LOG_LEVEL"] == "SILENT":
                cv2.utils.logging.setLogLevel(
                    cv2.utils.logging.LOG_LEVEL_SILENT
                )  # also where somebody else imported cv2 before us
            _cv2 = cv2
    return _cv2


def _prepare_environment() -> None:
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    loudness = os.environ["OPENCV_FFMPEG_LOGLEVEL"]
    if not loudness.lstrip("-").isdigit() or int(loudness) > _LOUDEST:
        os.environ["OPENCV_FFMPEG_LOGLEVEL"] = str(_LOUDEST)
        log.warning("OPENCV_FFMPEG_LOGLEVEL=%s would print passwords; %d is used", loudness, _LOUDEST)
    for name in ("OPENCV_VIDEOIO_DEBUG", "OPENCV_FFMPEG_DEBUG"):
        if os.environ.pop(name, None) is not None:
            log.warning("%s is ignored: it would print the cameras' passwords", name)


def _set_variable(value: str | None) -> None:
    if value is None:
        os.environ.pop(CAPTURE_OPTIONS, None)
    else:
        os.environ[CAPTURE_OPTIONS] = value


class OptionsGate:
    """Lets opens that want the same FFmpeg options run together, and others wait their turn.

    OpenCV takes FFmpeg's options from a variable of the whole process and reads it at the very start of an
    open. A lock held through every open would let one dead camera delay all others, so an open counts for
    at most `settle` seconds: by then it has long read the variable.
    """

    def __init__(self, settle: float = 1.0) -> None:
        self._settle = settle
        self._changed = threading.Condition()
        self._turn = 0  # who may enter next: first come, first served
        self._tickets = 0
        self._value: str | None = None
        self._users: dict[int, float] = {}  # ticket -> until when it counts, monotonic seconds

    @contextmanager
    def set_to(self, value: str | None) -> Iterator[None]:
        """Have the variable hold `value` (None: absent) while an open begins."""
        with self._changed:
            ticket = self._tickets
            self._tickets += 1
            while (wait := self._wait_of(ticket, value)) > 0:
                self._changed.wait(wait)
            self._turn += 1
            self._value = value
            _set_variable(value)
            self._users[ticket] = time.monotonic() + self._settle
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                del self._users[ticket]
                if not self._users:  # videos that others open in this process are none of ours
                    _set_variable(USER_OPTIONS)
                self._changed.notify_all()

    def _wait_of(self, ticket: int, value: str | None) -> float:
        """Seconds until this ticket should look again; 0 when it may enter."""
        if ticket != self._turn:
            return self._settle
        if value == self._value:
            return 0.0
        return max(0.0, max(self._users.values(), default=0.0) - time.monotonic())


USER_OPTIONS = os.environ.get(CAPTURE_OPTIONS)  # what the user wants for every open, if anything
GATE = OptionsGate()


@contextmanager
def ffmpeg_options(value: str | None) -> Iterator[None]:
    """FFmpeg options for the open inside: `key;value|key;value`. The user's own are kept, and win."""
    if sys.platform == "win32":
        # There FFmpeg is another library with its own copy of the environment: changes do not arrive.
        yield
        return
    with GATE.set_to(joined(USER_OPTIONS, value)):
        yield


def limit_pictures(megapixels: float) -> None:
    """No picture of the FFmpeg inside OpenCV becomes larger than about this, whatever a stream declares.

    OpenCV has no such limit for video (OPENCV_IO_MAX_IMAGE_PIXELS and FFmpeg's own `max_pixels` change
    nothing: measured), and a frame is decoded before its size can be asked. FFmpeg allocates a plane of a
    picture as one piece, so the largest piece is limited: three bytes a pixel, for packed RGB. Where this
    FFmpeg cannot be reached (Windows, a system's own OpenCV) only the size declared at opening is checked.
    """
    load()
    if (library := _avutil()) is not None:
        library.av_max_alloc(ctypes.c_size_t(int(megapixels * 3_000_000)))


@cache
def _avutil() -> Any:
    folder = Path(_cv2.__file__).resolve().parent
    places = [folder / ".dylibs", *folder.parent.glob("opencv_*.libs")]
    for file in (file for place in places for file in sorted(place.glob("libavutil*"))):
        try:
            return ctypes.CDLL(os.fspath(file))  # the one that is loaded already
        except OSError as error:
            log.debug("%s: %s", file, error)
    return None
