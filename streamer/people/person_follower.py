"""Follows the people of one camera: asks the detector from time to time, says who is where in each frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from streamer.capture.frame_rate import RateChoice
from streamer.config import FollowConfig
from streamer.people.detector_thread import Looks
from streamer.people.tracking import Tracking
from streamer.types import Box, Frame, Moment, Track, Tracks, whole_of

MISSED = 2.5  # times that, unseen: then nobody knows what they are doing
LEAST_MISSED = 0.5  # seconds
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Gone:
    """Somebody who is followed no more."""

    track: Track  # where they were seen last
    seen: Moment  # and when


@dataclass(frozen=True, slots=True)
class Seen:
    """Who is in a frame. Boxes are parts of the frame, which a camera's region may make less than the
    picture.
    """

    tracks: tuple[Track, ...]  # who is followed, oldest first
    visible: tuple[Track, ...]  # those of them who were found of late: the others' boxes are a guess
    gone: tuple[Gone, ...] = ()


class Follower:
    """One camera's. `see` is called by the camera's thread alone.

    Args:
        camera: its name.
        config: how to follow; its `detector` is loaded already.
        looks: finds people; this follower's own.
        publish: gets `Tracks` after each frame.
        part: which part of the camera's picture its frames show.
    """

    def __init__(
        self,
        camera: str,
        config: FollowConfig,
        looks: Looks,
        publish: Callable[[Tracks], None],
        part: Box = WHOLE,
    ) -> None:
        self._camera = camera
        self._config = config
        self._looks = looks
        self._publish = publish
        self._part = part
        self._every = config.every or looks.every
        self._tracking = Tracking(config.lost_after)
        self._choice = RateChoice(1.0 / self._every)
        self._epoch: int | None = None
        self._size: tuple[int, ...] = ()
        self._lost = False
        self._looked: float | None = None  # time of the newest picture that the detector has looked at
        self._followed: dict[int, Gone] = {}  # id -> when and where they were seen last
        self._left_out: Counter[str] = Counter()
        self._waiting: dict[int, str] = {}  # id -> why they are not followed

    def place(self, box: Box) -> Box:
        """A box of a frame, in the camera's picture."""
        return whole_of(box, self._part)

    def lost(self) -> None:
        """The camera's video broke off: with the next frame everybody is a stranger. Any thread."""
        self._lost = True

    def see(self, frame: Frame) -> Seen:
        """Who is in the next frame, uint8 BGR (H, W, 3)."""
        gone = self._begin(frame)
        if self._choice.keeps(frame.time):
            self._looks.show(frame.image, frame.time, self._tracking.tracks(frame.time))
        for time, found in self._looks.found():
            self._tracking.update(time, found)
            self._looked = time
        now = Moment(frame.time, frame.wall, frame.media_time)
        there = {track.id: track for track in self._tracking.tracks(frame.time)}
        gone += [self._followed.pop(number) for number in [*self._followed] if number not in there]
        self._choose(there, now)
        visible = []
        limit = max(LEAST_MISSED, MISSED * self._every)
        for number in self._followed:
            unseen = self._tracking.unseen(number, frame.time)
            if unseen < limit:
                visible.append(there[number])
            if unseen <= self._every:
                self._followed[number] = Gone(there[number], now)
        tracks = tuple(there[number] for number in self._followed)
        told = tuple(Track(track.id, self.place(track.box)) for track in tracks)
        others = [track.box for number, track in there.items() if number not in self._followed]
        others += self._tracking.unsure(frame.time)
        self._publish(
            Tracks(
                self._camera,
                frame.time,
                frame.epoch,
                told,
                dict(self._left_out),
                tuple(map(self.place, others)),
                self._looked,
            )
        )
        return Seen(tracks, tuple(visible), tuple(gone))

    def _begin(self, frame: Frame) -> list[Gone]:
        """Forget everybody where the video does not go on from the frame before."""
        size = frame.image.shape
        if not self._lost and frame.epoch == self._epoch and size == self._size:
            return []
        self._lost, self._epoch, self._size = False, frame.epoch, size
        self._looked = None
        gone = list(self._followed.values())
        self._followed.clear()
        self._waiting.clear()
        self._tracking.clear()
        self._looks.reset()
        self._choice.reset()
        return gone

    def _choose(self, there: dict[int, Track], now: Moment) -> None:
        """Whom to follow of those who are there: who is followed already, then the oldest track."""
        for number, cause in [*self._waiting.items()]:
            if number not in there:  # they left without ever having been followed
                self._left_out[cause] += 1
                del self._waiting[number]
        for number, track in there.items():
            if number in self._followed:
                continue
            if track.box[3] * self._part[3] < self._config.min_size:
                self._waiting[number] = "small"
            elif len(self._followed) >= self._config.max:
                self._waiting[number] = "max"
            else:
                self._waiting.pop(number, None)
                self._followed[number] = Gone(track, now)
