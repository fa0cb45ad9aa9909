"""Small H.264 clips whose pixels say which frame they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 16  # pixels; a white block, then 16 bits (most significant first) in the top row


def stamp(image: Any, number: int) -> None:
    """Write `number` (0..65535) into the top row of a uint8 (H, W, 3) image at least 288 wide."""
    image[:BLOCK, : BLOCK * 18] = 0
    image[:BLOCK, :BLOCK] = 255
    for bit in range(16):
        if number >> (15 - bit) & 1:
            image[:BLOCK, BLOCK * (bit + 1) : BLOCK * (bit + 2)] = 255


def read_stamp(image: Any) -> int:
    """The number in a uint8 (H, W, 3) image, -1 where there is none."""
    row = image[BLOCK // 2, BLOCK // 2 :: BLOCK, 1][:18]
    if row[0] < 128 or row[17] > 127:
        return -1
    return int("".join("1" if value > 127 else "0" for value in row[1:17]), 2)


def picture(number: int, width: int = 320, height: int = 240) -> Any:
    """A textured ground with a moving bright square and the frame's number: uint8 BGR."""
    image = _ground(width, height).copy()
    left = number * 5 % max(1, width - 40)
    image[height // 2 : height // 2 + 40, left : left + 40] = (40, 230, 250)
    stamp(image, number)
    return image


@cache
def _ground(width: int, height: int) -> Any:
    rng = np.random.default_rng(1)
    coarse = rng.integers(30, 220, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width]


def moving(count: int, width: int = 320, height: int = 240) -> Iterator[Any]:
    """`count` pictures of `picture`."""
    return (picture(number, width, height) for number in range(count))


def write_clip(
    path: Path,
    images: Iterator[Any] | list[Any],
    fps: int = 25,
    *,
    codec: str = "libx264",
    gop: int | None = None,
    b_frames: int = 0,
    bitrate: int | None = None,
    container: str | None = None,
    pts: Callable[[int], int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode uint8 BGR images. `pts`: frame number -> time stamp in units of 1/fps, for broken ones."""
    import av

    with av.open(str(path), "w", format=container) as out:
        stream = None
        for number, image in enumerate(images):
            if stream is None:
                stream = out.add_stream(codec, rate=fps)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p" if codec != "mjpeg" else "yuvj420p"
                if bitrate is not None:
                    stream.bit_rate = bitrate
                stream.codec_context.thread_count = 1
                x264 = {"preset": "veryfast", "g": str(gop or fps), "bf": str(b_frames)}
                if not b_frames:
                    x264["tune"] = "zerolatency"
                stream.options = {**(x264 if codec == "libx264" else {}), **(options or {})}
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            if pts is not None:
                frame.pts = pts(number)
                frame.time_base = Fraction(1, fps)
            out.mux(stream.encode(frame))
        if stream is not None:
            out.mux(stream.encode(None))
    return path


def write_beginning(path: Path, film: Path, seconds: float) -> Path:
    """The beginning of a film, as it is encoded there; `seconds`: where one of its key frames is."""
    import av

    with av.open(str(film)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None or (packet.is_keyframe and float(packet.pts * packet.time_base) >= seconds):
                break
            packet.stream = stream
            out.mux(packet)
    return path


def write_sound(path: Path, seconds: float = 0.5) -> Path:
    """A file with sound and no picture."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        for start in range(0, int(44100 * seconds), 1024):
            wave = np.sin(np.arange(start, start + 1024) * 0.06).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            frame.sample_rate = 44100
            frame.pts = start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
