"""People on a lane: windows and events of each, who leaves, and a camera that loses its picture meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from streamer.config import CameraConfig, EventsConfig, FollowConfig, LabelRule, ModelConfig
from streamer.people.detection import Detection, overlap
from streamer.people.detector_thread import LooksAtOnce
from streamer.people.person_follower import Follower
from streamer.pipeline.fan_out import FanOut
from streamer.pipeline.lane import Lane
from streamer.testing import FakeClock, FakeRecognizer
from streamer.types import Box, Event, Frame, LaneResult, Phase, Track, Tracks, Window

pytestmark = pytest.mark.usefixtures("no_thread_left")

LONGEST = 20.0  # seconds; only a failing test waits so long
AT_ONCE = EventsConfig(half_life=0.0, min_on=0.0, min_off=0.0, merge_gap=0.0)
LEFT, RIGHT = (0.1, 0.2, 0.1, 0.4), (0.7, 0.2, 0.1, 0.4)


class Scripted:
    """Finds what the test says."""

    every = 0.1

    def __init__(self) -> None:
        self.boxes: Sequence[Box] = ()

    def detect(self, image: Any, time: float, followed: Sequence[Track]) -> list[Detection]:
        return [Detection(box, 0.9) for box in self.boxes]

    def reset(self) -> None:
        self.boxes = ()


class Scene:
    """A lane with one camera that follows people, shown ten frames a second by hand; nothing is skipped."""

    def __init__(self, score: Callable[[Window], Any], events: EventsConfig, **follow: Any) -> None:
        self.clock = FakeClock()
        self.results: queue.Queue[LaneResult] = queue.Queue()
        self.recognizer = FakeRecognizer(score)
        self.lane = Lane(
            self.recognizer, ModelConfig(hop=0.2), self.results.put, complete=True, clock=self.clock
        )
        self.detector = Scripted()
        self.tracks: list[Tracks] = []
        config = FollowConfig(detector="moving", **{"lost_after": 1.0, **follow})
        deliver = self.lane.add(CameraConfig(name="one", source=0), events, follows=True)
        looks = LooksAtOnce(self.detector, self.lane.fail)
        self.follower = Follower("one", config, looks, self.tracks.append)
        people = self.lane.follow("one", self.follower, config, says_present=True)
        self.fan = FanOut([(self.lane, deliver)] if config.whole else (), self.follower, [people])
        self.epoch = 0
        self._count = 0

    def show(self, *boxes: Box, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            now = self.clock.monotonic()
            self.detector.boxes = boxes
            image = np.zeros((60, 80, 3), np.uint8)
            image[:, 40:] = 200  # the right half is bright: a window tells whose it is
            image.setflags(write=False)
            self.fan.deliver(Frame("one", self._count, self.epoch, now, now, self.clock.wall(), now, image))
            self._count += 1

    def told(self, until: Callable[[LaneResult], bool]) -> list[LaneResult]:
        """All results up to the first for which this is true."""
        found = [self.results.get(timeout=LONGEST)]
        while not until(found[-1]):
            found.append(self.results.get(timeout=LONGEST))
        return found


@contextmanager
def scene(
    score: Callable[[Window], Any] = lambda _: (0.1, 0.9), events: EventsConfig = AT_ONCE, **follow: Any
) -> Iterator[Scene]:
    one = Scene(score, events, **follow)
    one.lane.thread.start()
    try:
        yield one
    finally:
        one.lane.ask_to_stop()
        assert one.lane.stop(one.clock.monotonic() + LONGEST, "stopped")


def changes(results: Sequence[LaneResult]) -> list[Event]:
    return [event for result in results for event in result.changes]


def is_gone(number: int) -> Callable[[LaneResult], bool]:
    return lambda result: result.gone and result.track is not None and result.track.id == number


def brightness(window: Window) -> tuple[float, float]:
    bright = float(np.mean([frame.image.mean() for frame in window.frames])) > 100
    return (0.1, 0.9) if bright else (0.9, 0.1)


def test_each_has_windows_and_events_of_their_own() -> None:
    with scene(brightness, whole=False) as one:
        one.show(LEFT, RIGHT, seconds=3.0)
        one.show(seconds=2.0)
        results = one.told(is_gone(1)) + one.told(lambda result: result.gone)
    by_track: dict[int, set[str]] = {}
    for event in changes(results):
        assert event.track is not None
        assert event.follows
        by_track.setdefault(event.track.id, set()).add(event.label)
    assert by_track == {1: {"calm", "present"}, 2: {"busy", "present"}}
    ends = [event for event in changes(results) if event.phase is Phase.END]
    assert {event.reason for event in ends} == {"track lost"}
    assert len(ends) == 4


def test_a_square_shows_nobody_else_where_that_can_be() -> None:
    one_box, other = (0.4, 0.2, 0.1, 0.4), (0.55, 0.2, 0.1, 0.4)
    with scene(whole=False) as one:
        one.show(one_box, other, seconds=3.0)
        one.show(seconds=2.0)
        results = one.told(is_gone(1)) + one.told(lambda result: result.gone)
    for number, box, apart in ((1, one_box, other), (2, other, one_box)):
        (part,) = {
            frame.part
            for result in results
            if result.prediction is not None and result.track is not None and result.track.id == number
            for frame in result.prediction.window.frames
        }
        assert part is not None
        inside = part[0] / 80, part[1] / 60, part[2] / 80, part[3] / 60
        assert overlap(inside, box) > 0.95 * box[2] * box[3]
        assert overlap(inside, apart) == 0.0


def test_the_whole_picture_is_a_subject_of_its_own() -> None:
    with scene() as one:
        one.show(LEFT, seconds=3.0)
        results = one.told(lambda result: result.prediction is not None and result.track is None)
    whole = results[-1].prediction
    assert whole is not None
    assert whole.window.follows
    assert whole.window.frames[-1].part is None
    assert results[-1].changes[0].track is None
    assert results[-1].changes[0].follows


def test_a_young_track_waits_for_a_whole_span() -> None:
    with scene(whole=False) as one:
        one.show(LEFT, seconds=2.0)
        first = one.told(lambda result: result.prediction is not None)[-1].prediction
    assert first is not None
    assert len(first.window.frames) == 4
    assert len({frame.part for frame in first.window.frames}) == 1, "one square for all of them"
    assert first.window.frames[0].time >= 1000.0 + 0.3


def test_present_says_how_long_somebody_was_there() -> None:
    rule = AT_ONCE.model_copy(update={"thresholds": {"present": LabelRule(min_on=2.0)}})
    with scene(events=rule, whole=False) as one:
        one.show(LEFT, seconds=1.5)
        one.show(seconds=2.0)
        passing = changes(one.told(is_gone(1)))
        one.show(RIGHT, seconds=5.0)
        one.show(seconds=2.0)
        staying = changes(one.told(is_gone(2)))
    assert not [event for event in passing if event.label == "present"], "too short for the rule"
    start, end = (event for event in staying if event.label == "present")
    assert (start.phase, end.phase, end.reason) == (Phase.START, Phase.END, "track lost")
    assert start.decided.time - start.started.time == pytest.approx(2.0)
    assert end.ended is not None
    assert end.ended.time - start.started.time == pytest.approx(4.6, abs=0.3), "until seen last"


def test_present_can_be_ignored_like_any_label() -> None:
    ignoring = AT_ONCE.model_copy(update={"ignore": ("present",)})
    with scene(events=ignoring, whole=False) as one:
        one.show(LEFT, seconds=2.0)
        one.show(seconds=2.0)
        told = changes(one.told(is_gone(1)))
    assert {event.label for event in told} == {"busy"}


def test_everything_kept_of_somebody_is_freed() -> None:
    forgotten = []
    with scene(whole=False) as one:
        one.recognizer.forget = lambda camera, track=None: forgotten.append((camera, track))  # type: ignore[method-assign]
        for turn in range(10):
            one.show(LEFT if turn % 2 else RIGHT, seconds=2.0)
            one.show(seconds=1.5)
            one.told(is_gone(turn + 1))
        assert forgotten == [("one", number) for number in range(1, 11)]
        assert len(one.lane.windows["one"].parts) == 1
        assert one.lane.windows["one"].due > 10, "what those who left had is still counted"


def test_a_camera_that_loses_its_picture_ends_everybody() -> None:
    with scene() as one:
        one.show(LEFT, RIGHT, seconds=3.0)
        one.told(lambda result: result.track is not None and bool(result.changes))
        one.follower.lost()
        one.lane.lost("one", "camera reconnecting")
        ended = changes(one.told(is_gone(1)) + one.told(is_gone(2)))
        assert {e.reason for e in ended if e.phase is Phase.END} == {"camera reconnecting"}
        one.epoch += 1
        one.show(LEFT, RIGHT, seconds=3.0)
        again = one.told(lambda result: result.prediction is not None and result.track is not None)[-1]
    assert again.track is not None
    assert again.track.id in (3, 4), "nobody knows whether they are the same"


def test_who_was_ended_is_not_present_again_by_a_frame_that_comes_late() -> None:
    """As one does that the camera's thread has in hand while the lane's hears that the picture is dark."""
    with scene() as one:
        one.show(LEFT, seconds=3.0)
        one.told(lambda result: result.track is not None and bool(result.changes))
        one.lane.lost("one", "picture black")
        told = one.told(is_gone(1))
        one.show(LEFT, seconds=1.0)
        one.follower.lost()
        one.show(RIGHT, seconds=3.0)
        one.show(seconds=2.0)
        told += one.told(is_gone(2))
    present = [event for event in changes(told) if event.label == "present" and event.phase is Phase.END]
    assert [(e.track.id, e.reason) for e in present if e.track] == [(1, "picture black"), (2, "track lost")]


def test_at_the_end_everybodys_events_end() -> None:
    with scene() as one:
        one.show(LEFT, seconds=3.0)
        one.told(lambda result: result.track is not None and bool(result.changes))
        waiting = threading.Event()
        while not one.lane.drain("one"):
            assert not waiting.wait(0.01)
        results = list(one.results.queue)
    assert [result.track.id for result in results if result.gone and result.track] == [1]
    reasons = {event.reason for event in changes(results) if event.phase is Phase.END}
    assert "video ended" in reasons


def test_a_longer_miss_is_no_prediction_and_no_end() -> None:
    with scene(whole=False, lost_after=5.0) as one:
        one.show(LEFT, seconds=3.0)
        one.show(seconds=2.0)  # behind something
        one.show(LEFT, seconds=3.0)
        one.show(seconds=6.0)
        results = one.told(is_gone(1))
    times = [r.prediction.window.end - 1000.0 for r in results if r.prediction is not None]
    assert not [time for time in times if 3.7 < time < 5.0], "nobody knows what they did there"
    assert max(times) > 7.0
    assert len([e for e in changes(results) if e.label == "busy" and e.phase is Phase.START]) == 1
