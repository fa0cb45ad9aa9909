"""One supervised camera: opens its source, reads it, notices when it fails, and opens it again.

Two threads: `camera-<name>` supervises and never makes a native call; `camera-<name>-reader` opens, reads and
releases one handle. A native call that outlives its limit is left behind with its thread (daemon, counted,
at most `MOST_ABANDONED` at a time) and a new reader takes over.

    connecting -> running -> stalled -> reconnecting -> running ... -> ended | failed
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from streamer.capture.address import Kind, kind_of
from streamer.capture.frame_delivery import FrameDelivery, Image
from streamer.capture.frozen_picture_check import PictureCheck
from streamer.capture.read_loop import ReadLoop
from streamer.capture.reader_thread import Reader
from streamer.config import CameraConfig, CaptureConfig, Pace
from streamer.errors import UNMENDABLE, SourceError, SourceLostError, SourceOpenError
from streamer.system.backoff import Backoff
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.system.redaction import redact
from streamer.types import CameraState, CameraStatus, Frame

log = logging.getLogger(__name__)

MOST_ABANDONED = 3  # hung native calls left behind by one camera before it stops opening more
_CHECK_EVERY = 0.2  # seconds between two checks of the reader
_STOP_GRACE = 1.0  # seconds a reader gets to finish after stop()
_STARTING = frozenset({"not_found", "codec"})  # but these may pass while a camera starts up
_FINAL = frozenset({CameraState.ENDED, CameraState.FAILED})


class Camera:
    """A camera as the program uses it. Thread-safe.

    `reduce` turns uint8 BGR (H, W, 3), the region cut out, into uint8 RGB (h, w, 3). `deliver(frame)`
    returns False when the frame was not stored (counted as dropped "refused"); with `Pace.FAST` it may
    block. `rate`: frames a second worth keeping, None = all; the others are counted as dropped "rate".
    `on_status` gets a snapshot on every change, never two at once; it must not block.

    A live source is tried again for ever; a file ends (`ended`), or fails for good (`failed`). Black, grey
    and frozen pictures are looked for in live sources only: a film may hold still.

    `on_picture` gets each good picture, full size, with its time on the time line, on the reader's thread.
    """

    def __init__(
        self,
        config: CameraConfig,
        *,
        reduce: Callable[[Image], Image],
        deliver: Callable[[Frame], bool],
        capture: CaptureConfig,
        pace: Pace,
        loop: bool,
        on_status: Callable[[CameraStatus], None],
        rate: float | None = None,
        clock: Clock = SYSTEM_CLOCK,
        on_picture: Callable[[Image, float], None] | None = None,
    ) -> None:
        self.config = config
        self._capture = capture
        self._clock = clock
        self._on_status = on_status
        self._unusable: SourceOpenError | None = None
        try:
            kind = kind_of(config)
        except SourceOpenError as error:
            self._unusable, kind = error, Kind.FILE
        self.live = kind.live
        check = PictureCheck(capture.frozen_after) if kind.live else None
        delivery = FrameDelivery(config, reduce, deliver, clock, rate, check, on_picture)
        self._delivery = delivery
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._read_loop = ReadLoop(
            config, capture, kind, pace, loop, clock, delivery, self._stop, self._frame_came
        )
        self._backoff = Backoff(capture.retry_min, capture.retry_max)
        self._lock = threading.Lock()
        self._state = CameraState.CONNECTING
        self._since = clock.wall()
        self._detail = ""
        self._code: str | None = None
        self._reconnects = 0
        self._ran_since: float | None = None  # monotonic; first frame of this handle
        self._shown: tuple[object, ...] = ()
        self._outbox: deque[CameraStatus] = deque()
        self._publishing = threading.Lock()
        self._left_behind: list[Reader] = []
        self._reader: Reader | None = None
        self._thread = threading.Thread(target=self._run, name=f"camera-{config.name}", daemon=True)

    # -- what others call ----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end; returns at once."""
        self._stop.set()
        self._wake.set()

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the end; True if nothing is left but abandoned native calls."""
        if self._thread.ident is None:
            return True
        self._thread.join(max(0.0, timeout))
        reader = self._reader
        return not self._thread.is_alive() and (reader is None or reader.done.is_set() or reader.abandoned)

    @property
    def status(self) -> CameraStatus:
        """A snapshot."""
        with self._lock:
            return self._snapshot()

    @property
    def finished(self) -> bool:
        """The state is final: `ended` or `failed`."""
        return self._state in _FINAL

    @property
    def abandoned(self) -> int:
        """Native calls that hang now and were left behind."""
        self._left_behind = [reader for reader in self._left_behind if not reader.done.is_set()]
        return len(self._left_behind)

    @property
    def readers(self) -> tuple[int, int]:
        """(reading threads that are alive, of these left behind in a native call that hangs); any thread."""
        reader, left = self._reader, list(self._left_behind)
        hanging = sum(not one.done.is_set() for one in left)
        current = reader is not None and reader not in left and not reader.done.is_set()
        return hanging + current, hanging

    def newest_picture(self) -> tuple[Image, float] | None:
        """The newest converted picture, full size, uint8 BGR (H, W, 3), and its time on the time line; None
        before the first.
        """
        return self._delivery.newest_picture

    # -- the supervising thread ------------------------------------------------------------------------

    def _run(self) -> None:
        state, detail, code = CameraState.ENDED, "stopped", None
        try:
            self._set(CameraState.CONNECTING)
            state, detail, code = self._supervise()
        except Exception as error:  # the thread's top
            log.exception("camera %s: its supervisor failed", self.config.name)
            state, detail, code = CameraState.FAILED, f"internal error ({type(error).__name__})", "unknown"
        finally:
            self._set(state, detail, code)

    def _supervise(self) -> tuple[CameraState, str, str | None]:
        if self._unusable is not None:
            return CameraState.FAILED, self._for_people(self._unusable), self._unusable.code
        while not self._stop.is_set():
            error = self._run_reader()
            if self._stop.is_set():
                break
            if error is None and not self.live:
                return CameraState.ENDED, "end of the file", None
            if error is None:
                error = SourceLostError(f"camera {self.config.name}: the stream ended", "lost")
            if not self.live:
                return CameraState.FAILED, self._for_people(error), error.code
            self._wait_for_next_try(error)
        return CameraState.ENDED, "stopped", None

    def _run_reader(self) -> SourceError | None:
        """One handle's life. None: it ended regularly."""
        if self.abandoned >= MOST_ABANDONED:
            return SourceLostError(
                f"camera {self.config.name}: {self.abandoned} calls into its driver hang; "
                "no more are made until one returns",
                "timeout",
            )
        self._ran_since = None
        self._wake.clear()
        reader = Reader(f"camera-{self.config.name}-reader", self._read_loop.run, self._wake)
        self._reader = reader
        reader.start()
        error = self._watch(reader)
        if isinstance(error, SourceError) or error is None:
            return error
        log.error("camera %s: its reader failed", self.config.name, exc_info=error)
        text = redact(f"{type(error).__name__}: {error}")
        return SourceLostError(f"camera {self.config.name}: internal error ({text})", "unknown")

    def _watch(self, reader: Reader) -> BaseException | None:
        """Wait until the reader is done or has to be given up."""
        stopped_at: float | None = None
        while not reader.done.is_set():
            # Native calls take real time, whatever clock is injected.
            self._wake.wait(_CHECK_EVERY)
            self._wake.clear()
            if self._stop.is_set():
                stopped_at = time.monotonic() if stopped_at is None else stopped_at
                if time.monotonic() - stopped_at > _STOP_GRACE:
                    if reader.abandon():
                        self._left_behind.append(reader)
                    return None
                continue
            call = reader.in_call()
            if call is not None and call[0] == "read" and call[1] > self._read_loop.stall_limit:
                self._stalled()
            hung = reader.overdue()
            if hung is not None and reader.abandon():
                self._left_behind.append(reader)
                return SourceLostError(
                    f"camera {self.config.name}: its {hung} hangs and was left behind; "
                    "look at the device, the drive or the network it is on",
                    "timeout",
                )
        return reader.error

    def _wait_for_next_try(self, error: SourceError) -> None:
        now = self._clock.monotonic()
        if self._ran_since is not None:
            self._reconnects += 1
            if now - self._ran_since >= self._capture.healthy_after:
                self._backoff.reset()
        # A webcam that is not there may be plugged in any moment, and looking costs nothing. A camera that
        # starts up answers before it has video: that its video or path is wrong must be seen twice.
        certain = error.code not in _STARTING or error.code == self._code
        slow = error.code in UNMENDABLE and certain and self._read_loop.kind is not Kind.DEVICE
        wait = self._backoff.next(slow)
        been = self._ran_since is not None or self._state is not CameraState.CONNECTING
        state = CameraState.RECONNECTING if been else CameraState.CONNECTING
        level = logging.DEBUG if self._code == error.code else logging.WARNING
        log.log(level, "%s", error)
        soon = f"; next try in {wait:.1f} s" if wait < 2 else f"; next try in {wait:.0f} s"
        if self._capture.give_up and error.code in UNMENDABLE and not self._delivery.counts.captured:
            soon = ""  # the run ends, unless another camera can still be had
        self._set(state, self._for_people(error) + soon, error.code)
        self._clock.wait(self._stop, wait)

    def _for_people(self, error: SourceError) -> str:
        """The error's line without the camera's name, which every status has anyway."""
        return str(error).removeprefix(f"camera {self.config.name}: ")

    # -- state ---------------------------------------------------------------------------------------

    def _frame_came(self) -> None:
        """On the reader's thread, after each frame."""
        if self._stop.is_set():
            return  # the last word is the supervisor's
        if self._state is not CameraState.RUNNING:
            if self._ran_since is None:
                self._ran_since = self._clock.monotonic()
            log.info("camera %s is running", self.config.name)
            self._set(CameraState.RUNNING)
            return
        if self._delivery.picture_state != self._shown:
            self._publish()

    def _stalled(self) -> None:
        if self._state is CameraState.RUNNING:
            self._set(CameraState.STALLED, f"no frame for {self._read_loop.stall_limit:.1f} s", "timeout")

    def _set(self, state: CameraState, detail: str = "", code: str | None = None) -> None:
        with self._lock:
            if state is not self._state or not self._shown:
                self._since = self._clock.wall()
            self._state, self._detail, self._code = state, detail, code
        self._publish()

    def _publish(self) -> None:
        """Hand a snapshot to `on_status`: in order, one at a time, and never while holding the lock."""
        with self._lock:
            self._shown = self._delivery.picture_state
            self._outbox.append(self._snapshot())
        while self._outbox and self._publishing.acquire(blocking=False):
            try:
                while self._outbox:
                    self._on_status(self._outbox.popleft())
            except Exception:  # a sink's edge: reported, and the camera goes on
                log.exception("camera %s: its status could not be handed on", self.config.name)
            finally:
                self._publishing.release()

    def _snapshot(self) -> CameraStatus:
        counts = self._delivery.counts
        running = self._state is CameraState.RUNNING
        return CameraStatus(
            camera=self.config.name,
            state=self._state,
            since=self._since,
            detail=self._detail,
            code=self._code,
            fps=counts.fps if running else None,
            width=counts.width,
            height=counts.height,
            picture=counts.picture,
            captured=counts.captured,
            stored=counts.stored,
            dropped=counts.dropped,
            reconnects=self._reconnects,
            newest=counts.newest,
        )
