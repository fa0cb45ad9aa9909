"""The recorder: takes pictures and events from the pipeline, and never makes it wait.

    reader's thread ── picture ──> [a few raw pictures] ──> recorder's thread: JPEG, H.264 ──> disk's thread
    lane's thread ── event, scored ──> [calls] ────────┘

Pictures that come while the recorder is busy push out older ones and are counted (`dropped`); with files
played fast the reader waits instead, as it does for the models.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from streamer.capture.frame_rate import RateChoice
from streamer.config import RecordingConfig
from streamer.recording.camera_recorder import CameraRecorder
from streamer.recording.disk_thread import DiskWriter
from streamer.recording.followed_people import SeenPerson
from streamer.recording.pixels import Image
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.types import Event, Phase, RecordingStats

if TYPE_CHECKING:
    from streamer.types import Prediction

log = logging.getLogger(__name__)

MOST_WAITING = 6  # raw pictures of one camera on their way to the recorder
BATCH = 2  # pictures that are encoded before new ones are looked at
CHECK_EVERY = 0.5  # seconds between two looks at the clock
ENCODING_LEFT = 0.3  # seconds for pictures that wait at the end
REMEMBERED = 16  # windows whose scores tell where an event had its peak before it was decided

PictureReceiver = Callable[[Image, float], None]
QueuedCall = tuple[str, Callable[[], None]]  # camera, what is to be done


class _PictureQueue:
    """One camera's pictures on their way."""

    def __init__(self, rate: float) -> None:
        self.choice = RateChoice(rate)
        self.last = -math.inf
        self.waiting: deque[tuple[Image, float]] = deque()
        self.left = False  # something is wrong with it: nothing more is taken


class Recorder:
    """Pictures of events. What `receiver` gives, `event` and `scored` are for any thread and do not block.

    Args:
        complete: files played fast: a camera waits until its picture has been taken.
        show: camera, picture, time -> what may be shown of it.
        people: camera, time -> who is drawn into that picture.
        name: label -> what people call it.
        note: gets one line when people should know something.
    """

    def __init__(
        self,
        config: RecordingConfig,
        disk: DiskWriter,
        folder: Path,
        *,
        complete: bool = False,
        name: Callable[[str], str] = str,
        note: Callable[[str], None] = log.warning,
        clock: Clock = SYSTEM_CLOCK,
        show: Callable[[str, Image, float], Image] = lambda camera, image, time: image,
        people: Callable[[str, float], Sequence[SeenPerson]] = lambda camera, time: (),
    ) -> None:
        self._people = people
        self._config, self._disk, self._folder, self._clock, self._show = config, disk, folder, clock, show
        self._complete, self._name, self._note = complete, name, note
        self._changed = threading.Condition()
        self._queues: dict[str, _PictureQueue] = {}
        self._calls: deque[QueuedCall] = deque()
        self._closing = False
        self._counts: Counter[str] = Counter()
        self._camera_recorders: dict[str, CameraRecorder] = {}
        self._peaks: dict[str, float] = {}  # event that is recorded -> its peak
        self._scores: dict[tuple[str, str], deque[tuple[float, Mapping[str, float]]]] = {}
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)

    # ---- for the pipeline

    def wants(self, camera: str) -> bool:
        return self._config.cameras is None or camera in self._config.cameras

    def receiver(self, camera: str) -> PictureReceiver:
        """What takes a camera's full-size pictures, uint8 BGR (H, W, 3), with their time on the time line;
        they must not be changed afterwards. A camera that comes again goes on where it was.
        """
        with self._changed:
            queue = self._queues.setdefault(camera, _PictureQueue(self._config.fps))
            if camera not in self._camera_recorders:
                self._camera_recorders[camera] = CameraRecorder(
                    camera, self._folder, self._config, self._disk.put, self._counts, self._name,
                    partial(self._people, camera),
                )  # fmt: skip

        def take(image: Image, time: float) -> None:
            if time < queue.last:
                queue.choice.reset()
            queue.last = time
            if queue.choice.keeps(time):
                self._enqueue_picture(queue, image, time)

        return take

    def start(self) -> None:
        self._disk.start()
        self._thread.start()

    def event(self, event: Event) -> None:
        """One phase of an event."""
        camera_recorder = self._camera_recorders.get(event.camera)
        labels = self._config.labels
        wanted = not event.background if labels is None else event.label in labels
        if camera_recorder is None or not wanted or event.phase is Phase.UPDATE:
            return
        now = self._clock.monotonic()
        if event.phase is Phase.START:
            self._peaks[event.id] = event.peak
            at = self._peak_before(event)
            self._enqueue_call(event.camera, lambda: camera_recorder.begin(event))
            self._enqueue_call(event.camera, lambda: camera_recorder.peak(event.id, at))
        else:
            self._peaks.pop(event.id, None)
            self._enqueue_call(event.camera, lambda: camera_recorder.end(event, now))

    def scored(
        self, prediction: Prediction, smoothed: Mapping[str, float], open_events: Sequence[Event]
    ) -> None:
        """A window's scores, before the events that come of it."""
        camera_recorder = self._camera_recorders.get(prediction.camera)
        if camera_recorder is None or not self._config.snapshots:
            return
        time = prediction.window.frames[-1].time
        past = self._scores.setdefault((prediction.camera, prediction.model), deque(maxlen=REMEMBERED))
        past.append((time, smoothed))
        for event in open_events:
            if event.peak > self._peaks.get(event.id, math.inf):
                self._peaks[event.id] = event.peak
                self._enqueue_call(prediction.camera, partial(camera_recorder.peak, event.id, time))

    def close(self, timeout: float) -> bool:
        """Finish clips with what there is and write them, in `timeout` seconds; False if a thread hangs."""
        until = self._clock.monotonic() + timeout
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout / 2 + ENCODING_LEFT / 2)
        ended = not self._thread.is_alive()
        return self._disk.close(max(0.05, until - self._clock.monotonic())) and ended

    @property
    def stats(self) -> RecordingStats:
        """How it goes; any thread."""
        return RecordingStats(self.counts, self._disk.failing)

    @property
    def counts(self) -> Mapping[str, int]:
        """What was written (clips, snapshots, removed) and what was not: lost (disk), dropped (raw pictures),
        skipped (the encoder was behind), memory (pictures pushed out early), cut, empty, late.
        """
        return {**self._counts, **self._disk.counts}

    # ---- inside

    def _enqueue_picture(self, queue: _PictureQueue, image: Image, time: float) -> None:
        with self._changed:
            while self._complete and len(queue.waiting) >= MOST_WAITING and not (self._closing or queue.left):
                self._changed.wait(CHECK_EVERY)
            if self._closing or queue.left:
                return
            if len(queue.waiting) >= MOST_WAITING:
                queue.waiting.popleft()
                self._counts["dropped"] += 1
            queue.waiting.append((image, time))
            self._changed.notify_all()

    def _enqueue_call(self, camera: str, call: Callable[[], None]) -> None:
        with self._changed:
            if not self._closing:
                self._calls.append((camera, call))
                self._changed.notify_all()

    def _peak_before(self, event: Event) -> float:
        """When an event that is decided now had its highest score."""
        past = self._scores.get((event.camera, event.model), ())
        begun = [(scores.get(event.label, 0.0), time) for time, scores in past if time >= event.started.time]
        return max(begun, default=(0.0, event.decided.time))[1]

    def _run(self) -> None:
        try:
            while not self._process_queues():
                pass
        except Exception as error:  # the thread's top
            log.exception("recording failed")
            self._note(f"events are no longer recorded: {type(error).__name__}: {error}")
        with self._changed:  # nobody may wait for it now
            self._closing = True
            self._changed.notify_all()

    def _process_queues(self) -> bool:
        """Take what came, work on it; True at the end."""
        behind = any(one.behind for one in list(self._camera_recorders.values()))
        with self._changed:
            if not (behind or self._closing or self._calls or any(x.waiting for x in self._queues.values())):
                self._changed.wait(CHECK_EVERY)
            calls, closing = list(self._calls), self._closing
            self._calls.clear()
            # After the calls, so that every picture that a call speaks of is among these.
            pictures = {camera: list(queue.waiting) for camera, queue in self._queues.items()}
            for queue in self._queues.values():
                queue.waiting.clear()
            self._changed.notify_all()
        until = self._clock.monotonic() + ENCODING_LEFT
        for camera, camera_recorder in list(self._camera_recorders.items()):
            try:
                for image, time in pictures.get(camera, ()):
                    camera_recorder.picture(self._show(camera, image, time), time)
                for _, call in (queued for queued in calls if queued[0] == camera):
                    call()
                self._work(camera_recorder)
                if closing:
                    camera_recorder.close(partial(self._is_past, until))
            except Exception as error:  # one camera's edge: reported, and the others go on
                log.exception("recording of camera %s failed", camera)
                self._note(f"events of {camera} are no longer recorded: {type(error).__name__}: {error}")
                self._give_up(camera)
        return closing

    def _is_past(self, until: float) -> bool:
        return self._clock.monotonic() >= until

    def _give_up(self, camera: str) -> None:
        """Take no more pictures of a camera."""
        del self._camera_recorders[camera]
        with self._changed:
            self._queues.pop(camera).left = True
            self._changed.notify_all()

    def _work(self, camera_recorder: CameraRecorder) -> None:
        camera_recorder.work(self._clock.monotonic(), BATCH)
        while self._complete and camera_recorder.behind and not self._closing:
            camera_recorder.work(self._clock.monotonic(), BATCH)
