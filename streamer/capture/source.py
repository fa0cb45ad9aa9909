"""Opening one source with OpenCV, with deadlines, and naming the reason when that fails.

Measured on opencv 5.0.0 and 4.14: each decoder thread adds one frame of delay (so one is used), FFmpeg's
default probing delays the first picture by almost two seconds, a dead handle never comes back to life, and
`release()` from another thread than the one that reads crashes the process.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
import stat
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streamer.capture import opencv
from streamer.capture.address import Address, Kind, parse
from streamer.capture.camera_tls import UntrustedError, authorities_file, trusted_context
from streamer.capture.failure_reason import find_reason, port_of, reason_of
from streamer.capture.network_rules import QUICK, moved, options_of
from streamer.config import CameraConfig, CaptureConfig
from streamer.errors import SourceCode, SourceOpenError
from streamer.system import threads
from streamer.system.redaction import redact

__all__ = ["OpenedSource", "open_source"]

_FPS_LIMIT = 240.0  # declared rates above are nonsense (90000 has been seen)
_ASKING = 3.0  # seconds that a handshake, and finding a reason, may take
_MOST_REDIRECTS = 3
# rtsp//HOST; an address without its scheme, perhaps behind the folder that relative paths are meant from
_SCHEME = re.compile(r"(?:^|/)(rtsps?|rtmps?|https?)//?([^/@][^@]*)$", re.IGNORECASE)
_HOST = re.compile(r"(?:^|/)((?:\d{1,3}(?:\.\d{1,3}){3}|[\w-]+\.(?:local|lan|home))(?::\d{1,5})?)(/[^@]*)?$")


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

    @property
    def length(self) -> float | None:
        """Files: seconds as the container declares, None where that cannot be told."""
        frames = float(self._handle.get(self._cv2.CAP_PROP_FRAME_COUNT))
        return frames / self.fps if self.fps is not None and 0 < frames < 1e9 else None

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
    opencv.limit_pictures(capture.max_megapixels)
    timeouts = (capture.open_timeout, max(capture.read_timeout, patience or 0.0))
    if not address.network:
        opened = _open_native(address, config, timeouts, (None,))
        if opened is None:
            raise _local_failure(config.name, address)
        return _of_bearable_size(opened, config.name, capture)
    until = time.monotonic() + capture.open_timeout + _ASKING
    for _ in range(_MOST_REDIRECTS + 1):
        context = _trusted(config, address, min(capture.open_timeout, _ASKING))
        authorities = None if context is None else authorities_file(context)
        opened = _open_native(address, config, timeouts, options_of(address, authorities))
        if opened is not None:
            return _of_bearable_size(opened, config.name, capture)
        left = min(capture.open_timeout, _ASKING, max(0.5, until - time.monotonic()))
        reason = find_reason(address, context, left)
        followed = moved(address, reason.moved_to) if reason.moved_to else None
        if followed is None or time.monotonic() > until - left:
            break
        address = followed
    line = f"camera {config.name}: {address.place} {reason.what}; {reason.remedy}"
    raise SourceOpenError(redact(line, *address.secrets), reason.code)


def _trusted(config: CameraConfig, address: Address, timeout: float) -> ssl.SSLContext | None:
    """What to connect with where an address is encrypted, its certificate checked now.

    Raises SourceOpenError.
    """
    parts = urlsplit(str(address.secret_url))
    if parts.scheme.lower() not in ("https", "rtsps", "rtmps"):
        return None
    port = port_of(str(address.secret_url))
    try:
        return trusted_context(parts.hostname or "", port, config.tls_verify, timeout)
    except UntrustedError as error:
        raise SourceOpenError(f"camera {config.name}: {address.place} {error}", "permission") from None
    except (OSError, ValueError) as error:
        reason = reason_of(error, None if parts.port else port)
        line = f"camera {config.name}: {address.place} {reason.what}; {reason.remedy}"
        raise SourceOpenError(redact(line, *address.secrets), reason.code) from None


def _of_bearable_size(opened: OpenedSource, camera: str, capture: CaptureConfig) -> OpenedSource:
    """Refuse pictures that are declared too large, before one is taken. Raises SourceOpenError."""
    if opened.width * opened.height <= capture.max_megapixels * 1e6:
        return opened
    opened.release()
    raise SourceOpenError(
        f"camera {camera}: {opened.place} has pictures of {opened.width} x {opened.height}, more than"
        f" capture.max_megapixels ({capture.max_megapixels:g}) allows; set a smaller size in the camera",
        "codec",
    )


def check_source(config: CameraConfig) -> None:
    """Look, without opening anything, whether a source can be had at all: cheap, before a model is loaded.

    Raises SourceOpenError as `open_source` does, for what a look at the address and the disk can tell.
    """
    address = parse(config)
    if address.kind is Kind.FILE and not address.network:
        _check_file(config.name, str(address.secret_url))


def _open_native(
    address: Address, config: CameraConfig, timeouts: tuple[float, float], attempts: tuple[str | None, ...]
) -> OpenedSource | None:
    """`timeouts`: seconds to open and to read; `attempts`: FFmpeg's options, one after the other."""
    cv2 = opencv.load()
    if address.kind is Kind.DEVICE:
        return _open_device(cv2, address, config)
    params = [cv2.CAP_PROP_N_THREADS, threads.DECODER]
    if address.network:
        params += [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, max(1, int(timeouts[0] * 1000))]
        params += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, max(1, int(timeouts[1] * 1000))]
    for options in attempts:
        with opencv.ffmpeg_options(options):
            handle = cv2.VideoCapture(address.secret_url, cv2.CAP_FFMPEG, params)
        if not handle.isOpened():
            handle.release()
            return None
        if handle.get(cv2.CAP_PROP_FRAME_WIDTH) > 0 and handle.get(cv2.CAP_PROP_FRAME_HEIGHT) > 0:
            quick = options is not None and options.startswith(QUICK)
            return OpenedSource(handle, address, cv2, probed=not quick)
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
        hint = _meant(path)
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


def _meant(path: str) -> str:
    """What somebody may have meant who named a file that is not there."""
    if found := _SCHEME.search(path):
        return f"did you mean {found[1].lower()}://{found[2]}?"
    if found := _HOST.search(path):
        if found[2]:
            return f"did you mean rtsp://{found[1]}{found[2]}?"
        return f"did you mean a camera? streamer add {found[1]} looks for its video"
    near = _similar(Path(path))
    return f"did you mean {near}?" if near else "check the path"


def _similar(path: Path) -> str | None:
    """A file beside a missing one with almost its name."""
    from difflib import get_close_matches

    try:
        names = [entry.name for entry in os.scandir(path.parent)][:2000]
    except OSError:
        return None
    found = get_close_matches(path.name, names, n=1, cutoff=0.75)
    return str(path.parent / found[0]) if found else None


def _local_failure(camera: str, address: Address) -> SourceOpenError:
    """The reason why the native open of a device or file said no."""
    if address.kind is Kind.DEVICE:
        return _device_failure(camera, address)
    return SourceOpenError(
        f"camera {camera}: {address.place} holds no video that can be decoded here; "
        "it may be incomplete or of another kind: does a video player show it?",
        "codec",
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
