"""What recording does with pixels; OpenCV is loaded when the first picture comes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.recording.h264_encoder import fitted

Image = NDArray[Any]  # uint8 BGR (H, W, 3)


def scaled(image: Image, max_height: int) -> Image:
    """The image with even sides, not higher than `max_height`, its proportions kept."""
    width, height = fitted(image.shape[1], image.shape[0], max_height)
    return resized(image, width, height)


def resized(image: Image, width: int, height: int) -> Image:
    """The image in exactly this size; itself if it has it."""
    if image.shape[:2] == (height, width):
        return image
    import cv2

    way = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=way))


def encode_jpeg(image: Image, quality: int) -> bytes:
    """JPEG of an image. Raises ValueError where that cannot be done."""
    import cv2

    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of {image.shape} cannot be made a JPEG")
    return bytes(data)


def decode_jpeg(data: bytes) -> Image:
    """The image in a JPEG that `encode_jpeg` made."""
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("not a JPEG")
    return np.asarray(image)


def to_i420(image: Image) -> Image:
    """For the encoder: uint8 (H * 3 / 2, W), sides even."""
    import cv2

    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420))
