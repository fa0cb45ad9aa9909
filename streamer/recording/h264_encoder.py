"""H.264 of one camera while events of it are recorded: each picture is encoded once, for all of them."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

TICKS = 90_000  # a second, of time stamps
_BITS = 0.25  # most bits a pixel of a moving picture: 2.3 Mbit/s at 720p and 10 frames/s
_LEAST_BITS = 200_000  # a second


@dataclass(frozen=True, slots=True)
class Shape:
    """What an encoder is made for: pixels (even), frames a second."""

    width: int
    height: int
    fps: float

    @property
    def bit_rate(self) -> int:
        """Most bits a second, over two seconds."""
        return max(_LEAST_BITS, int(self.width * self.height * self.fps * _BITS))


@dataclass(frozen=True, slots=True)
class Packet:
    """One encoded picture."""

    time: float  # the camera's time line, seconds
    ticks: int
    key: bool
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """A finished clip that is to be written. `packets` begin with a key frame."""

    shape: Shape
    packets: Sequence[Packet] = field(repr=False)
    title: str = ""
    comment: str = ""
    description: str = ""  # where its events are: event_spans_in_clip.py
    also: tuple[Path, ...] = ()  # further names of the file: of the other events that it shows

    @property
    def size(self) -> int:
        """Bytes of its pictures."""
        return sum(len(packet.data) for packet in self.packets)

    @property
    def seconds(self) -> float:
        return self.packets[-1].time - self.packets[0].time if self.packets else 0.0


def fitted(width: int, height: int, max_height: int) -> tuple[int, int]:
    """A picture's size in a clip: even, not higher than `max_height`, its proportions kept."""
    scale = min(1.0, max_height / height)
    return max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)


class H264Encoder:
    """An encoder and what came out of it. For one thread at a time.

    Raises ModuleNotFoundError without PyAV.
    """

    def __init__(self, shape: Shape) -> None:
        import av

        self.shape = shape
        self._av = av
        # A stream belongs to a container; nothing is written to this one.
        self._host = av.open(io.BytesIO(), "w", format="mp4")
        self._stream = _stream(self._host, shape)
        self._packets: deque[Packet] = deque()
        self._times: deque[float] = deque()
        self._first: float | None = None
        self._ticks = -1
        self.bytes = 0

    def add(self, image: NDArray[Any], time: float) -> None:
        """Encode a picture: uint8 I420 (H * 3 / 2, W) of the encoder's shape, at `time` of the time line."""
        self._first = time if self._first is None else self._first
        self._ticks = max(self._ticks + 1, round((time - self._first) * TICKS))
        frame = self._av.VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts, frame.time_base = self._ticks, Fraction(1, TICKS)
        self._times.append(time)
        for encoded in self._stream.encode(frame):
            packet = Packet(
                self._times.popleft(), int(encoded.pts), bool(encoded.is_keyframe), bytes(encoded)
            )
            self._packets.append(packet)
            self.bytes += len(packet.data)

    def between(self, start: float, end: float) -> list[Packet]:
        """The packets from the last key frame at or before `start` (else the first) up to `end`."""
        found: list[Packet] = []
        for packet in self._packets:
            if packet.key and packet.time <= start:
                found.clear()
            if packet.time <= end:
                found.append(packet)
        return found

    def forget(self, before: float) -> None:
        """Let go of what only clips that begin before `before` would need."""
        keys = [packet.ticks for packet in self._packets if packet.key and packet.time <= before]
        while keys and self._packets[0].ticks < keys[-1]:
            self.bytes -= len(self._packets.popleft().data)


def write_clip(path: Path, clip: EncodedClip) -> None:
    """Write an MP4 that browsers play while it is still loading. `path` is overwritten.

    Raises OSError where it cannot be written whole.
    """
    import av

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = _stream(container, clip.shape)
            told = {"title": clip.title, "comment": clip.comment, "description": clip.description}
            container.metadata.update(told)
            _mux(container, stream, clip)
        os.fsync(descriptor)  # a full disk may say so only now
        _check(path, clip)
    except av.error.FFmpegError as error:
        number = error.errno if isinstance(error, OSError) else None
        raise OSError(number, os.strerror(number) if number else str(error)) from error
    finally:
        os.close(descriptor)


def _mux(container: Any, stream: Any, clip: EncodedClip) -> None:
    import av

    lasting = max(1, round(TICKS / clip.shape.fps))
    begin = clip.packets[0].ticks
    for packet in clip.packets:
        written = av.Packet(packet.data)
        written.stream, written.time_base = stream, Fraction(1, TICKS)
        written.pts = written.dts = packet.ticks - begin
        written.duration, written.is_keyframe = lasting, packet.key
        container.mux(written)


def _stream(container: Any, shape: Shape) -> Any:
    """The same while encoding and in the file, so that the file's header fits the pictures."""
    stream = container.add_stream("libx264", rate=max(1, round(shape.fps)))
    stream.width, stream.height, stream.pix_fmt = shape.width, shape.height, "yuv420p"
    stream.codec_context.time_base = Fraction(1, TICKS)
    stream.codec_context.thread_count = 1
    stream.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "profile": "main",
        "crf": "27",
        "maxrate": str(shape.bit_rate),
        "bufsize": str(2 * shape.bit_rate),
        "g": str(max(1, round(shape.fps))),  # clips begin at a key frame: one a second
        "sc_threshold": "0",
        "bf": "0",
    }
    return stream


def _check(path: Path, clip: EncodedClip) -> None:
    """FFmpeg keeps some write errors to itself, so see that everything is there, and in its order."""
    boxes, place, size = [], 0, path.stat().st_size
    with path.open("rb") as file:
        while place < size:
            file.seek(place)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:
                break
            boxes.append((head[4:8], length))
            place += length
    kinds = [kind for kind, _ in boxes]
    whole = place == size and kinds[:1] == [b"ftyp"] and b"moov" in kinds and b"mdat" in kinds
    if not whole or kinds.index(b"moov") > kinds.index(b"mdat") or dict(boxes)[b"mdat"] < clip.size:
        raise OSError("the file is not whole")
