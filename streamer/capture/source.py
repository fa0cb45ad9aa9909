"""Opening one source with OpenCV, with deadlines, and naming the reason when that fails.

Measured on opencv 5.0.0 and 4.14: each decoder thread adds one frame of delay (so one is used), FFmpeg's
default probing delays the first picture by almost two seconds, a dead handle never comes back to life, and
`release()` from another thread than the one that reads crashes the process.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any

from streamer.capture import opencv
from streamer.capture.address import Address, Kind, parse
from streamer.capture.probe import probe
from streamer.config import CameraConfig, CaptureConfig
from streamer.errors import SourceCode, SourceOpenError
from streamer.system import threads
from streamer.system.redaction import redact

__all__ = ["OpenedSource", "open_source"]

_QUICK = "rtsp_flags;prefer_tcp|probesize;32|analyzeduration;0"  # the SDP tells all: no probing
_CAREFUL = "rtsp_flags;prefer_tcp"  # for cameras whose SDP lacks the parameter sets
_FPS_LIMIT = 240.0  # declared rates above are nonsense (90000 has been seen)


class OpenedSource:
    """One open native handle. Every method belongs to the thread that opened it; none may be shared.

    `width`, `height`: pixels as declared at opening. `fps`: declared, None where it is not believable; a
    fallback for files only. `probed`: FFmpeg had to look at the video first, so the first frames are old.
    """

    def __init__(self, handle: Any, address: Address, cv2: Any, probed: bool = False) -> None:
        self._handle = handle
        self.probed = probed
        self._cv2 = cv2
        self.kind = address.kind
        self.place = address.place
        self.width = int(handle.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(handle.get(cv2.CAP_PROP_FRAME_HEIGHT))
        fps = float(handle.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0.1 <= fps <= _FPS_LIMIT else None

    def grab(self) -> bool:
        """Receive and decode the next frame; False at the end, on a loss or a time-out."""
        return bool(self._handle.grab())

    def retrieve(self) -> Any:
        """The grabbed frame as uint8 BGR (H, W, 3), or None where it cannot be converted."""
        ok, image = self._handle.retrieve()
        if not ok or image is None or image.size == 0:
            return None
        if image.ndim == 2:
            return self._cv2.cvtColor(image, self._cv2.COLOR_GRAY2BGR)
        if image.shape[2] == 4:
            return self._cv2.cvtColor(image, self._cv2.COLOR_BGRA2BGR)
        return image

    def position(self) -> float:
        """Seconds of the grabbed frame as the container says; may be constant, go backwards, or be 0."""
        return float(self._handle.get(self._cv2.CAP_PROP_POS_MSEC)) / 1000.0

    def seek(self, seconds: float) -> None:
        """Files: go to about `seconds` of the container's own time; `position` tells where after a grab."""
        self._handle.set(self._cv2.CAP_PROP_POS_MSEC, seconds * 1000.0)

    def release(self) -> None:
        """Close the handle. Only from the thread that reads."""
        self._handle.release()


def open_source(config: CameraConfig, capture: CaptureConfig, patience: float | None = None) -> OpenedSource:
    """Open a camera's source within about `capture.open_timeout` seconds.

    `patience`: the native read time-out in seconds, where it must be longer than `capture.read_timeout`
    (cameras with few key frames need it for their first picture).

    Raises SourceOpenError with a code of `errors.SOURCE_CODES` and one line that names the camera.
    """
    check_source(config)
    address = parse(config)
    read_timeout = max(capture.read_timeout, patience or 0.0)
    cv2 = opencv.load()
    opened = _open_native(cv2, address, config, capture.open_timeout, read_timeout)
    if opened is None:
        raise _failure(config, address, capture)
    return opened


def check_source(config: CameraConfig) -> None:
    """Look, without opening anything, whether a source can be had at all: cheap, before a model is loaded.

    Raises SourceOpenError as `open_source` does, for what a look at the address and the disk can tell.
    """
    address = parse(config)
    if address.kind is Kind.FILE and not address.network:
        _check_file(config.name, str(address.secret_url))


def _open_native(
    cv2: Any, address: Address, config: CameraConfig, open_timeout: float, read_timeout: float
) -> OpenedSource | None:
    if address.kind is Kind.DEVICE:
        return _open_device(cv2, address, config)
    params = [cv2.CAP_PROP_N_THREADS, threads.DECODER]
    if address.network:
        params += [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, max(1, int(open_timeout * 1000))]
        params += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, max(1, int(read_timeout * 1000))]
    attempts: tuple[str | None, ...] = (None,)
    if address.kind is Kind.RTSP:
        attempts = (_QUICK, _CAREFUL)
    for options in attempts:
        with opencv.ffmpeg_options(options):
            handle = cv2.VideoCapture(address.secret_url, cv2.CAP_FFMPEG, params)
        if not handle.isOpened():
            handle.release()
            return None
        if handle.get(cv2.CAP_PROP_FRAME_WIDTH) > 0 and handle.get(cv2.CAP_PROP_FRAME_HEIGHT) > 0:
            return OpenedSource(handle, address, cv2, probed=options != _QUICK)
        handle.release()  # no size known: such a handle gives nothing, ever
    return None


def _open_device(cv2: Any, address: Address, config: CameraConfig) -> OpenedSource | None:
    backend = cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY
    handle = cv2.VideoCapture(address.secret_url, backend)
    if not handle.isOpened():
        handle.release()
        return None
    # Uncompressed pictures (YUYV) limit USB webcams to a few frames a second: ask for MJPG first.
    handle.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    for key, value in (
        (cv2.CAP_PROP_FRAME_WIDTH, config.width),
        (cv2.CAP_PROP_FRAME_HEIGHT, config.height),
        (cv2.CAP_PROP_FPS, config.fps),
        (cv2.CAP_PROP_BUFFERSIZE, 2),
    ):
        if value is not None:
            handle.set(key, value)
    return OpenedSource(handle, address, cv2)


def _check_file(camera: str, path: str) -> None:
    """Raise for what can be told without a decoder."""
    if "%" in path and not os.path.exists(path):
        return  # numbered pictures: frame-%04d.png
    try:
        status = os.stat(path)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise SourceOpenError(
                f"camera {camera}: no access to {path}; check who may read it", "permission"
            ) from error
        near = _similar(Path(path))
        hint = f"did you mean {near}?" if near else "check the path"
        raise SourceOpenError(f"camera {camera}: there is no file {path}; {hint}", "not_found") from error
    if stat.S_ISDIR(status.st_mode):
        raise SourceOpenError(
            f"camera {camera}: {path} is a folder; name a video file in it, or pictures as {path}/%04d.png",
            "codec",
        )
    if not os.access(path, os.R_OK):
        raise SourceOpenError(f"camera {camera}: no access to {path}; check who may read it", "permission")
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise SourceOpenError(f"camera {camera}: {path} is empty; it holds no video", "codec")


def _similar(path: Path) -> str | None:
    """A file beside a missing one with almost its name."""
    from difflib import get_close_matches

    try:
        names = [entry.name for entry in os.scandir(path.parent)][:2000]
    except OSError:
        return None
    found = get_close_matches(path.name, names, n=1, cutoff=0.75)
    return str(path.parent / found[0]) if found else None


def _failure(config: CameraConfig, address: Address, capture: CaptureConfig) -> SourceOpenError:
    """The reason why the native open said no: OpenCV keeps it to itself, so it is found out again."""
    if address.kind is Kind.DEVICE:
        return _device_failure(config.name, address)
    if not address.network:
        return SourceOpenError(
            f"camera {config.name}: {address.place} holds no video that can be decoded here; "
            "it may be incomplete or of another kind: does a video player show it?",
            "codec",
        )
    code, reason, remedy = probe(address, min(capture.open_timeout, 3.0))
    return SourceOpenError(
        redact(f"camera {config.name}: {address.place} {reason}; {remedy}", *address.secrets), code
    )


def _device_failure(camera: str, address: Address) -> SourceOpenError:
    from streamer.capture.devices import list_devices

    place = address.place
    found = ", ".join(device.path for device in list_devices()) or "none"
    code: SourceCode = "not_found"
    text = f"there is no {place} (found: {found}); plug it in, or name another"
    path = address.secret_url if isinstance(address.secret_url, str) else f"/dev/video{address.secret_url}"
    if sys.platform.startswith("linux") and os.path.exists(path):
        if not os.access(path, os.R_OK | os.W_OK):
            code, text = (
                "permission",
                f"no access to {path}; add your user to the group `video` and log in again",
            )
        else:
            code, text = (
                "unknown",
                f"{path} gives no video; another program may be using it, or it is no camera",
            )
    return SourceOpenError(f"camera {camera}: {text}", code)
