"""Privacy: what is to be hidden is in no picture that leaves memory, whichever way it leaves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.bus import PreviewMessage, Subscriber
from streamer.cli.command_line import main
from streamer.config import (
    BusConfig,
    CameraConfig,
    Config,
    EventsConfig,
    FollowConfig,
    ModelConfig,
    PreviewConfig,
    PrivacyConfig,
    UncertainConfig,
    load_config,
)
from streamer.errors import ConfigError
from streamer.pipeline.pipeline import Pipeline
from streamer.recording.pixelate import BLOCKS, Corners, in_blocks, pixelated
from streamer.recording.pixels import decode_jpeg
from streamer.recording.preview import Previews
from streamer.recording.privacy import Privacy
from streamer.testing import FakeRecognizer
from streamer.types import Box, Track, Tracks, Window
from tests.helpers.bus_parts import FREE, connect, until
from tests.helpers.media import write_clip
from tests.helpers.people_parts import Walker, scene, walking
from tests.helpers.pipelines import QUIET
from tests.helpers.recording_parts import Shoot, between, clips, decode, recording, snapshot, snapshots

pytestmark = pytest.mark.usefixtures("no_thread_left")

WIDTH, HEIGHT = 320, 240
BOX: Corners = ((0.25, 0.25), (0.75, 0.75))
TRIANGLE: Corners = ((0.2, 0.9), (0.2, 0.2), (0.9, 0.9))


def secret(number: int, cell: int = 5) -> Any:
    """Red and blue squares all over, which move; their mean is as much red as blue. uint8 BGR."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    odd = (rows // cell + (columns + number) // cell) % 2 == 1
    return np.where(odd[:, :, None], (230, 20, 20), (20, 20, 230)).astype(np.uint8)


def shown(image: Any) -> Any:
    """Where the secret can be seen: pixels that are clearly red, or clearly blue; bool (H, W)."""
    return np.abs(image[..., 0].astype(int) - image[..., 2]) > 70


def parts(box: Corners, image: Any, rim: int = 0) -> tuple[slice, slice]:
    """A box in pixels, smaller by `rim`: over that JPEG and H.264 smear colours from outside, afterwards."""
    height, width = image.shape[:2]
    (left, top), (right, bottom) = box
    return (
        slice(int(top * height) + rim, int(bottom * height) - rim),
        slice(int(left * width) + rim, int(right * width) - rim),
    )


def assert_hidden(image: Any, box: Corners = BOX, rim: int = 16) -> None:
    """Nothing of the secret is seen in the box, and outside it is seen as ever."""
    seen = shown(image)
    inside = parts(box, image, rim)
    assert not seen[inside].any(), f"{seen[inside].sum()} pixels are not hidden"
    seen[parts(box, image)] = False
    assert seen.mean() > 0.3, "more is hidden than was asked for"


def hiding(*boxes: Corners, **more: Any) -> Privacy:
    camera = CameraConfig(name="front-door", source="x.mp4", **more)
    return Privacy(
        Config(cameras=(camera,), privacy=PrivacyConfig(blur=("regions",), regions=tuple(map(tuple, boxes))))
    )


# --- the pixels ---


def test_little_is_left_of_an_area_however_large_it_is() -> None:
    rng = np.random.default_rng(1)
    for height, width in ((1080, 1920), (240, 60), (20, 50), (3, 7), (1, 1)):
        left = in_blocks(rng.integers(0, 256, (height, width, 3), np.uint8))
        assert left.shape == (height, width, 3)
        assert len(np.unique(left @ np.array([1, 256, 65536]))) <= BLOCKS * BLOCKS
        across = (np.diff(left.astype(int), axis=1) != 0).any(axis=(0, 2)).sum()
        down = (np.diff(left.astype(int), axis=0) != 0).any(axis=(1, 2)).sum()
        assert across < BLOCKS, "flat blocks"
        assert down < BLOCKS


def test_pictures_that_differ_in_detail_alone_are_equal_afterwards() -> None:
    """Two faces of the same brightness cannot be told apart, so nothing can be computed back."""
    rng = np.random.default_rng(2)
    noise = rng.integers(0, 60, (160, 160, 3), np.uint8)
    one = np.full((160, 160, 3), 80, np.uint8) + noise
    other = np.full((160, 160, 3), 80, np.uint8) + noise[::-1, ::-1]
    assert (one != other).mean() > 0.9
    assert np.array_equal(in_blocks(one), in_blocks(other))


def test_an_area_has_its_edge_pixels_and_nothing_more() -> None:
    image = secret(0)
    out = pixelated(image, [((0.1003, 0.1003), (0.5001, 0.6))])
    changed = (out != image).any(axis=2)
    top, left, bottom, right = 24, 32, 144, 161
    assert not changed[:top].any()
    assert not changed[:, :left].any()
    assert not changed[bottom:].any()
    assert not changed[:, right:].any()
    assert changed[top:bottom, left:right].mean() > 0.95
    assert np.array_equal(image, secret(0)), "the picture that the model gets is left alone"
    assert pixelated(image, []) is image
    outside = [((1.2, 0.0), (1.5, 1.0)), ((-1.0, -1.0), (0.0, 0.0)), ((0.5, 0.5), (0.5, 0.5))]
    assert pixelated(image, outside) is image


def test_a_polygon_hides_what_lies_in_it() -> None:
    image = secret(0)
    out = pixelated(image, [TRIANGLE])
    seen = shown(out)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    x, y = (columns + 0.5) / WIDTH, (rows + 0.5) / HEIGHT
    inside = (x > 0.2) & (y < 0.9) & (y > x)
    assert not seen[inside].any()
    assert np.array_equal(out[y < x - 0.03], image[y < x - 0.03])
    assert np.array_equal(out[:, : int(0.19 * WIDTH)], image[:, : int(0.19 * WIDTH)])


# --- every way out ---


def test_no_snapshot_and_no_clip_shows_a_region(tmp_path: Path) -> None:
    hidden = hiding(BOX)
    with Shoot(tmp_path / "r", image=secret, show=hidden.picture, overlay=True) as shoot:
        shoot.play(5.0, between(40, 59))
    (clip,), (still,) = clips(tmp_path / "r"), snapshots(tmp_path / "r")
    images = decode(clip).images
    assert len(images) > 50
    for image in images:
        assert_hidden(image)
    assert_hidden(snapshot(still))


def test_no_preview_shows_a_region() -> None:
    sent: list[Any] = []
    show = hiding(BOX).picture
    previews = Previews(
        PreviewConfig(fps=10.0, height=160, quality=95),
        lambda: ["front-door"],
        lambda camera: (secret(len(sent), 10), 1000.0 + len(sent)),
        lambda camera, jpeg, width, height, tracks: sent.append(decode_jpeg(jpeg)),
        show=show,
    )
    previews.start()
    until(lambda: len(sent) >= 3)
    assert previews.close(5.0)
    for image in sent:
        assert_hidden(image)


@pytest.mark.realtime
def test_the_whole_program_hides_it_on_every_way(tmp_path: Path) -> None:
    """Each file that is written and each preview on the bus is decoded and looked at."""
    film = write_clip(tmp_path / "film.mp4", [secret(number) for number in range(150)], 25,
                      options={"crf": "10"})  # fmt: skip
    previews: list[Any] = []

    def score(window: Window) -> tuple[float, float]:
        at = window.frames[-1].media_time or 0.0
        return (0.4, 0.6) if 1.5 < at < 4.5 else (0.9, 0.1)

    def play(pace: str, folder: Path, enough: int) -> None:
        """The film to its end, or again and again until there are `enough` previews."""
        config = Config(
            cameras=(CameraConfig(name="hall", source=str(film)),),
            events=EventsConfig(half_life=0.0, ignore=("calm",)),
            recording=recording(folder / "r", overlay=True),
            preview=PreviewConfig(fps=5.0, height=HEIGHT),
            uncertain=UncertainConfig(
                folder=str(folder / "u"), scores="raw", every=0.0, margin=0.9, least=0.0
            ),
            privacy=PrivacyConfig(blur=("regions",), regions=(tuple(BOX),)),
            **{**QUIET, "pace": pace, "loop": enough > 0, "bus": BusConfig(bind=FREE)},
        )
        stop = threading.Event()
        with (
            Pipeline(config, recognizer=FakeRecognizer(score, size=(HEIGHT, WIDTH))) as pipeline,
            Subscriber(pipeline.endpoint, topics=["preview/"]) as subscriber,
        ):
            connect(subscriber)
            running = threading.Thread(target=pipeline.run, args=(stop,))
            running.start()
            while running.is_alive():
                message = subscriber.receive(0.2)
                if isinstance(message, PreviewMessage):
                    previews.append(decode_jpeg(message.jpeg))
                    if len(previews) == enough:
                        stop.set()
            running.join()

    play("fast", tmp_path / "whole", 0)
    play("realtime", tmp_path / "seen", len(previews) + 3)
    written = [path for path in tmp_path.rglob("*") if path.suffix in (".jpg", ".mp4", ".part", ".png")]
    written.remove(film)
    looked_at = 0
    for path in written:
        for image in [snapshot(path)] if path.suffix == ".jpg" else decode(path).images:
            assert_hidden(image)
            looked_at += 1
    whole = [path.relative_to(tmp_path / "whole") for path in written if tmp_path / "whole" in path.parents]
    assert {path.parts[0] for path in whole} == {"r", "u"}
    assert {path.suffix for path in whole} >= {".jpg", ".mp4"}
    assert looked_at > 20
    assert len(previews) >= 3
    for image in previews:
        assert_hidden(image)


@pytest.mark.parametrize(("seen", "cell"), [(None, 15), (((0.1, 0.0), (1.0, 0.8)), 12)])
def test_no_uncertain_window_shows_a_region(tmp_path: Path, seen: Any, cell: int) -> None:
    """The model's own small pictures: where the region lies in them follows from how they are made."""
    film = write_clip(tmp_path / "film.mp4", [secret(number, cell) for number in range(80)], 25,
                      options={"crf": "10"})  # fmt: skip
    config = Config(
        cameras=(CameraConfig(name="hall", source=str(film), region=seen),),
        model=ModelConfig(engine="torch", precision="fp32"),
        uncertain=UncertainConfig(folder=str(tmp_path / "u"), scores="raw", every=0.0, margin=1.0, least=0.0),
        privacy=PrivacyConfig(blur=("regions",), regions=(tuple(BOX),)),
        **QUIET,
    )
    with Pipeline(config) as pipeline:
        assert pipeline.run(threading.Event()).ok
    found = list((tmp_path / "u").rglob("*.mp4"))
    assert found
    (left, top), (right, bottom) = seen or ((0.0, 0.0), (1.0, 1.0))
    of_cut = tuple(((x - left) / (right - left), (y - top) / (bottom - top)) for x, y in BOX)
    inside = _in_square(of_cut, (right - left) * WIDTH, (bottom - top) * HEIGHT)
    for path in found:
        for image in decode(path).images:
            assert image.shape[0] == image.shape[1], "square, cut from the middle"
            assert not shown(image)[parts(inside, image)].any(), path
            assert shown(image).mean() > 0.2


def _in_square(box: Sequence[tuple[float, float]], width: float, height: float) -> Corners:
    """Where a box lies when the middle square of a picture is taken, in parts of that."""
    side = min(width, height)
    across, down = (width - side) / 2, (height - side) / 2
    return [
        (min(1.0, max(0.0, (x * width - across) / side)), min(1.0, max(0.0, (y * height - down) / side)))
        for x, y in box
    ]


# --- people ---


FOLLOW = FollowConfig(detector="moving")
BODY: Box = (0.5, 0.2, 0.2, 0.6)
AROUND_BODY: Corners = ((0.5, 0.2), (0.7, 0.8))


def people(*camera: str) -> Privacy:
    """Somebody is in the pictures of 10.0 and 11.0; of others it is not known who is in them."""
    cameras = tuple(CameraConfig(name=name, source="x.mp4") for name in camera or ("front-door",))
    made = Privacy(Config(cameras=cameras, privacy=PrivacyConfig(blur=("people",)), follow=FOLLOW))
    made.followed.tracks(Tracks("front-door", 10.0, 0, (Track(1, BODY),), looked=9.8))
    made.followed.tracks(
        Tracks("front-door", 11.0, 0, (Track(1, BODY), Track(2, (-0.1, -0.1, 0.2, 0.3))), looked=11.0)
    )
    return made


def test_everybody_who_is_followed_is_hidden_with_a_rim() -> None:
    hidden = people()
    assert_hidden(hidden.picture("front-door", secret(0), 10.0), AROUND_BODY, rim=-12)
    both = hidden.picture("front-door", secret(0), 11.0)
    assert not shown(both)[parts(AROUND_BODY, both)].any()
    assert not shown(both)[: int(0.2 * HEIGHT), : int(0.1 * WIDTH)].any(), "half out of the picture"


@pytest.mark.parametrize("time", [9.9, 10.5, 12.0])
def test_where_it_is_not_known_who_is_there_all_of_the_picture_is_hidden(time: float) -> None:
    """Before the first detection, and in a picture that nobody has looked for people in."""
    out = people().picture("front-door", secret(0), time)
    assert not shown(out).any()
    assert len(np.unique(out.reshape(-1, 3), axis=0)) <= BLOCKS * BLOCKS


def test_who_is_not_followed_is_hidden_too() -> None:
    """Too small, too many, seen for the first time: people all the same."""
    hidden = people()
    hidden.followed.tracks(Tracks("front-door", 12.0, 0, (), {}, (BODY,), 12.0))
    assert_hidden(hidden.picture("front-door", secret(0), 12.0), AROUND_BODY, rim=-12)


def test_where_somebody_was_a_moment_ago_is_hidden_still() -> None:
    """A box may run ahead of who stops; and what blinks is somebody all the same."""
    hidden = people()
    hidden.followed.tracks(Tracks("front-door", 11.3, 0, (Track(1, (0.8, 0.2, 0.1, 0.6)),), looked=11.3))
    assert not shown(hidden.picture("front-door", secret(0), 11.3))[parts(AROUND_BODY, secret(0))].any()
    hidden.followed.tracks(Tracks("front-door", 11.8, 0, (), looked=11.8))
    there = parts(((0.8, 0.2), (0.9, 0.8)), secret(0))
    assert not shown(hidden.picture("front-door", secret(0), 11.8))[there].any()
    hidden.followed.tracks(Tracks("front-door", 12.4, 0, (), looked=12.4))
    assert shown(hidden.picture("front-door", secret(0), 12.4)).all()


@pytest.mark.parametrize(
    "region",
    [((0.2, 0.1), (0.9, 0.8)), ((0.9, 0.8), (0.2, 0.1)), ((0.2, 0.1), (0.9, 0.1), (0.9, 0.8), (0.2, 0.8))],
)
def test_where_nobody_is_looked_for_all_is_hidden(region: Any) -> None:
    """The model and the detector see a camera's region; a recorded picture is whole."""
    camera = CameraConfig(name="front-door", source="x.mp4", region=region, follow=FOLLOW)
    hidden = Privacy(Config(cameras=(camera,), privacy=PrivacyConfig(blur=("people",)), follow=FOLLOW))
    hidden.followed.tracks(Tracks("front-door", 1.0, 0, (), looked=1.0))
    out = shown(hidden.picture("front-door", secret(0), 1.0))
    inside = parts(((0.2, 0.1), (0.9, 0.8)), out, 4)
    assert out[inside].mean() > 0.95
    out[parts(((0.2, 0.1), (0.9, 0.8)), out, -4)] = False
    assert not out.any()


def test_a_picture_that_nobody_has_looked_at_for_long_is_hidden() -> None:
    """A detector that takes its time, or has died: boxes are told, but nobody knows who has come since."""
    hidden = people()
    for time, looked, seen in ((20.0, None, False), (21.0, 19.5, True), (24.0, 19.5, False)):
        hidden.followed.tracks(Tracks("front-door", time, 0, (), looked=looked))
        assert shown(hidden.picture("front-door", secret(0), time)).all() == seen


def test_a_camera_that_never_tells_shows_nothing() -> None:
    assert not shown(people("front-door", "yard").picture("yard", secret(0), 10.0)).any()


def test_a_file_that_begins_anew_is_not_taken_for_its_past() -> None:
    hidden = people()
    hidden.followed.tracks(Tracks("front-door", 3.0, 1, (), looked=3.0))
    assert not shown(hidden.picture("front-door", secret(0), 10.0)).any()
    assert shown(hidden.picture("front-door", secret(0), 3.0)).all()


def test_a_camera_without_rules_costs_nothing() -> None:
    other = secret(0)
    assert people().picture("garden", other, 0.0) is other


def dressed(walkers: Sequence[Walker], time: float) -> Any:
    """The scene with its people in squares of red and blue, which nothing else has; uint8 BGR."""
    image = scene(walkers, time, noise=2.0)
    for walker in walkers:
        if (box := walker.box(time)) is not None:
            rows, columns = parts(((box[0], box[1]), (box[0] + box[2], box[1] + box[3])), image)
            across = slice(max(0, columns.start), max(0, columns.stop))
            image[rows, across] = secret(0, 6)[: rows.stop - rows.start, : across.stop - across.start]
    return image


@pytest.mark.realtime
def test_nobody_who_is_followed_is_seen_in_any_file(tmp_path: Path) -> None:
    """The whole program, with its own detector: each picture of each file is looked at."""
    size = {"width": 40, "height": 100}
    walkers = [
        Walker(walking(20.0, 35.0, 1.0, 6.5), top=125.0, **size),
        Walker(walking(250.0, -35.0, 2.0, 7.0), top=10.0, **size),
    ]
    images = [dressed(walkers, number / 20) for number in range(160)]
    film = write_clip(tmp_path / "film.mp4", images, 20, options={"crf": "10"})
    camera = CameraConfig(name="hall", source=str(film))

    def written(blur: tuple[str, ...]) -> float:
        """How much of all that was written shows the people."""
        folder = tmp_path / "-".join(("r", *blur))
        config = Config(
            cameras=(camera,),
            events=EventsConfig(half_life=0.0, ignore=("calm", "present")),
            recording=recording(folder, pre_roll=5.0, boxes=False),
            uncertain=UncertainConfig(folder=f"{folder}-u", scores="raw", every=0.0, margin=0.9, least=0.0),
            follow=FOLLOW,
            privacy=PrivacyConfig.model_validate({"blur": blur}),
            **QUIET,
        )

        def score(window: Window) -> tuple[float, float]:
            return (0.4, 0.6) if (window.frames[-1].media_time or 0.0) > 3.0 else (0.9, 0.1)

        with Pipeline(config, recognizer=FakeRecognizer(score, size=(HEIGHT, WIDTH))) as pipeline:
            assert pipeline.run(threading.Event()).ok
        found = [path for path in folder.rglob("event-*") if path.suffix in (".jpg", ".mp4")]
        windows = list(Path(f"{folder}-u").rglob("*.mp4"))
        assert {path.suffix for path in found} == {".jpg", ".mp4"}
        assert windows
        pictures = [
            image
            for path in (*found, *windows)
            for image in ([snapshot(path)] if path.suffix == ".jpg" else decode(path).images)
        ]
        assert len(pictures) > 60
        return float(np.mean([shown(image).mean() for image in pictures]))

    assert written(()) > 0.01, "people are seen where nothing is hidden"
    assert written(("people",)) < 0.0005


# --- the configuration ---


def test_a_cameras_own_regions_and_the_common_ones(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "privacy: {blur: regions, regions: [[[0, 0], [0.5, 0.5]]]}\n"
        "cameras:\n"
        "  - {name: a, source: a.mp4}\n"
        "  - {name: b, source: b.mp4, privacy: {regions: [[[0, 0], [1, 0.2]], [[0, 1], [1, 1], [1, 0]]]}}\n"
        "  - {name: c, source: c.mp4, privacy: {blur: [], regions: []}}\n"
    )
    hidden = Privacy(load_config(file))
    assert hidden.areas("a", 0.0) == (((0.0, 0.0), (0.5, 0.5)),)
    assert [len(corners) for corners in hidden.areas("b", 0.0)] == [2, 3]
    assert hidden.areas("c", 0.0) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("privacy: {regions: [[[0, 0], [0.5, 0.5]]]}", "regions are named but not blurred"),
        ("privacy: {blur: [regions]}", "say which, here or at a camera"),
        ("privacy: {blur: [faces]}", "people"),
        ("privacy: {blur: [people]}", "a follows nobody: add follow"),
        ("privacy: {blur: [regions], regions: [[[0, 0], [0, 0.5]]]}", "two opposite corners"),
        ("privacy: {blur: [regions], regions: [[[0, 0], [0.5, 1.5]]]}", "1.5"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_runs(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text + "\ncameras: [{name: a, source: a.mp4}]\n")
    with pytest.raises(ConfigError, match=said):
        load_config(file)
    assert main(["check", str(file)]) == 2
    assert said in capsys.readouterr().err
