"""What a reader does with its source: live video as it arrives, files at their own time stamps."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from streamer.capture.address import Kind
from streamer.capture.intake import Intake
from streamer.capture.late_frames import LateFrames
from streamer.capture.media_times import MediaTimes
from streamer.capture.reader import Reader
from streamer.capture.source import OpenedSource, open_source
from streamer.config import CameraConfig, CaptureConfig, Pace
from streamer.errors import SourceLostError, SourceOpenError
from streamer.system.clock import Clock

_DEVICE_OPEN = 30.0  # seconds; a webcam under Windows may take twenty
_SLOW_DEVICES = not sys.platform.startswith("linux")
_LUMPS = 10.0  # seconds between two segments of HLS
_MOST_PATIENCE = 20.0  # seconds for a first picture, where key frames are rare
_STALLED = 0.75  # parts of read_timeout
_LATE = 0.5  # seconds a file may be behind its time before frames are skipped
_SKIP_AT_MOST = 2.0  # seconds of skipping; a machine that cannot even decode in time plays slower instead
_RELEASE = 5.0  # seconds a handle may take to close


@dataclass
class Session:
    """What the readers of one camera share, one after the other."""

    config: CameraConfig
    capture: CaptureConfig
    kind: Kind
    pace: Pace
    loop: bool
    clock: Clock
    intake: Intake
    stop: threading.Event
    frame_came: Callable[[], None]  # after each frame, outside native calls
    patience: float = 0.0  # native read time-out, seconds

    def __post_init__(self) -> None:
        self.patience = self.capture.read_timeout
        if self.kind is Kind.HLS or (self.kind is Kind.FILE):
            self.patience = max(self.patience, _LUMPS)

    @property
    def open_limit(self) -> float:
        """Seconds after which an open counts as hung: the native deadline comes first where there is one."""
        limit = _DEVICE_OPEN if self.kind is Kind.DEVICE and _SLOW_DEVICES else 0.0
        return max(limit, self.capture.open_timeout + 4.0)

    @property
    def stall_limit(self) -> float:
        """Seconds without a frame after which a camera is shown as stalled, before its handle is given up."""
        return _STALLED * (_LUMPS if self.kind is Kind.HLS else self.capture.read_timeout)

    @property
    def read_limit(self) -> float:
        """Seconds after which a read counts as hung."""
        if self.kind in (Kind.HLS, Kind.FILE):
            return 2 * self.patience + 1.0
        return 2 * self.capture.read_timeout + 1.0

    def play(self, reader: Reader) -> None:
        """The body of a reader: open, read to the end, release. Returns at a regular end or a stop.

        Raises SourceOpenError and SourceLostError.
        """
        if self.kind is Kind.FILE:
            _play_file(self, reader)
        else:
            _play_live(self, reader)


class _Handle:
    """A source that is opened and released on this thread, whatever happens in between."""

    def __init__(self, session: Session, reader: Reader) -> None:
        self._session = session
        self._reader = reader
        self._source: OpenedSource | None = None

    def __enter__(self) -> OpenedSource:
        session = self._session
        try:
            with self._reader.native("open", session.open_limit):
                self._source = open_source(session.config, session.capture, session.patience)
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


def _play_live(session: Session, reader: Reader) -> None:
    with _Handle(session, reader) as source:
        session.intake.begin()
        paced = MediaTimes(source.fps) if source.kind is Kind.HLS else None
        stamped = source.kind in (Kind.RTSP, Kind.RTMP)  # others have no time stamps of their own
        late = LateFrames(source.probed) if stamped else None
        base: float | None = None
        first = True
        while not session.stop.is_set():
            began = time.monotonic()
            with reader.native("read", session.read_limit if not first else session.patience + 2.0):
                ok = source.grab()
                captured = session.clock.monotonic()
                stamp = source.position() if ok else 0.0
            took = time.monotonic() - began
            # After a time-out FFmpeg may hand out one parked frame; the handle is dead all the same.
            timed_out = took >= 0.95 * session.patience and source.kind is not Kind.DEVICE
            if not ok or timed_out:
                raise _loss(session, source, first, took)
            first = False
            if paced is not None:
                base, captured = _pace_lumps(session, base, paced.next(stamp))
            session.intake.arrived(captured)
            if late is not None and late.is_old(stamp, captured):
                session.intake.drop("late")
            elif session.intake.wants(captured):
                with reader.native("read", session.read_limit):
                    image = source.retrieve()
                session.intake.take(image, captured, captured, None)
            session.frame_came()


def _pace_lumps(session: Session, base: float | None, media: float) -> tuple[float, float]:
    """HLS comes a segment at a time: wait until this frame's turn. Returns the base and the time now."""
    now = session.clock.monotonic()
    if base is None or now - (base + media) > _LATE:
        base = now - media
    session.clock.wait(session.stop, base + media - now)
    return base, session.clock.monotonic()


def _loss(
    session: Session, source: OpenedSource, first: bool, took: float
) -> SourceOpenError | SourceLostError:
    name, place = session.config.name, source.place
    silent = took >= 0.9 * session.capture.read_timeout
    if first and silent:
        # Some cameras send a key frame every ten seconds only: be more patient the next time.
        session.patience = min(2 * session.patience, max(_MOST_PATIENCE, session.patience))
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


def _play_file(session: Session, reader: Reader) -> None:
    base: float | None = None
    while True:
        with _Handle(session, reader) as source:
            session.intake.begin()
            if base is None:
                base = session.clock.monotonic()
            times = MediaTimes(source.fps)
            _play_once(session, reader, source, times, base)
        if session.stop.is_set():
            return
        if times.last is None:
            raise SourceOpenError(
                f"camera {session.config.name}: {source.place} holds no picture that can be decoded", "codec"
            )
        if not session.loop:
            return
        base += times.last + times.step


def _play_once(
    session: Session, reader: Reader, source: OpenedSource, times: MediaTimes, base: float
) -> None:
    pacer = _Pacer(session) if session.pace is Pace.REALTIME else None
    while not session.stop.is_set():
        with reader.native("read", session.read_limit):
            ok = source.grab()
            stamp = source.position() if ok else 0.0
        if not ok:
            return
        media = times.next(stamp)
        on_time = pacer is None or pacer.wait(base + media)
        captured = session.clock.monotonic()
        session.intake.arrived(captured)
        if not on_time:
            session.intake.drop("late")
        elif session.intake.wants(media):
            with reader.native("read", session.read_limit):
                image = source.retrieve()
            session.intake.take(image, base + media, captured, media)
        session.frame_came()


class _Pacer:
    """Holds each frame of a file until its time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._slip = 0.0  # seconds by which a too slow machine plays late
        self._late_since: float | None = None

    def wait(self, due: float) -> bool:
        """Wait until `due`, monotonic seconds; False for a frame to skip because its time is over."""
        clock = self._session.clock
        now = clock.monotonic()
        behind = now - due - self._slip
        if behind <= _LATE:
            self._late_since = None
            clock.wait(self._session.stop, -behind)
            return True
        if self._late_since is None:
            self._late_since = now
        if now - self._late_since < _SKIP_AT_MOST:
            return False
        self._slip += behind
        self._late_since = None
        return True
