"""Boxes of people in previews, snapshots and clips: where they are, what they say, how to do without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.config import CameraConfig, Config, PreviewConfig, RecordingConfig
from streamer.recording.event_pictures import EventPictures
from streamer.recording.followed_people import Followed, SeenPerson
from streamer.recording.overlay import draw_people
from streamer.recording.pixels import decode_jpeg
from streamer.types import Frame, LabelScore, LaneResult, Prediction, Track, Tracks, Window
from tests.helpers.bus_parts import until
from tests.helpers.recording_parts import BEGIN, FPS, Shoot, between, clips, decode, snapshot, snapshots

pytestmark = pytest.mark.usefixtures("no_thread_left")

WIDTH, HEIGHT = 640, 480
GREY = 90


def grey(_number: int = 0) -> Any:
    return np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)


def result(track: int, label: str | None, time: float, model: str = "m") -> LaneResult:
    frame = Frame("front-door", 1, 0, time, time, time, None, np.zeros((2, 2, 3), np.uint8))
    window = Window("front-door", 1, (frame,), 0.1)
    prediction = Prediction("front-door", model, window, ("calm", "busy"), np.array([0.1, 0.9], np.float32))
    stable = None if label is None else LabelScore(label, 0.9)
    return LaneResult("front-door", model, prediction, stable=stable, track=Track(track, (0, 0, 1, 1)))


def edges(image: Any) -> tuple[int, int, int, int]:
    """First column, first row, last column, last row of what was drawn."""
    drawn = np.abs(image.astype(int) - GREY).max(axis=2) > 30
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


# --- what is drawn ---


def test_a_box_stands_around_its_person_with_number_and_label_above() -> None:
    image = grey()
    draw_people(image, [SeenPerson(Track(7, (0.25, 0.5, 0.25, 0.25)), ("waving",))], str)
    left, top, right, bottom = edges(image)
    assert (left, right, bottom) == pytest.approx((160, 320, 360), abs=4)
    assert 205 < top < 236, "the text is above the box"
    assert (image[260:340, 180:300] == GREY).all(), "nothing is drawn over the person"
    text = image[top : top + 15, 160:240]
    assert (text > 200).any(), "white"
    assert (text < 30).any(), "on black"


@pytest.mark.parametrize(
    "box",
    [
        (-0.1, -0.1, 0.3, 0.3),
        (0.9, 0.0, 0.3, 1.0),
        (0.0, 0.0, 1.0, 1.0),
        (0.5, 0.99, 0.5, 0.5),
        (5.0, 5.0, 1.0, 1.0),
    ],
)
def test_what_reaches_over_the_edge_is_drawn_as_far_as_it_goes(box: Any) -> None:
    for size in ((480, 640), (32, 40), (2, 2)):
        image = np.full((*size, 3), GREY, np.uint8)
        draw_people(
            image, [SeenPerson(Track(1, box), ("a label that is longer than the picture is wide" * 5,))], str
        )
        assert (image != GREY).any()


def test_a_number_without_a_belief_and_names_in_other_scripts() -> None:
    one, other = grey(), grey()
    draw_people(one, [SeenPerson(Track(1, (0.2, 0.5, 0.2, 0.2)), ())], str)
    draw_people(other, [SeenPerson(Track(1, (0.2, 0.5, 0.2, 0.2)), ("waving",))], lambda label: "يلوح")
    assert edges(one)[1] > 200
    assert (one != other).any()


def test_different_people_have_different_colours() -> None:
    pictures = []
    for number in (1, 2, 3):
        pictures.append(grey())
        draw_people(pictures[-1], [SeenPerson(Track(number, (0.25, 0.5, 0.25, 0.25)), ())], str)
    assert len({tuple(image[359:361, 200].max(axis=0)) for image in pictures}) == 3


# --- who is known of a picture ---


def test_a_belief_counts_from_the_window_that_said_so() -> None:
    followed = Followed()
    for time in (1.0, 2.0, 3.0, 4.0):
        followed.tracks(
            Tracks("front-door", time, 0, (Track(1, (0, 0, 0.1 * time, 1)), Track(2, (0, 0, 1, 1))))
        )
    followed.result(result(1, "busy", 2.0))
    followed.result(result(1, "calm", 2.5, model="other"))
    followed.result(result(1, None, 4.0))

    def told(time: float) -> Sequence[tuple[int, tuple[str, ...]]]:
        return [(person.track.id, person.labels) for person in followed.people("front-door", time)]

    assert told(1.0) == [(1, ()), (2, ())]
    assert told(2.0) == [(1, ("busy",)), (2, ())]
    assert told(3.0) == [(1, ("busy", "calm")), (2, ())]
    assert told(4.0) == [(1, ("calm",)), (2, ())]
    assert followed.people("front-door", 3.0)[0].track.box[2] == pytest.approx(0.3)
    assert followed.people("front-door", 3.1) == ()
    assert followed.people("garden", 3.0) == ()


def test_what_is_kept_is_bounded() -> None:
    followed = Followed()
    for number in range(5000):
        time = number / 32
        followed.tracks(Tracks("front-door", time, 0, (Track(number, (0, 0, 1, 1)),)))
        followed.result(result(number, "busy", time))
    camera = followed._cameras["front-door"]
    assert len(camera.pictures) == 2048
    assert len(camera.beliefs) == 256
    assert followed.people("front-door", 4999 / 32)[0].labels == ("busy",)


def test_a_slow_camera_is_remembered_no_longer_than_a_quick_one() -> None:
    followed = Followed()
    for number in range(1000):
        followed.tracks(Tracks("front-door", float(number), 0, (Track(1, (0, 0, 1, 1)),)))
    assert followed.people("front-door", 999.0 - 80.0)
    assert not followed.people("front-door", 999.0 - 81.0)
    assert len(followed._cameras["front-door"].pictures) == 81


# --- every way out ---


def tracked(folder: Path, **more: Any) -> Shoot:
    """Person 3 stands in the middle in each picture and is busy from picture 40 on."""
    followed = Followed()
    for number in range(200):
        followed.tracks(Tracks("front-door", BEGIN + number / FPS, 0, (Track(3, (0.4, 0.3, 0.2, 0.5)),)))
    followed.result(result(3, "busy", BEGIN + 40 / FPS))
    return Shoot(folder, image=grey, people=followed.people, **more)


def test_clips_and_snapshots_have_boxes(tmp_path: Path) -> None:
    with tracked(tmp_path / "r") as shoot:
        shoot.play(5.0, between(40, 59))
    (clip,), (still,) = clips(tmp_path / "r"), snapshots(tmp_path / "r")
    assert edges(snapshot(still))[::2] == (pytest.approx(256, abs=6), pytest.approx(384, abs=6))
    images = decode(clip).images
    tops = [edges(image)[1] for image in images]
    assert all(100 < top < 144 for top in tops), "with the number from the first picture on"
    white = [(image[110:142, 256:400] > 180).sum() for image in images]
    assert np.mean(white[-10:]) > 1.5 * np.mean(white[:10]), "the label comes when it is believed"


def preview(boxes: bool) -> Any:
    camera = CameraConfig(name="front-door", source="x.mp4")
    config = Config(cameras=(camera,), preview=PreviewConfig(fps=10.0, height=HEIGHT, boxes=boxes))
    pictures = EventPictures(config)
    pictures.privacy.followed.tracks(Tracks("front-door", 1.0, 0, (Track(3, (0.4, 0.3, 0.2, 0.5)),)))
    sent: list[Any] = []
    own = grey()
    pictures.start(
        lambda: ["front-door"],
        lambda _: (own, 1.0),
        lambda c, jpeg, w, h, who: sent.append((decode_jpeg(jpeg), who)),
    )
    until(lambda: len(sent) == 1)
    assert pictures.stop_previews()
    assert (own == GREY).all(), "the camera's own picture is left alone"
    image, who = sent[0]
    assert who == (Track(3, (0.4, 0.3, 0.2, 0.5)),)
    return image


def test_previews_have_boxes_unless_they_are_turned_off() -> None:
    assert edges(preview(boxes=True))[::2] == (pytest.approx(256, abs=6), pytest.approx(384, abs=6))
    assert np.abs(preview(boxes=False).astype(int) - GREY).max() < 5


def test_recordings_have_no_boxes_where_they_are_turned_off(tmp_path: Path) -> None:
    camera = CameraConfig(name="front-door", source="x.mp4")
    for boxes in (True, False):
        recording = RecordingConfig(folder=str(tmp_path / str(boxes)), snapshots=True, boxes=boxes)
        pictures = EventPictures(Config(cameras=(camera,), recording=recording))
        pictures.privacy.followed.tracks(Tracks("front-door", 1.0, 0, (Track(3, (0.4, 0.3, 0.2, 0.5)),)))
        assert pictures.receiver("front-door") is not None
        assert bool(pictures.drawn("front-door", 1.0)) == boxes
