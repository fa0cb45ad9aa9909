"""One camera's pictures, and what becomes of them: on the recorder's thread alone."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from streamer.config import RecordingConfig
from streamer.recording import event_spans_in_clip, files, pixels
from streamer.recording.followed_people import SeenPerson
from streamer.recording.h264_encoder import EncodedClip, H264Encoder, Packet, Shape, fitted
from streamer.recording.overlay import draw, draw_people
from streamer.recording.pixels import Image
from streamer.recording.recent_pictures import KeptPicture, RecentPictures
from streamer.types import Event

log = logging.getLogger(__name__)

LAG = 10.0  # seconds a model may be behind its camera without costing pre-roll
PATIENCE = 2.0  # seconds without pictures after which a clip ends with what there is
SNAPSHOT_EVERY = 1.0  # least seconds between two writes of one event's snapshot
FARTHEST = 2.0  # seconds between the peak and the picture that stands for it
MB = 1_000_000

WriteFile = Callable[[Path, bytes | EncodedClip], bool]


@dataclass(slots=True)
class Burst:
    """Events that follow each other closely, and their one clip. Times as in EventRecording."""

    start: float  # of the clip
    limit: float  # the clip ends here at the latest
    recordings: list[EventRecording]  # of its events, in order
    open_events: set[str]
    end: float = 0.0  # of the clip, as far as known: it may not be over while an event is open
    patience: float = 0.0  # monotonic: no longer is waited for pictures

    @property
    def until(self) -> float:
        """Where the clip ends, by all that is known."""
        return self.limit if self.open_events else min(self.limit, self.end)


@dataclass(slots=True)
class EventRecording:
    """What is recorded of one event. Times are the camera's time line, deadlines monotonic seconds."""

    event: Event
    snapshot: Path
    clip: Path
    ended: bool = False
    best: KeptPicture | None = None  # at the peak so far
    unwritten: bool = False  # `best` is newer than the file
    written: float = -math.inf  # monotonic: when the snapshot was last handed to the disk
    burst: Burst | None = None  # while its clip is not finished


class CameraRecorder:
    """Keeps a camera's newest pictures, encodes them while events are recorded, and hands on what is done.

    `name`: label -> what people call it. `people`: who is drawn into the picture of a time. `counts` is the
    recorder's.
    """

    def __init__(
        self,
        camera: str,
        folder: Path,
        config: RecordingConfig,
        write_file: WriteFile,
        counts: Counter[str],
        name: Callable[[str], str],
        people: Callable[[float], Sequence[SeenPerson]] = lambda time: (),
    ) -> None:
        self.camera = camera
        self._people = people
        self._folder, self._config, self._counts, self._name = folder, config, counts, name
        self._write_file = write_file
        self._pictures = RecentPictures(config.pre_roll + LAG)
        self._encoder: H264Encoder | None = None
        self._next = 0  # number of the picture that is encoded next
        self._encoded_until = -math.inf  # time of the last encoded one
        self._recordings: dict[str, EventRecording] = {}
        self._bursts: list[Burst] = []  # whose clips are not finished, the eldest first
        self._most = int(config.memory_mb * MB)

    @property
    def bytes(self) -> int:
        """Of compressed pictures in memory."""
        return self._pictures.bytes + (self._encoder.bytes if self._encoder else 0)

    @property
    def behind(self) -> bool:
        """Pictures wait to be encoded."""
        return self._is_encoding and bool(self._pictures.since(self._next, 1))

    @property
    def _is_encoding(self) -> bool:
        return bool(self._bursts)

    # ---- what comes in

    def picture(self, image: Image, time: float) -> None:
        """A new picture, uint8 BGR (H, W, 3), at `time` of the time line."""
        if not self._config.snapshots:
            image = pixels.scaled(image, self._config.max_height)
        self._pictures.add(time, pixels.encode_jpeg(image, self._config.quality))
        held = sum(len(recording.best.jpeg) for recording in self._recordings.values() if recording.best)
        room = self._most - held - (self._encoder.bytes if self._encoder else 0)
        self._counts["memory"] += self._pictures.shrink(max(room, self._most // 4))

    def begin(self, event: Event) -> None:
        """An event has started."""
        at = event.started.wall
        snapshot = files.place(self._folder, self.camera, event.id, at, files.SNAPSHOT)
        clip = files.place(self._folder, self.camera, event.id, at, files.CLIP)
        self._recordings[event.id] = recording = EventRecording(event, snapshot, clip)
        if not self._config.clips:
            return
        burst = self._bursts[-1] if self._bursts else None
        if burst is None or event.started.time > burst.limit - self._config.post_roll:
            burst = self._new_burst(event)
        burst.recordings.append(recording)
        burst.open_events.add(event.id)
        recording.burst = burst

    def _new_burst(self, event: Event) -> Burst:
        start = event.started.time - self._config.pre_roll
        if not self._is_encoding:
            self._next = self._pictures.first_at(start)
            self._encoded_until = -math.inf
        burst = Burst(start, start + self._config.max_clip, [], set())
        self._bursts.append(burst)
        return burst

    def peak(self, event_id: str, time: float) -> None:
        """An event has never had a higher score than at `time`."""
        recording, kept = self._recordings.get(event_id), self._pictures.nearest(time)
        if recording is None or not self._config.snapshots:
            return
        if kept is None or abs(kept.time - time) > FARTHEST:
            self._counts["late"] += 1
        elif kept is not recording.best:
            recording.best, recording.unwritten = kept, True

    def end(self, event: Event, now: float) -> None:
        """An event has ended; `now` is monotonic seconds."""
        if (recording := self._recordings.get(event.id)) is None:
            return
        ended = event.ended or event.decided
        recording.event, recording.ended = event, True
        if (burst := recording.burst) is not None:
            burst.open_events.discard(event.id)
            burst.end = max(burst.end, ended.time + self._config.post_roll)
            burst.patience = max(burst.patience, now + self._config.post_roll + PATIENCE)

    # ---- what is done

    def work(self, now: float, pictures: int) -> None:
        """Encode up to `pictures` pictures, and hand on what is finished."""
        if self._is_encoding:
            for kept in self._pictures.since(self._next, pictures):
                self._encode(kept)
        for burst in [burst for burst in self._bursts if self._over(burst, now)]:
            self._finish(burst)
        for recording in list(self._recordings.values()):
            self._snapshot(recording, now)
            if recording.ended and recording.burst is None:
                del self._recordings[recording.event.id]
        self._forget()

    def close(self, until: Callable[[], bool]) -> None:
        """Finish everything with what there is; encode what waits until `until()` is true."""
        while self.behind and not until():
            self.work(-math.inf, 1)
        for recording in list(self._recordings.values()):
            recording.written = -math.inf
            self._snapshot(recording, 0.0)
        for burst in list(self._bursts):
            self._finish(burst)
        self._recordings.clear()
        self._encoder = None

    def _snapshot(self, recording: EventRecording, now: float) -> None:
        due = recording.ended or now - recording.written >= SNAPSHOT_EVERY
        if recording.best is None or not recording.unwritten or not due:
            return
        jpeg = recording.best.jpeg
        people = self._people(recording.best.time)
        if self._config.overlay or people:
            image = pixels.decode_jpeg(jpeg)
            draw_people(image, people, self._name)
            if self._config.overlay:
                draw(image, [self._names_of(recording)])
            jpeg = pixels.encode_jpeg(image, self._config.quality)
        recording.unwritten, recording.written = False, now
        self._write_file(recording.snapshot, jpeg)

    def _over(self, burst: Burst, now: float) -> bool:
        """A clip has all it can have."""
        if self._encoded_until >= burst.until:
            return True
        if not burst.open_events and now >= burst.patience:  # the camera gives nothing more
            return not self.behind
        full = self._encoder is not None and self._encoder.bytes > self._most // 2
        return full and burst is self._bursts[0]

    def _finish(self, burst: Burst) -> None:
        self._bursts.remove(burst)
        for recording in self._recordings.values():
            if recording.burst is burst:
                recording.burst = None
        packets = self._encoder.between(burst.start, burst.until) if self._encoder else []
        first, *others = [recording.clip for recording in burst.recordings]
        if self._encoder is None or not packets:
            self._counts["empty"] += 1
            log.info("recording: no picture of camera %s for %s", self.camera, first.name)
            return
        wanted = math.inf if burst.open_events else burst.end
        cut = self._encoded_until < wanted or wanted > burst.limit
        if cut:
            self._counts["cut"] += 1
            log.info("recording: clip %s of %s is cut", first.name, self.camera)
        comment = "cut short" if cut else ""
        told = self._title(burst), comment, event_spans_in_clip.description(_spans(burst, packets))
        self._write_file(first, EncodedClip(self._encoder.shape, packets, *told, tuple(others)))

    def _title(self, burst: Burst) -> str:
        events = [recording.event for recording in burst.recordings]
        at = datetime.fromtimestamp(events[0].started.wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        names = ", ".join(self._name(label) for label in dict.fromkeys(event.label for event in events))
        title = f"{names}, {self.camera}, {at}"
        return "".join(c if c.isprintable() else "?" for c in title)  # what a file's header can hold

    def _encode(self, kept: KeptPicture) -> None:
        self._counts["skipped"] += max(0, kept.index - self._next) if self._encoder else 0
        self._next, self._encoded_until = kept.index + 1, kept.time
        image = pixels.decode_jpeg(kept.jpeg)
        if self._encoder is None:
            width, height = fitted(image.shape[1], image.shape[0], self._config.max_height)
            self._encoder = H264Encoder(Shape(width, height, self._config.fps))
        image = pixels.resized(image, self._encoder.shape.width, self._encoder.shape.height)
        people = self._people(kept.time)
        if self._config.overlay or people:
            image = image if image.flags.writeable else image.copy()
            draw_people(image, people, self._name)
            if self._config.overlay:
                draw(image, self._names_at(kept.time))
        self._encoder.add(pixels.to_i420(image), kept.time)

    def _names_at(self, time: float) -> Sequence[tuple[str, str]]:
        """The labels of the events that go on at a time."""
        found = []
        for recording in self._recordings.values():
            ended = recording.event.ended
            if recording.event.started.time <= time and (ended is None or time <= ended.time):
                found.append(self._names_of(recording))
        return found

    def _names_of(self, recording: EventRecording) -> tuple[str, str]:
        return self._name(recording.event.label), recording.event.label

    def _forget(self) -> None:
        """Drop encoded pictures that no clip needs."""
        if self._encoder is None:
            return
        starts = [burst.start for burst in self._bursts]
        if not starts:
            self._encoder = None
        else:
            self._encoder.forget(min([*starts, self._encoded_until - self._config.pre_roll - LAG]))


def _spans(burst: Burst, packets: Sequence[Packet]) -> dict[str, event_spans_in_clip.Span]:
    """Where a burst's events are in its clip; one that goes on lasts as long as that."""
    first, last = packets[0].time, packets[-1].time
    found = {}
    for recording in burst.recordings:
        event = recording.event
        ended = last if event.ended is None else event.ended.time
        begin, end = (min(max(at, first), last) - first for at in (event.started.time, ended))
        found[event.id] = begin, max(begin, end)
    return found
