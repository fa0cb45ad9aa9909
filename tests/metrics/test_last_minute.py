"""The last minute of beliefs, times without a camera, and a speed that is never more than was asked."""

from __future__ import annotations

import pytest

from streamer.metrics.counters import Counters
from streamer.metrics.last_minute import PAST_S, SLOT_S, RecentBeliefs
from streamer.testing import FakeClock
from streamer.types import CameraState, CameraStatus, LabelScore, Stats
from tests.helpers.bus_parts import prediction


def test_the_last_belief_of_each_half_second_for_a_minute() -> None:
    past = RecentBeliefs()
    for tenth in range(2000):
        past.add(tenth / 10, LabelScore(f"label {tenth}", 0.5))
    kept = past.since(199.9 - PAST_S)
    assert [belief.time for belief in kept[-2:]] == [199.0, 199.5]
    assert kept[-1].stable == LabelScore("label 1999", 0.5)
    assert len(kept) == PAST_S / SLOT_S


class Watch:
    """Statuses of one camera, a second apart."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.counters = Counters(clock=self.clock)

    def see(self, state: CameraState, **more: object) -> Stats:
        self.counters.camera_status(CameraStatus("door", state, self.clock.wall(), **more))  # type: ignore[arg-type]
        self.clock.advance(1.0)
        return self.counters.stats()


def test_a_lost_camera_is_an_outage_from_its_last_frame_until_it_is_back() -> None:
    watch = Watch()
    watch.see(CameraState.CONNECTING, detail="waiting for the model")
    assert watch.see(CameraState.RUNNING).outages == ()
    last = watch.clock.monotonic() - 1.5
    watch.see(CameraState.STALLED, code="timeout", newest=last)
    (lost,) = watch.see(CameraState.RECONNECTING, code="lost", newest=last).outages
    assert (lost.camera, lost.what, lost.started.time, lost.ended) == ("door", "lost", last, None)
    shown = watch.see(CameraState.RUNNING)
    (back,) = shown.outages
    assert back.ended is not None
    assert back.ended.time - back.started.time == pytest.approx(3.5)
    assert shown.outage_counts == {"timeout": 1}


def test_a_camera_that_is_not_reached_and_a_black_picture_are_outages_too() -> None:
    watch = Watch()
    watch.see(CameraState.CONNECTING, code="auth_failed")
    watch.see(CameraState.RUNNING)
    watch.see(CameraState.RUNNING, picture="black")
    outages = watch.see(CameraState.ENDED).outages
    assert [(one.what, one.ended is not None) for one in outages] == [
        ("not reached", True),
        ("black picture", True),
    ]


@pytest.mark.parametrize(("asked", "most"), [(2.0, 2.0), (0.0, 10.0)])
def test_speed_is_never_more_than_was_asked(asked: float, most: float) -> None:
    """Two windows that came together after the model was busy made a rate of hundreds a second."""
    watch = Watch()
    watch.see(CameraState.RUNNING)
    watch.counters.camera_models("door", {"demo": asked})
    for number in range(3):
        made = prediction("door", number)
        watch.counters.prediction(made, None, {}, 1, {})
        watch.clock.advance(0.1)
    assert watch.counters.stats().windows_per_s == pytest.approx(most, rel=0.01)
    assert watch.see(CameraState.RECONNECTING).windows_per_s == (0.0 if asked else pytest.approx(1.8, abs=1))
