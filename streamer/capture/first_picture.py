"""One picture of a camera: that its address, its login and its video are right."""

from __future__ import annotations

import time
from typing import Any

from streamer.capture import opencv
from streamer.capture.source import open_source
from streamer.config import CameraConfig, CaptureConfig
from streamer.errors import SourceOpenError

_SETTLE = 1.0  # seconds: webcams find their exposure, decoders their first key frame
_JPEG_QUALITY = 85


def first_picture(config: CameraConfig, capture: CaptureConfig) -> Any:
    """Open a camera, take a picture after a second, close it: uint8 BGR (H, W, 3).

    Raises SourceOpenError as `open_source` does, and `timeout` where no picture comes.
    """
    opened = open_source(config, capture)
    image = None
    try:
        end = time.monotonic() + capture.open_timeout
        settled: float | None = None
        while time.monotonic() < end and (settled is None or time.monotonic() < settled):
            if not opened.grab():
                break
            latest = opened.retrieve()
            if latest is not None:
                image = latest
                settled = settled or time.monotonic() + (_SETTLE if opened.kind.live else 0.0)
    finally:
        opened.release()
    if image is None:
        raise SourceOpenError(
            f"camera {config.name}: {opened.place} was opened, but no picture came; try a video player",
            "timeout",
        )
    return image


def as_jpeg(image: Any) -> bytes:
    """A BGR picture as a JPEG file."""
    cv2 = opencv.load()
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done, "a picture of a camera has a size that JPEG knows"
    return bytes(data)
