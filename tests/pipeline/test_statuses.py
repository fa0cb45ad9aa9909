"""Statuses leave in order, whoever reads them meanwhile; a loss is told once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from streamer.pipeline.results import Feed
from streamer.pipeline.statuses import CameraStatuses
from streamer.types import CameraState, CameraStatus

RUNNING = CameraStatus("one", CameraState.RUNNING, 1.0, captured=100)
GONE = replace(RUNNING, state=CameraState.RECONNECTING, since=2.0, detail="off", code="lost", captured=110)


class Camera:
    """A camera as it is when it is asked."""

    def __init__(self, status: CameraStatus) -> None:
        self.status = status


def statuses() -> tuple[CameraStatuses, list[CameraStatus], list[tuple[str, str]]]:
    feed: Feed[CameraStatus] = Feed()
    told: list[CameraStatus] = []
    lost: list[tuple[str, str]] = []
    feed.subscribe(told.append)
    return CameraStatuses(feed, lambda camera, reason: lost.append((camera, reason))), told, lost


def refresh(board: CameraStatuses, status: CameraStatus) -> None:
    camera: Any = Camera(status)
    board.refresh(camera)


def test_a_change_that_its_camera_has_not_told_yet_is_not_told_before_it() -> None:
    board, told, _ = statuses()
    board.changed(RUNNING)
    back = replace(RUNNING, since=3.0, captured=120)
    refresh(board, back)  # the camera is already running again, and about to tell that it was gone
    assert told == [RUNNING]
    board.changed(GONE)
    board.changed(back)
    assert told == [RUNNING, GONE, back]


def test_numbers_never_go_back() -> None:
    board, told, _ = statuses()
    board.changed(RUNNING)
    newer = replace(RUNNING, captured=130)
    refresh(board, newer)
    board.changed(replace(RUNNING, captured=125))  # was read before the other, and told after it
    assert told == [RUNNING, newer]


def test_a_change_of_words_is_told_by_each_status_from_then_on() -> None:
    board, told, _ = statuses()
    board.changed(RUNNING)
    board.labels_changed("one", {"change": 1})
    refresh(board, replace(RUNNING, captured=140))
    board.changed(GONE)
    assert [status.labels_changed for status in told] == [None, {"change": 1}, {"change": 1}, {"change": 1}]


def test_a_loss_of_the_video_or_of_the_picture_is_told_once() -> None:
    board, _, lost = statuses()
    board.changed(RUNNING)
    for picture in ("black", "black", "ok", "frozen", "grey"):
        board.changed(replace(RUNNING, picture=picture))
    board.changed(replace(RUNNING, state=CameraState.STALLED, since=2.0))
    board.changed(GONE)
    reasons = ["picture black", "picture frozen", "picture grey", "camera stalled"]
    assert lost == [("one", reason) for reason in reasons]


def test_a_subscriber_that_changes_something_itself_is_no_knot() -> None:
    feed: Feed[CameraStatus] = Feed()
    told: list[CameraState] = []
    board = CameraStatuses(feed, lambda camera, reason: None)

    def take(status: CameraStatus) -> None:
        told.append(status.state)
        if status.state is CameraState.RUNNING:
            board.changed(GONE)

    feed.subscribe(take)
    board.changed(RUNNING)
    assert told == [CameraState.RUNNING, CameraState.RECONNECTING]
