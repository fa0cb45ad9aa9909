"""The people of a lane's cameras: each who is followed has windows and events of their own.

Whom to follow and where they are is known on a camera's thread (`people/person_follower.py`), which gives
their windows frames with boxes; their events are the lane's thread's, as those of whole pictures are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from streamer.config import EventsConfig, FollowConfig
from streamer.events.presence import Presence
from streamer.events.tracker import TRACK_LOST, EventTracker
from streamer.people.kept_frames import KeptFrames
from streamer.people.person_follower import Follower, Gone, Seen
from streamer.people.person_windows import PersonWindows
from streamer.people.shared_windows import SharedWindows
from streamer.pipeline.subjects import result_of, windows_for
from streamer.recognition.inference_thread import InferenceThread
from streamer.recognition.recognizer import Recognizer
from streamer.system.clock import Clock
from streamer.types import Event, Frame, LaneResult, Moment, Prediction, Track
from streamer.windows.window_source import WindowSource


@dataclass(slots=True)
class _Person:
    """One who is followed. `latest` and `gone` are set by the camera's thread, the rest is the lane's."""

    windows: PersonWindows
    presence: Presence | None
    latest: Gone
    tracker: EventTracker | None = None  # from their first prediction on
    gone: Gone | None = None
    newest: Moment | None = None  # of their newest window
    heard_at: float = float("inf")  # monotonic: when that was recognised


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a camera's people."""

    windows: WindowSource  # all of the camera's
    follower: Follower
    follow: FollowConfig
    tracker: Callable[[], EventTracker]  # makes the events of one of them; called on the lane's thread


@dataclass(slots=True)
class _Camera:
    """A camera that follows people."""

    name: str
    windows: SharedWindows
    asked: Asked
    presence: EventsConfig | None
    kept: KeptFrames
    people: dict[int, _Person] = field(default_factory=dict)
    ended: int = 0  # tracks up to this number have ended: their last frames may come after that
    lock: threading.Lock = field(default_factory=threading.Lock)  # guards `people` and `ended`


class LanePeople:
    """All who are followed on a lane's cameras.

    Args:
        recognizer, thread, hop, complete, clock: the lane's.
        top: how many labels messages tell.
        publish: gets what there is to say of them; the lane's thread.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        thread: InferenceThread,
        top: int,
        publish: Callable[[LaneResult], None],
        *,
        hop: float,
        complete: bool,
        clock: Clock,
    ) -> None:
        self._recognizer = recognizer
        self._spec = recognizer.spec
        self._thread = thread
        self._top = top
        self._publish = publish
        self._hop = hop
        self._complete = complete
        self._clock = clock
        self._cameras: dict[str, _Camera] = {}

    def add(self, camera: str, asked: Asked, presence: EventsConfig | None) -> Callable[[Frame, Seen], None]:
        """Follow the people of a camera; returns what its thread calls with each frame.

        `presence`: settings of `present` events; None where another lane says who is present.
        """
        assert isinstance(asked.windows, SharedWindows)
        kept = KeptFrames(self._spec, asked.follow.memory_mb, self._complete)
        one = self._cameras[camera] = _Camera(camera, asked.windows, asked, presence, kept)
        return lambda frame, seen: self._see(one, frame, seen)

    def remove(self, camera: str) -> None:
        """The camera is watched no longer, and its people's events have ended."""
        self._cameras.pop(camera, None)

    # --- on a camera's thread ---

    def _see(self, camera: _Camera, frame: Frame, seen: Seen) -> None:
        now = Moment(frame.time, frame.wall, frame.media_time)
        for gone in seen.gone:
            with camera.lock:
                person = camera.people.get(gone.track.id)
            if person is not None:
                person.gone = gone
                person.windows.close()
                self._thread.notify()
        kept = camera.kept.keep(frame)
        for track in seen.visible:
            person = camera.people.get(track.id) or self._came(camera, track, now)
            if person is None:
                continue
            person.latest = Gone(Track(track.id, camera.asked.follower.place(track.box)), now)
            if kept is not None:
                others = tuple(other.box for other in seen.visible if other.id != track.id)
                person.windows.see(kept, track.box, others)

    def _came(self, camera: _Camera, track: Track, now: Moment) -> _Person | None:
        """Somebody new; None for who ended when the video broke off, which this frame does not know yet."""
        asked, spec = camera.asked, self._spec
        windows = PersonWindows(
            windows_for(spec, camera.name, self._hop, self._complete),
            self._recognizer.reduce,
            asked.follow.margin,
            track.id,
            asked.follower.place,
            streaming=spec.streaming,
        )
        windows.on_ready = self._thread.notify
        rule = camera.presence
        presence = None if rule is None else Presence(camera.name, spec.name, rule, now)
        person = _Person(windows, presence, Gone(track, now))
        with camera.lock:
            if track.id <= camera.ended:
                return None
            camera.people[track.id] = person
        camera.windows.join(windows)
        return person

    # --- on the lane's thread ---

    def predicted(self, prediction: Prediction) -> None:
        """Somebody's window was recognised."""
        track, camera = prediction.track, self._cameras.get(prediction.camera)
        assert track is not None
        person = None if camera is None else camera.people.get(track.id)
        if camera is None or person is None:
            return  # they are gone
        if person.tracker is None:
            person.tracker = camera.asked.tracker()
        newest = prediction.window.frames[-1]
        changes = person.tracker.update(prediction)
        person.newest = Moment(newest.time, newest.wall, newest.media_time)
        person.heard_at = self._clock.monotonic()
        self._tell(prediction.camera, person, track, changes, prediction)

    def look(self) -> None:
        """What time brings: who stays, who is gone, who was not looked at for long."""
        for name, camera in list(self._cameras.items()):
            with camera.lock:
                people = list(camera.people.values())
            for person in people:
                if person.gone is not None and person.windows.finished:
                    self._leave(name, camera, person, person.gone, TRACK_LOST)
                    continue
                changes = []
                latest = person.latest
                if person.presence is not None:
                    changes = person.presence.stays(latest.seen, latest.track)
                silent = self._clock.monotonic() - person.heard_at
                if not self._complete and person.tracker is not None and silent > 0.0:
                    changes += person.tracker.end_silent(silent)
                if changes:
                    self._tell(name, person, latest.track, changes)

    def end(self, camera: str, reason: str) -> None:
        """Nobody is followed there any more: the video broke off, or all ends."""
        one = self._cameras.get(camera)
        if one is None:
            return
        with one.lock:
            people = list(one.people.values())
            one.ended = max(one.people, default=one.ended)
        for person in people:
            person.windows.close()
            gone = person.gone or person.latest
            self._leave(camera, one, person, gone, TRACK_LOST if person.gone else reason)

    def change_labels(self, camera: str, change: Callable[[EventTracker], list[Event]]) -> None:
        """Other words are asked for: `change` is done to everybody's events."""
        one = self._cameras.get(camera)
        if one is None:
            return
        with one.lock:
            people = list(one.people.values())
        for person in people:
            if person.tracker is not None:
                self._tell(camera, person, person.latest.track, change(person.tracker))

    def _leave(self, name: str, camera: _Camera, person: _Person, gone: Gone, reason: str) -> None:
        with camera.lock:
            if camera.people.pop(gone.track.id, None) is None:
                return
        camera.windows.leave(person.windows)
        changes = []
        if person.tracker is not None:
            changes += person.tracker.end_all(gone.seen, reason, gone.track)
        if person.presence is not None:
            changes += person.presence.ends(gone.seen, gone.track, reason)
        self._tell(name, person, gone.track, changes, gone=True)
        self._thread.forget_scores(name, gone.track.id)
        self._recognizer.forget(name, gone.track.id)

    def _tell(
        self,
        camera: str,
        person: _Person,
        track: Track,
        changes: Sequence[Event],
        prediction: Prediction | None = None,
        *,
        gone: bool = False,
    ) -> None:
        if prediction is None and not changes and not gone:
            return
        present = () if person.presence is None else person.presence.open
        self._publish(
            result_of(
                camera,
                self._spec.name,
                person.tracker,
                self._top,
                prediction,
                changes,
                track=track,
                also_open=present,
                gone=gone,
            )
        )
