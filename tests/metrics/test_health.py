"""What counts as unhealthy: a pure function of what the program counts."""

from __future__ import annotations

import pytest

from streamer.config import MetricsConfig
from streamer.metrics.health import judge
from streamer.metrics.monitoring import status_line
from streamer.types import (
    CameraState,
    CameraStats,
    CameraStatus,
    InferenceStats,
    PublisherState,
    RecordingStats,
    Stats,
    UncertainStats,
)
from tests.helpers.monitoring_parts import (
    LIMITS,
    NOW,
    bus,
    camera,
    stats,
)

pytestmark = pytest.mark.usefixtures("no_thread_left")


def codes(seen: Stats, config: MetricsConfig = LIMITS) -> list[str]:
    return [problem.code for problem in judge(seen, config).problems]


def test_all_is_well() -> None:
    verdict = judge(stats(), LIMITS)
    assert (verdict.healthy, verdict.ready, verdict.alive, verdict.degraded) == (True, True, True, ())


@pytest.mark.parametrize(
    ("waiting", "given", "stuck"),
    [
        (None, 100.0, False),  # nothing is asked: no camera, or nothing new
        (100.0, 100.0, True),
        (100.0, 1.0, False),  # many cameras for a slow model: somebody waits, and others are served
        (1.0, 100.0, False),  # video has just come back
        (29.0, 100.0, False),
    ],
)
def test_inference_is_stuck_when_nothing_is_given_although_asked(
    waiting: float | None, given: float, stuck: bool
) -> None:
    since = None if waiting is None else NOW - waiting
    seen = stats(inference=(InferenceStats("demo", None, NOW), InferenceStats("large", since, NOW - given)))
    assert codes(seen) == ["inference_stuck"] * stuck
    assert judge(seen, LIMITS).alive is not stuck
    if stuck:
        assert "large has recognised nothing for 100 s" in judge(seen, LIMITS).problems[0].detail


def test_a_model_that_never_answered_is_stuck_since_it_was_ready() -> None:
    assert codes(stats(inference=(InferenceStats("m", NOW - 50, None),))) == ["inference_stuck"]
    assert codes(stats(inference=(InferenceStats("m", NOW - 50, None),), ready_since=NOW - 10)) == []


def test_one_camera_away_is_no_illness_unless_asked_for() -> None:
    away = camera("yard", CameraState.RECONNECTING, age=90.0, detail="no route to host")
    verdict = judge(stats(camera("door"), away), LIMITS)
    assert (verdict.healthy, verdict.degraded) == (True, ("yard reconnecting (no route to host)",))
    assert codes(stats(camera("door"), away), MetricsConfig(every_camera=True)) == ["camera_lost"]


def test_all_cameras_away_is_but_not_at_once_and_no_reason_to_restart() -> None:
    def away(age: float) -> list[CameraStats]:
        return [camera(name, CameraState.RECONNECTING, age=age) for name in ("door", "yard")]

    assert codes(stats(*away(29.0))) == []
    assert codes(stats(*away(31.0))) == ["cameras_lost"]
    assert judge(stats(*away(31.0)), LIMITS).alive
    assert codes(stats(away(31.0)[0], camera("yard"))) == []
    assert codes(stats(away(31.0)[0], camera("film", CameraState.ENDED))) == ["cameras_lost"]


def test_a_camera_that_never_came_is_lost_some_time_after_the_start() -> None:
    never = CameraStats(CameraStatus("door", CameraState.CONNECTING, 0.0))
    assert codes(stats(never)) == ["cameras_lost"]
    assert codes(stats(never, ready_since=NOW - 5)) == []


def test_a_frozen_picture_is_said() -> None:
    assert judge(stats(camera("door", picture="frozen")), LIMITS).degraded == ("door frozen picture",)


@pytest.mark.parametrize(
    ("state", "wanted", "restart_helps"),
    [
        (bus(None), ["bus_failed"], True),
        (bus(31), ["bus_failed"], True),
        (bus(durable=False), ["journal_failed"], False),
        (bus(durable=False, wants_durable=False), [], False),
    ],
)
def test_bus_and_history(state: PublisherState, wanted: list[str], restart_helps: bool) -> None:
    assert codes(stats(publisher=state)) == wanted
    assert judge(stats(publisher=state), LIMITS).alive is not restart_helps


def test_loading_takes_its_time_and_is_not_ready() -> None:
    never = CameraStats(CameraStatus("door", CameraState.CONNECTING, 0.0))
    seen = stats(never, ready_since=None, last_loop=NOW - 1000)
    verdict = judge(seen, LIMITS)
    assert (verdict.healthy, verdict.ready) == (True, False)
    assert status_line(seen, verdict) == "loading the model"


def test_a_main_loop_that_stands_still_is_ill() -> None:
    assert codes(stats(last_loop=NOW - 31)) == ["program_stuck"]
    assert "failing: the main loop" in status_line(
        stats(last_loop=NOW - 31), judge(stats(last_loop=NOW - 31), LIMITS)
    )


def test_pictures_that_cannot_be_written_are_said_and_no_illness() -> None:
    seen = stats(recording=RecordingStats(failing=True), uncertain=UncertainStats(failing=True))
    verdict = judge(seen, LIMITS)
    assert verdict.healthy
    assert verdict.degraded == (
        "pictures of events do not reach the disk",
        "windows for labelling do not reach the disk",
    )
