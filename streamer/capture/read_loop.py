"""What a reader does with its source: live video as it arrives, files at their own time stamps."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from streamer.capture.address import Kind
from streamer.capture.frame_delivery import FrameDelivery
from streamer.capture.late_frames import LateFrames
from streamer.capture.media_times import MediaTimes
from streamer.capture.reader_thread import Reader
from streamer.capture.source import OpenedSource, open_source
from streamer.config import CameraConfig, CaptureConfig, Pace
from streamer.errors import SourceLostError, SourceOpenError
from streamer.system.clock import Clock

_DEVICE_OPEN = 30.0  # seconds; a webcam under Windows may take twenty
_SLOW_DEVICES = not sys.platform.startswith("linux")
_SEGMENT_GAP = 10.0  # seconds between two segments of HLS
_MOST_PATIENCE = 20.0  # seconds for a first picture, where key frames are rare
_STALLED = 0.75  # parts of read_timeout
_LATE = 0.5  # seconds a file may be behind its time before frames are skipped
_SKIP_AT_MOST = 2.0  # seconds of skipping; a machine that cannot even decode in time plays slower instead
_RELEASE = 5.0  # seconds a handle may take to close


@dataclass
class ReadLoop:
    """What the readers of one camera share, one after the other."""

    config: CameraConfig
    capture: CaptureConfig
    kind: Kind
    pace: Pace
    loop: bool
    clock: Clock
    delivery: FrameDelivery
    stop: threading.Event
    frame_came: Callable[[], None]  # after each frame, outside native calls
    patience: float = 0.0  # native read time-out, seconds

    def __post_init__(self) -> None:
        self.patience = self.capture.read_timeout
        if self.kind is Kind.HLS or (self.kind is Kind.FILE):
            self.patience = max(self.patience, _SEGMENT_GAP)

    @property
    def open_limit(self) -> float:
        """Seconds after which an open counts as hung: the native deadline comes first where there is one."""
        limit = _DEVICE_OPEN if self.kind is Kind.DEVICE and _SLOW_DEVICES else 0.0
        return max(limit, self.capture.open_timeout + 4.0)

    @property
    def stall_limit(self) -> float:
        """Seconds without a frame after which a camera is shown as stalled, before its handle is given up."""
        return _STALLED * (_SEGMENT_GAP if self.kind is Kind.HLS else self.capture.read_timeout)

    @property
    def read_limit(self) -> float:
        """Seconds after which a read counts as hung."""
        if self.kind in (Kind.HLS, Kind.FILE):
            return 2 * self.patience + 1.0
        return 2 * self.capture.read_timeout + 1.0

    def run(self, reader: Reader) -> None:
        """The body of a reader: open, read to the end, release. Returns at a regular end or a stop.

        Raises SourceOpenError and SourceLostError.
        """
        if self.kind is Kind.FILE:
            _read_file(self, reader)
        else:
            _read_live(self, reader)


class _Handle:
    """A source that is opened and released on this thread, whatever happens in between."""

    def __init__(self, read_loop: ReadLoop, reader: Reader) -> None:
        self._read_loop = read_loop
        self._reader = reader
        self._source: OpenedSource | None = None

    def __enter__(self) -> OpenedSource:
        read_loop = self._read_loop
        try:
            with self._reader.native("open", read_loop.open_limit):
                self._source = open_source(read_loop.config, read_loop.capture, read_loop.patience)
        except BaseException:
            self.__exit__()
            raise
        return self._source

    def __exit__(self, *_: object) -> None:
        source, self._source = self._source, None
        if source is None:
            return
        if self._reader.abandoned:
            source.release()
        else:
            with self._reader.native("release", _RELEASE):
                source.release()


def _read_live(read_loop: ReadLoop, reader: Reader) -> None:
    with _Handle(read_loop, reader) as source:
        read_loop.delivery.begin()
        paced = MediaTimes(source.fps) if source.kind is Kind.HLS else None
        stamped = source.kind in (Kind.RTSP, Kind.RTMP)  # others have no time stamps of their own
        late = LateFrames(source.probed) if stamped else None
        base: float | None = None
        first = True
        while not read_loop.stop.is_set():
            began = time.monotonic()
            with reader.native("read", read_loop.read_limit if not first else read_loop.patience + 2.0):
                ok = source.grab()
                captured = read_loop.clock.monotonic()
                stamp = source.position() if ok else 0.0
            took = time.monotonic() - began
            # After a time-out FFmpeg may hand out one parked frame; the handle is dead all the same.
            timed_out = took >= 0.95 * read_loop.patience and source.kind is not Kind.DEVICE
            if not ok or timed_out:
                raise _loss(read_loop, source, first, took)
            first = False
            if paced is not None:
                base, captured = _pace_segments(read_loop, base, paced.next(stamp))
            read_loop.delivery.arrived(captured)
            if late is not None and late.is_old(stamp, captured):
                read_loop.delivery.drop("late")
            elif read_loop.delivery.wants(captured):
                with reader.native("read", read_loop.read_limit):
                    image = source.retrieve()
                read_loop.delivery.take(image, captured, captured, None)
            read_loop.frame_came()


def _pace_segments(read_loop: ReadLoop, base: float | None, media: float) -> tuple[float, float]:
    """HLS comes a segment at a time: wait until this frame's turn. Returns the base and the time now."""
    now = read_loop.clock.monotonic()
    if base is None or now - (base + media) > _LATE:
        base = now - media
    read_loop.clock.wait(read_loop.stop, base + media - now)
    return base, read_loop.clock.monotonic()


def _loss(
    read_loop: ReadLoop, source: OpenedSource, first: bool, took: float
) -> SourceOpenError | SourceLostError:
    name, place = read_loop.config.name, source.place
    silent = took >= 0.9 * read_loop.capture.read_timeout
    if first and silent:
        # Some cameras send a key frame every ten seconds only: be more patient the next time.
        read_loop.patience = min(2 * read_loop.patience, max(_MOST_PATIENCE, read_loop.patience))
        return SourceOpenError(
            f"camera {name}: {place} opened but sent no picture within {took:.1f} s; "
            "check that it is streaming, and lower its key frame interval",
            "timeout",
        )
    if silent:
        return SourceLostError(
            f"camera {name}: {place} has sent nothing for {took:.1f} s; is it on?", "timeout"
        )
    if source.kind is Kind.DEVICE:
        return SourceLostError(f"camera {name}: {place} stopped; was it unplugged?", "lost")
    return SourceLostError(f"camera {name}: {place} ended the stream; was it restarted?", "lost")


def _read_file(read_loop: ReadLoop, reader: Reader) -> None:
    base: float | None = None
    while True:
        with _Handle(read_loop, reader) as source:
            read_loop.delivery.begin()
            if base is None:
                base = read_loop.clock.monotonic()
            times = MediaTimes(source.fps)
            _read_once(read_loop, reader, source, times, base)
        if read_loop.stop.is_set():
            return
        if times.last is None:
            raise SourceOpenError(
                f"camera {read_loop.config.name}: {source.place} holds no picture that can be decoded",
                "codec",
            )
        if not read_loop.loop:
            return
        base += times.last + times.step


def _read_once(
    read_loop: ReadLoop, reader: Reader, source: OpenedSource, times: MediaTimes, base: float
) -> None:
    pacer = _Pacer(read_loop) if read_loop.pace is Pace.REALTIME else None
    while not read_loop.stop.is_set():
        with reader.native("read", read_loop.read_limit):
            ok = source.grab()
            stamp = source.position() if ok else 0.0
        if not ok:
            return
        media = times.next(stamp)
        on_time = pacer is None or pacer.wait(base + media)
        captured = read_loop.clock.monotonic()
        read_loop.delivery.arrived(captured)
        if not on_time:
            read_loop.delivery.drop("late")
        elif read_loop.delivery.wants(media):
            with reader.native("read", read_loop.read_limit):
                image = source.retrieve()
            read_loop.delivery.take(image, base + media, captured, media)
        read_loop.frame_came()


class _Pacer:
    """Holds each frame of a file until its time."""

    def __init__(self, read_loop: ReadLoop) -> None:
        self._read_loop = read_loop
        self._slip = 0.0  # seconds by which a too slow machine plays late
        self._late_since: float | None = None

    def wait(self, due: float) -> bool:
        """Wait until `due`, monotonic seconds; False for a frame to skip because its time is over."""
        clock = self._read_loop.clock
        now = clock.monotonic()
        behind = now - due - self._slip
        if behind <= _LATE:
            self._late_since = None
            clock.wait(self._read_loop.stop, -behind)
            return True
        if self._late_since is None:
            self._late_since = now
        if now - self._late_since < _SKIP_AT_MOST:
            return False
        self._slip += behind
        self._late_since = None
        return True
