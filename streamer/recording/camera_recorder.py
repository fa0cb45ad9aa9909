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
from streamer.recording import files, pixels
from streamer.recording.h264_encoder import Film, Reel, Shape, fitted
from streamer.recording.overlay import draw
from streamer.recording.pixels import Image
from streamer.recording.recent_pictures import Still, Stills
from streamer.types import Event

log = logging.getLogger(__name__)

LAG = 10.0  # seconds a model may be behind its camera without costing pre-roll
PATIENCE = 2.0  # seconds without pictures after which a clip ends with what there is
SNAPSHOT_EVERY = 1.0  # least seconds between two writes of one event's snapshot
FARTHEST = 2.0  # seconds between the peak and the picture that stands for it
MB = 1_000_000

Put = Callable[[Path, bytes | Reel], bool]


@dataclass(slots=True)
class Take:
    """What is recorded of one event. Times are the camera's time line, deadlines monotonic seconds."""

    event: Event
    snapshot: Path
    clip: Path
    start: float  # of the clip
    limit: float  # the clip ends here at the latest
    end: float = math.inf  # of the clip, once known
    patience: float = math.inf  # monotonic: no longer is waited for pictures
    best: Still | None = None  # at the peak so far
    unwritten: bool = False  # `best` is newer than the file
    written: float = -math.inf  # monotonic: when the snapshot was last handed to the disk
    filming: bool = False  # its clip is not finished


class Studio:
    """Keeps a camera's newest pictures, encodes them while events are recorded, and hands on what is done.

    `name`: label -> what people call it. `counts` is the recorder's.
    """

    def __init__(
        self,
        camera: str,
        folder: Path,
        config: RecordingConfig,
        put: Put,
        counts: Counter[str],
        name: Callable[[str], str],
    ) -> None:
        self.camera = camera
        self._folder, self._config, self._put, self._counts, self._name = folder, config, put, counts, name
        self._stills = Stills(config.pre_roll + LAG)
        self._film: Film | None = None
        self._next = 0  # number of the still that is encoded next
        self._filmed = -math.inf  # time of the last encoded one
        self._takes: dict[str, Take] = {}
        self._most = int(config.memory_mb * MB)

    @property
    def bytes(self) -> int:
        """Of compressed pictures in memory."""
        return self._stills.bytes + (self._film.bytes if self._film else 0)

    @property
    def behind(self) -> bool:
        """Pictures wait to be encoded."""
        return self._filming and bool(self._stills.since(self._next, 1))

    @property
    def _filming(self) -> bool:
        return any(take.filming for take in self._takes.values())

    # ---- what comes in

    def picture(self, image: Image, time: float) -> None:
        """A new picture, uint8 BGR (H, W, 3), at `time` of the time line."""
        if not self._config.snapshots:
            image = pixels.scaled(image, self._config.max_height)
        self._stills.add(time, pixels.encode_jpeg(image, self._config.quality))
        held = sum(len(take.best.jpeg) for take in self._takes.values() if take.best)
        room = self._most - held - (self._film.bytes if self._film else 0)
        self._counts["memory"] += self._stills.shrink(max(room, self._most // 4))

    def begin(self, event: Event) -> None:
        """An event has started."""
        at = event.started.wall
        start = event.started.time - self._config.pre_roll
        take = Take(
            event,
            files.place(self._folder, self.camera, event.id, at, files.SNAPSHOT),
            files.place(self._folder, self.camera, event.id, at, files.CLIP),
            start,
            start + self._config.max_clip,
            filming=self._config.clips,
        )
        if take.filming and not self._filming:
            self._next = self._stills.first_at(start)
            self._filmed = -math.inf
        self._takes[event.id] = take

    def peak(self, event_id: str, time: float) -> None:
        """An event has never had a higher score than at `time`."""
        take, still = self._takes.get(event_id), self._stills.nearest(time)
        if take is None or not self._config.snapshots:
            return
        if still is None or abs(still.time - time) > FARTHEST:
            self._counts["late"] += 1
        elif still is not take.best:
            take.best, take.unwritten = still, True

    def end(self, event: Event, now: float) -> None:
        """An event has ended; `now` is monotonic seconds."""
        if (take := self._takes.get(event.id)) is None:
            return
        ended = event.ended or event.decided
        take.event = event
        take.end = min(take.limit, ended.time + self._config.post_roll)
        take.patience = now + self._config.post_roll + PATIENCE

    # ---- what is done

    def work(self, now: float, pictures: int) -> None:
        """Encode up to `pictures` pictures, and hand on what is finished."""
        if self._filming:
            for still in self._stills.since(self._next, pictures):
                self._encode(still)
        for take in list(self._takes.values()):
            self._snapshot(take, now)
            if take.filming and self._over(take, now):
                self._finish(take)
            if take.end < math.inf and not take.filming:
                del self._takes[take.event.id]
        self._forget()

    def close(self, until: Callable[[], bool]) -> None:
        """Finish everything with what there is; encode what waits until `until()` is true."""
        while self.behind and not until():
            self.work(-math.inf, 1)
        for take in list(self._takes.values()):
            take.written = -math.inf
            self._snapshot(take, 0.0)
            if take.filming:
                self._finish(take)
        self._takes.clear()
        self._film = None

    def _snapshot(self, take: Take, now: float) -> None:
        due = take.end < math.inf or now - take.written >= SNAPSHOT_EVERY
        if take.best is None or not take.unwritten or not due:
            return
        jpeg = take.best.jpeg
        if self._config.overlay:
            image = pixels.decode_jpeg(jpeg)
            draw(image, [self._names_of(take)])
            jpeg = pixels.encode_jpeg(image, self._config.quality)
        take.unwritten, take.written = False, now
        self._put(take.snapshot, jpeg)

    def _over(self, take: Take, now: float) -> bool:
        """A clip has all it can have."""
        if self._filmed >= min(take.end, take.limit):
            return True
        if now >= take.patience:  # the camera gives nothing more
            return not self.behind
        return self._film is not None and self._film.bytes > self._most // 2 and take is self._eldest()

    def _eldest(self) -> Take:
        return min((take for take in self._takes.values() if take.filming), key=lambda take: take.start)

    def _finish(self, take: Take) -> None:
        take.filming = False
        stop = min(take.end, take.limit)
        pieces = self._film.between(take.start, stop) if self._film else []
        if self._film is None or not pieces:
            self._counts["empty"] += 1
            log.info("recording: no picture of camera %s for event %s", self.camera, take.event.id)
            return
        cut = self._filmed < take.end or take.end == take.limit
        if cut:
            self._counts["cut"] += 1
            log.info("recording: the clip of event %s of %s is cut", take.event.id, self.camera)
        self._put(take.clip, Reel(self._film.shape, pieces, self._title(take), "cut short" if cut else ""))

    def _title(self, take: Take) -> str:
        at = datetime.fromtimestamp(take.event.started.wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        title = f"{self._name(take.event.label)}, {self.camera}, {at}"
        return "".join(c if c.isprintable() else "?" for c in title)  # what a file's header can hold

    def _encode(self, still: Still) -> None:
        self._counts["skipped"] += max(0, still.index - self._next) if self._film else 0
        self._next, self._filmed = still.index + 1, still.time
        image = pixels.decode_jpeg(still.jpeg)
        if self._film is None:
            width, height = fitted(image.shape[1], image.shape[0], self._config.max_height)
            self._film = Film(Shape(width, height, self._config.fps))
        image = pixels.resized(image, self._film.shape.width, self._film.shape.height)
        if self._config.overlay:
            image = image if image.flags.writeable else image.copy()
            draw(image, self._names_at(still.time))
        self._film.add(pixels.to_i420(image), still.time)

    def _names_at(self, time: float) -> Sequence[tuple[str, str]]:
        """The labels of the events that go on at a time."""
        found = []
        for take in self._takes.values():
            ended = take.event.ended
            if take.event.started.time <= time and (ended is None or time <= ended.time):
                found.append(self._names_of(take))
        return found

    def _names_of(self, take: Take) -> tuple[str, str]:
        return self._name(take.event.label), take.event.label

    def _forget(self) -> None:
        """Let go of film that no clip needs."""
        if self._film is None:
            return
        starts = [take.start for take in self._takes.values() if take.filming]
        if not starts:
            self._film = None
        else:
            self._film.forget(min([*starts, self._filmed - self._config.pre_roll - LAG]))
