"""Snapshots and clips of events: what is in them, and what happens when the disk does not want them."""

from __future__ import annotations

import io
import json
import threading
import time
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.config import BusConfig, CameraConfig, CaptureConfig, Config, EventsConfig, JournalConfig, Pace
from streamer.errors import ConfigError
from streamer.pipeline.pipeline import Pipeline
from streamer.recording import camera_recorder, event_spans_in_clip, files, retention
from streamer.recording.disk_thread import DiskWriter
from streamer.recording.event_pictures import EventPictures
from streamer.recording.event_spans_in_clip import span_in
from streamer.recording.h264_encoder import EncodedClip, H264Encoder, Packet, Shape, fitted
from streamer.recording.h264_encoder import write_clip as write_mp4
from streamer.recording.overlay import draw
from streamer.recording.recent_pictures import RecentPictures
from streamer.recording.recorder import MOST_WAITING
from streamer.testing import FakeClock, FakeRecognizer
from streamer.types import Event, Moment, Phase, Window
from tests.helpers.extras_parts import without
from tests.helpers.media import moving, picture, read_stamp
from tests.helpers.media import write_clip as write_video
from tests.helpers.patience import patience
from tests.helpers.recording_parts import (
    BEGIN,
    FPS,
    WALL,
    Shoot,
    between,
    clips,
    decode,
    recording,
    snapshot,
    snapshots,
    until,
)

pytestmark = pytest.mark.usefixtures("no_thread_left")


def event(
    name: str = "abc123",
    at: float = BEGIN,
    phase: Phase = Phase.START,
    label: str = "busy",
    began: float | None = None,
) -> Event:
    moment = Moment(at, WALL + at - BEGIN)
    started = moment if began is None else Moment(began, WALL + began - BEGIN)
    ended = moment if phase is Phase.END else None
    return Event(name, "front-door", "model", label, phase, 0.9, 0.9, started, moment, ended)


# --- what is in a clip ---


def test_a_clip_goes_from_before_the_start_to_after_the_end(tmp_path: Path) -> None:
    with Shoot(tmp_path / "r") as shoot:
        shoot.play(6.0, between(60, 79))
    (clip,) = clips(tmp_path / "r")
    (end,) = shoot.of(Phase.END)
    seen = decode(clip)
    # started at picture 60, ended at 79, a second (20 pictures) before and after; it begins at a key frame,
    # of which there is one a second
    assert end.started.time == BEGIN + 60 / FPS
    assert 20 < seen.numbers[0] <= 40
    assert seen.numbers == list(range(seen.numbers[0], 100)), "no picture is missing, none stands twice"
    assert seen.seconds == pytest.approx(len(seen.numbers) / FPS, abs=0.01)
    assert seen.times == pytest.approx([n / FPS for n in range(len(seen.numbers))], abs=0.001)
    assert seen.comment == ""
    assert seen.title == f"busy, front-door, {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(WALL + 3))}"


def test_a_clip_shows_the_right_colours_and_begins_to_play_at_once(tmp_path: Path) -> None:
    with Shoot(tmp_path / "r") as shoot:
        shoot.play(5.0, between(40, 59))
    (clip,) = clips(tmp_path / "r")
    seen = decode(clip)
    for number, image in zip(seen.numbers, seen.images, strict=True):
        left = number * 5 % 280
        assert image[130:150, left + 10 : left + 30].mean((0, 1)) == pytest.approx((40, 230, 250), abs=12)
    data = clip.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")
    import av

    with av.open(str(clip)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.profile, context.pix_fmt) == ("h264", "Main", "yuv420p")
        assert not context.has_b_frames


def test_the_snapshot_shows_the_peak(tmp_path: Path) -> None:
    """The score rises until picture 71 and falls again; before it is decided it is lower."""
    with Shoot(tmp_path / "r", clips=False) as shoot:
        shoot.play(6.0, lambda n: 0.95 - abs(n - 71) * 0.02 if 60 <= n <= 85 else 0.1)
    (path,) = snapshots(tmp_path / "r")
    image = snapshot(path)
    assert read_stamp(image) == 71
    assert image.shape == (240, 320, 3), "full size"


def test_the_snapshot_shows_a_peak_that_came_before_the_decision(tmp_path: Path) -> None:
    with Shoot(tmp_path / "r", clips=False) as shoot:
        shoot.play(5.0, lambda n: 0.95 if n == 41 else between(40, 60, 0.7)(n))
    assert shoot.of(Phase.START)[0].decided.time > BEGIN + 41 / FPS
    assert read_stamp(snapshot(snapshots(tmp_path / "r")[0])) == 41


def test_a_long_event_has_its_snapshot_while_it_goes_on(tmp_path: Path) -> None:
    with Shoot(tmp_path / "r", clips=False) as shoot:
        shoot.play(3.0, lambda n: 0.9 if n >= 20 else 0.1)
        until(lambda: len(snapshots(tmp_path / "r")) == 1)
        assert not shoot.of(Phase.END)


def test_events_that_follow_each_other_have_one_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[H264Encoder] = []

    class Counted(H264Encoder):
        def __init__(self, shape: Shape) -> None:
            super().__init__(shape)
            made.append(self)

    monkeypatch.setattr(camera_recorder, "H264Encoder", Counted)
    with Shoot(tmp_path / "r") as shoot:
        shoot.play(2.0)
        shoot.recorder.event(event("first", BEGIN + 1.9))
        shoot.play(1.5)
        shoot.recorder.event(event("second", BEGIN + 3.4))
        shoot.recorder.event(event("first", BEGIN + 3.4, Phase.END, began=BEGIN + 1.9))
        shoot.play(2.0)
        shoot.recorder.event(event("second", BEGIN + 5.4, Phase.END, began=BEGIN + 3.4))
        shoot.play(2.0)
    first, second = clips(tmp_path / "r")
    assert len(made) == 1
    assert first.samefile(second), "two names of one file: each event finds its clip"
    assert decode(first).numbers == list(range(18, 129))
    assert shoot.recorder.counts["clips"] == 1
    assert span_in(first, "first") == (1.0, 2.5), "each knows where it is in their clip"
    assert span_in(second, "second") == (2.5, 4.5)
    assert span_in(first, "third") is None


def test_what_begins_when_a_clip_is_full_has_the_next_one(tmp_path: Path) -> None:
    with Shoot(tmp_path / "r", max_clip=4.0, snapshots=False) as shoot:
        shoot.play(2.0)
        shoot.recorder.event(event("first", BEGIN + 1.9))
        shoot.play(2.5)
        shoot.recorder.event(event("second", BEGIN + 4.4))
        shoot.play(1.0)
        shoot.recorder.event(event("first", BEGIN + 5.4, Phase.END))
        shoot.recorder.event(event("second", BEGIN + 5.4, Phase.END))
        shoot.play(2.0)
    first, second = (decode(path) for path in clips(tmp_path / "r"))
    one, _ = clips(tmp_path / "r")
    assert span_in(one, "first") == (1.0, pytest.approx(first.times[-1], abs=0.01)), "as far as its clip goes"
    assert (first.numbers[0], first.comment, second.comment) == (18, "cut short", "")
    assert second.numbers[-1] == 128


@pytest.mark.parametrize(
    "told",
    ["", "no json", "[]", '{"events": 5}', '{"events": {"e": 5}}', '{"events": {"e": [1, "x"]}}',
     '{"events": {"e": [true, 2]}}', '{"events": {"e": [5, 2]}}', '{"events": {"e": [-1, 2]}}',
     '{"events": {"e": [0, 1e999]}}', '{"events": {"e": [NaN, 2]}}', "[" * 5000],
)  # fmt: skip
def test_what_a_clip_says_of_its_events_is_believed_only_where_it_can_be(tmp_path: Path, told: str) -> None:
    packet = Packet(0.0, 0, True, b"\0\0\0\x01\x65")
    clip = EncodedClip(Shape(64, 48, 10.0), [packet], description=told)
    write_mp4(tmp_path / "c.mp4", clip)
    assert span_in(tmp_path / "c.mp4", "e") is None
    write_mp4(
        tmp_path / "c.mp4", replace(clip, description=event_spans_in_clip.description({"e": (1.5, 2.0)}))
    )
    assert span_in(tmp_path / "c.mp4", "e") == (1.5, 2.0)
    assert span_in(tmp_path / "none.mp4", "e") is None


def test_a_longer_event_is_cut_and_says_so(tmp_path: Path) -> None:
    with Shoot(tmp_path / "r", max_clip=3.0, snapshots=False) as shoot:
        shoot.play(8.0, lambda n: 0.9 if n >= 40 else 0.1)
        until(lambda: len(clips(tmp_path / "r")) == 1)
        seen = decode(clips(tmp_path / "r")[0])
        assert seen.numbers == list(range(20, 81))
        assert seen.comment == "cut short"
        assert shoot.recorder.counts["cut"] == 1
    assert len(clips(tmp_path / "r")) == 1, "the end makes no second one"


def test_a_clip_goes_on_after_the_video_broke_off(tmp_path: Path) -> None:
    """The camera comes back 0.7 s later with another size, as after a reconnect."""
    with Shoot(tmp_path / "r") as shoot:
        shoot.play(3.0, between(40, 99))
        shoot.image = lambda number: picture(number, 640, 480)
        shoot.number += 14
        shoot.play(4.0, between(40, 99))
    (clip,) = clips(tmp_path / "r")
    seen = decode(clip)
    assert {image.shape for image in seen.images} == {(240, 320, 3)}
    assert seen.numbers[: 60 - seen.numbers[0]] == list(range(seen.numbers[0], 60))
    assert len(seen.numbers) == 120 - seen.numbers[0] - 14
    assert max(np.diff(seen.times)) == pytest.approx(15 / FPS, abs=0.01), "the hole is in the clip as it was"


def test_at_the_end_of_the_program_clips_are_closed_early(tmp_path: Path) -> None:
    with Shoot(tmp_path / "r", clock=FakeClock()) as shoot:  # time enough to encode what waits
        shoot.play(4.0, lambda n: 0.9 if n >= 40 else 0.1)
        for ended in shoot.tracker.end_all(Moment(BEGIN + 3.95, WALL + 3.95), "stopped"):
            shoot.recorder.event(ended)
        assert shoot.recorder.close(patience(10.0))
    seen = decode(clips(tmp_path / "r")[0])
    assert seen.numbers == list(range(seen.numbers[0], 80))
    assert seen.comment == "cut short"


def test_a_camera_that_gives_nothing_more_ends_its_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_recorder, "PATIENCE", 0.1)
    with Shoot(tmp_path / "r", post_roll=0.2, snapshots=False) as shoot:
        shoot.play(3.0, between(30, 200))
        for ended in shoot.tracker.end_all(Moment(BEGIN + 2.95, WALL + 2.95), "camera reconnecting"):
            shoot.recorder.event(ended)
        until(lambda: len(clips(tmp_path / "r")) == 1)
    assert decode(clips(tmp_path / "r")[0]).numbers[-1] == 59


def test_large_cameras_make_small_clips_and_large_snapshots(tmp_path: Path) -> None:
    with Shoot(tmp_path / "r", max_height=100, image=lambda n: picture(n, 322, 241)) as shoot:
        shoot.play(4.0, between(40, 59))
    assert snapshot(snapshots(tmp_path / "r")[0]).shape == (241, 322, 3)
    assert decode(clips(tmp_path / "r")[0]).images[0].shape == (100, 134, 3)
    assert fitted(1921, 1081, 720) == (1278, 720)
    assert fitted(1, 1, 720) == (2, 2)


def test_only_the_wanted_labels_and_cameras(tmp_path: Path) -> None:
    with Shoot(tmp_path / "r", labels=("calm",)) as shoot:
        shoot.play(4.0, between(40, 59))
    assert shoot.of(Phase.END)
    assert not clips(tmp_path / "r")
    assert not snapshots(tmp_path / "r")
    camera = CameraConfig(name="a", source="demo")
    other = CameraConfig(name="b", source="demo")
    config = Config(cameras=(camera, other), recording=recording(tmp_path / "s", cameras=("b",)))
    made = EventPictures(config)
    assert made.receiver("a") is None
    assert made.receiver("b") is not None


# --- names ---


@pytest.mark.parametrize(
    "name",
    ["../../etc", "Front Door", "kapı", "كاميرا", "con", "a" * 100, "..", "x.", "%2F", "CAM", "\ud800"],
)
def test_names_are_safe_and_differ(tmp_path: Path, name: str) -> None:
    safe = files.safe_name(name)
    assert safe != files.safe_name(name + "x")
    assert safe not in (name, ".", "..")
    assert not set(safe) & set('/\\:*?"<>|')
    assert len(safe.encode()) < 200
    place = files.place(tmp_path, name, name, WALL, files.CLIP)
    assert place.resolve().is_relative_to(tmp_path.resolve())
    place.parent.mkdir(parents=True)
    place.touch()
    assert files.find(tmp_path, name, name).clip == place
    assert files.find(tmp_path, name, name, WALL).clip == place
    assert files.find(tmp_path, name.swapcase() + ".", name).clip is None


def test_plain_names_stay_as_they_are(tmp_path: Path) -> None:
    place = files.place(tmp_path, "front-door", "9f2c61d0a4be", WALL, files.SNAPSHOT)
    day = time.strftime("%Y-%m-%d", time.gmtime(WALL))
    assert place == tmp_path / "front-door" / day / "event-9f2c61d0a4be.jpg"


def test_find_sees_nothing_that_is_not_there(tmp_path: Path) -> None:
    assert files.find(tmp_path / "nowhere", "cam", "x") == files.Recording()
    assert files.find(tmp_path, "cam", "x", float("nan")) == files.Recording()
    assert files.find(tmp_path, "cam", "x", 1e300) == files.Recording()
    secret = tmp_path / "secret"
    secret.write_text("key")
    place = files.place(tmp_path, "cam", "x", WALL, files.CLIP)
    place.parent.mkdir(parents=True)
    place.symlink_to(secret)
    assert files.find(tmp_path, "cam", "x") == files.Recording(), "a link leads out of the folder"


def test_a_start_that_is_rounded_over_midnight_is_found(tmp_path: Path) -> None:
    midnight = 1_795_046_400.0
    place = files.place(tmp_path, "cam", "x", midnight - 0.0004, files.CLIP)
    place.parent.mkdir(parents=True)
    place.touch()
    assert files.find(tmp_path, "cam", "x", midnight).clip == place


# --- settings ---


def test_an_unknown_camera_is_refused(tmp_path: Path) -> None:
    config = Config(
        cameras=(CameraConfig(name="desk", source=0),), recording=recording(tmp_path, cameras=("dsek",))
    )
    with pytest.raises(ConfigError, match="there is no camera 'dsek'; known: desk"):
        EventPictures(config)


def test_clips_without_pyav_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "av")
    with pytest.raises(ConfigError, match=r"recording.clips needs av \(extra video\): .* install av=="):
        EventPictures(Config(recording=recording(tmp_path / "r")))
    assert not (tmp_path / "r").exists()
    EventPictures(Config(recording=recording(tmp_path / "r", clips=False)))


# --- memory and threads ---


@pytest.mark.realtime
def test_memory_is_bounded(tmp_path: Path) -> None:
    """Pictures that compress badly: the seconds before an event get fewer, not the memory more."""
    noise = np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8)
    most = 0
    with Shoot(tmp_path / "r", memory_mb=4.0, image=lambda n: np.roll(noise, n, 1), pre_roll=5.0) as shoot:
        for _ in range(10):
            shoot.play(0.5, lambda n: 0.9 if n >= 80 else 0.1)
            most = max(most, shoot.recorder._camera_recorders["front-door"].bytes)
    assert 1_000_000 < most <= 4_500_000
    assert shoot.recorder.counts["memory"] > 0


def test_stills_are_bounded_in_seconds() -> None:
    stills = RecentPictures(2.0)
    for number in range(100):
        stills.add(number / 10, b"x" * 10)
    assert len(stills) == 21
    assert stills.bytes == 210
    assert [still.index for still in stills.since(0, 3)] == [79, 80, 81]
    assert stills.first_at(9.0) == 90
    assert stills.first_at(99.0) == 100
    found = stills.nearest(9.04)
    assert found is not None
    assert found.time == 9.0
    stills.add(9.5, b"late")
    assert len(stills) == 21, "not newer than the newest"
    stills.add(0.5, b"again")
    assert len(stills) == 1, "a time line that begins anew"


def test_the_cameras_thread_never_waits_for_the_recorder(tmp_path: Path) -> None:
    """Nobody takes the pictures: the oldest are dropped and counted."""
    from streamer.recording.recorder import Recorder

    retention.prepare(tmp_path)
    config = recording(tmp_path)
    made = Recorder(config, DiskWriter(tmp_path, config, pytest.fail), tmp_path)
    receive = made.receiver("cam")
    image = picture(0)
    began = time.monotonic()
    for number in range(200):
        receive(image, number / 100)
    assert time.monotonic() - began < patience(5.0)
    came = 40  # of 2 seconds at 20 frames/s
    assert made.counts["dropped"] == pytest.approx(came - MOST_WAITING, abs=2)
    assert len(made._queues["cam"].waiting) == MOST_WAITING


def test_a_recorder_that_breaks_says_so_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no such codec")

    monkeypatch.setattr(camera_recorder, "H264Encoder", broken)
    with Shoot(tmp_path / "r") as shoot:
        shoot.play(10.0, between(40, 59))
        assert len(shoot.of(Phase.END)) == 1
        until(lambda: bool(shoot.notes))
        assert shoot.notes == ["events of front-door are no longer recorded: RuntimeError: no such codec"]


def test_a_camera_whose_pictures_cannot_be_used_costs_no_other(tmp_path: Path) -> None:
    shoot = Shoot(tmp_path / "r")
    odd = shoot.recorder.receiver("odd")
    with shoot:
        odd(np.zeros((9, 9, 7), np.uint8), BEGIN)
        shoot.play(4.0, between(40, 59))
        odd(np.zeros((9, 9, 7), np.uint8), BEGIN + 1)
    assert len(clips(tmp_path / "r")) == 1
    assert [note for note in shoot.notes if "events of odd are no longer recorded" in note] == shoot.notes


def test_odd_names_do_not_break_a_clip(tmp_path: Path) -> None:
    with Shoot(tmp_path / "r", camera="a\x00b\ud800", snapshots=False) as shoot:
        shoot.play(3.0, between(20, 29))
    assert decode(clips(tmp_path / "r")[0]).title.startswith("busy, a?b?, ")


# --- labels in the picture ---


def test_the_label_is_drawn_while_the_event_lasts(tmp_path: Path) -> None:
    grey = np.full((240, 320, 3), 128, np.uint8)

    def image(number: int) -> Any:
        made = grey.copy()
        made[:16] = picture(number)[:16]
        return made

    with Shoot(tmp_path / "r", overlay=True, image=image) as shoot:
        shoot.play(5.0, between(40, 59))
    seen = decode(clips(tmp_path / "r")[0])
    for number, shown in zip(seen.numbers, seen.images, strict=True):
        corner = shown[-14:, :40]
        if 41 <= number <= 58:
            assert corner.min() < 40, f"black behind the text in picture {number}"
            assert corner.max() > 180, "white text"
        elif number < 39 or number > 75:
            assert abs(int(corner.mean()) - 128) < 10, f"nothing in picture {number}"
    assert snapshot(snapshots(tmp_path / "r")[0])[-14:, :40].min() < 40


@pytest.mark.parametrize("name", ["el sallıyor", "يلوح بيده", "挥手", "", "\x1b[2J", "x" * 500, "🎉"])
def test_any_name_can_be_drawn(name: str) -> None:
    image = np.full((120, 160, 3), 128, np.uint8)
    draw(image, [(name, "waving")] * 9)
    assert image.min() == 0
    assert image.max() > 180


# --- in the program ---

QUIET: dict[str, Any] = {
    "bus": BusConfig(bind=""),
    "pace": Pace.FAST,
    "capture": CaptureConfig(give_up=True),
}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s of numbered pictures at 25 frames/s."""
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", moving(300), 25)


def score(window: Window) -> tuple[float, float]:
    """Busy from 4 to 6 s into the file, most at 5."""
    at = window.frames[-1].media_time or 0.0
    busy = 0.95 - abs(at - 5.0) * 0.1 if 4.0 <= at <= 6.0 else 0.1
    return 1.0 - busy, busy


@pytest.mark.realtime
def test_the_whole_program_records(tmp_path: Path, film: Path) -> None:
    config = Config(
        cameras=(CameraConfig(name="Front Door", source=str(film)),),
        events=EventsConfig(half_life=0.0, ignore=("calm",)),
        journal=JournalConfig(path=str(tmp_path / "h.db")),
        recording=recording(tmp_path / "r", fps=25, pre_roll=2.0, post_roll=2.0),
        **QUIET,
    )
    with Pipeline(config, recognizer=FakeRecognizer(score)) as pipeline:
        assert pipeline.run(threading.Event()).ok
        assert any("kept for 14 days" in note for note in pipeline.stats().notes), "it is said where to"
    (clip,), (still,) = clips(tmp_path / "r"), snapshots(tmp_path / "r")
    seen = decode(clip)
    assert 25 <= seen.numbers[0] <= 52  # two seconds before 4 s, at a key frame
    assert seen.numbers == list(range(seen.numbers[0], seen.numbers[0] + len(seen.numbers)))
    assert 192 <= seen.numbers[-1] <= 202  # two seconds after 6 s
    assert read_stamp(snapshot(still)) == pytest.approx(125, abs=3)

    found = listed(
        "--journal", str(tmp_path / "h.db"), "--recordings", str(tmp_path / "r"), "--format", "json"
    )
    (told,) = map(json.loads, found.splitlines())
    assert (told["snapshot"], told["clip"]) == (str(still), str(clip))
    assert (told["clip_from"], told["clip_to"]) == span_in(clip, told["id"])
    assert files.find(tmp_path / "r", "Front Door", told["id"]) == files.Recording(still, clip)
    table = listed("--journal", str(tmp_path / "h.db"), "--recordings", str(tmp_path / "r"))
    assert table.splitlines()[1].endswith(str(clip))
    assert f" {told['clip_from']:.1f} s  " in table, "the second of the clip at which it begins"
    nowhere = json.loads(listed("--journal", str(tmp_path / "h.db"), "--format", "json"))
    assert (nowhere["snapshot"], nowhere["clip"], nowhere["clip_from"]) == (None, None, None)
    (tmp_path / "c.yaml").write_text("journal: {path: h.db}\nrecording: {folder: r}\n")
    assert listed("--config", str(tmp_path / "c.yaml")).count(str(clip)) == 1


def listed(*words: str) -> str:
    from streamer.cli.command_line import main

    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["events", *words]) == 0
    return out.getvalue()


def test_nothing_is_written_unless_it_is_turned_on(tmp_path: Path, film: Path, own_folders: Path) -> None:
    config = Config(
        cameras=(CameraConfig(name="cam", source=str(film)),),
        events=EventsConfig(half_life=0.0, ignore=("calm",)),
        journal=JournalConfig(path=""),
        recording=recording(tmp_path / "r", snapshots=False, clips=False),
        **QUIET,
    )
    with Pipeline(config, recognizer=FakeRecognizer(score)) as pipeline:
        assert pipeline.run(threading.Event()).ok
        assert not any("recording" in thread.name for thread in threading.enumerate())
    assert not (tmp_path / "r").exists()
    assert not [path for path in own_folders.rglob("*") if path.suffix in (".jpg", ".mp4", ".part")]


def test_without_a_folder_pictures_lie_beside_the_history(tmp_path: Path, own_folders: Path) -> None:
    config = Config(recording=recording(tmp_path).model_copy(update={"folder": None}))
    EventPictures(config)
    assert retention.default_folder().is_relative_to(own_folders)
    assert (retention.default_folder() / files.MARKER).is_file()


# --- in a browser ---


@pytest.mark.browser
def test_chromium_plays_a_clip(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    from tests.helpers.page_browser import CHROMIUM

    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with Shoot(tmp_path / "r") as shoot:
        shoot.play(3.0, between(30, 35))
    (clip,) = clips(tmp_path / "r")
    page_file = clip.with_name("page.html")
    page_file.write_text(f'<video id="v" muted src="{clip.name}"></video>')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(page_file.as_uri())
        if not page.evaluate(
            "document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.4d401f\"')"
        ):
            pytest.skip("this Chromium has no H.264")
        page.evaluate("document.getElementById('v').play()")
        page.wait_for_function("document.getElementById('v').ended", timeout=30_000)
        told = page.evaluate(
            "(v => [v.videoWidth, v.videoHeight, v.duration, v.error])(document.getElementById('v'))"
        )
        browser.close()
    assert told[:2] == [320, 240]
    assert told[2] == pytest.approx(decode(clip).seconds, abs=0.05)
    assert told[3] is None
