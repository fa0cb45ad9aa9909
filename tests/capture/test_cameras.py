"""One camera: its life, its picture, its region, its clocks, and native calls that never return."""

from __future__ import annotations

import itertools
import logging
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from streamer.capture import opencv, read_loop, source
from streamer.capture.address import Kind
from streamer.capture.camera_supervisor import MOST_ABANDONED
from streamer.capture.frame_rate import RateChoice, RateMeter
from streamer.capture.frozen_picture_check import PictureCheck
from streamer.capture.late_frames import LateFrames
from streamer.capture.region_of_interest import Region
from streamer.config import CaptureConfig, Pace
from streamer.testing import FakeClock
from streamer.types import CameraState
from tests.helpers.bus_parts import until
from tests.helpers.cameras import QUICK, Watched, gaps
from tests.helpers.media import moving, picture, write_clip
from tests.helpers.servers.mini_rtsp import MiniRtsp
from tests.helpers.servers.mjpeg import MjpegCamera

pytestmark = pytest.mark.usefixtures("no_thread_left")
HASTY = CaptureConfig(open_timeout=0.2, read_timeout=0.3, retry_min=0.05, retry_max=0.1)


# -- life ------------------------------------------------------------------------------------------


@pytest.mark.realtime
def test_a_short_stall_is_shown_and_keeps_the_connection() -> None:
    with MjpegCamera() as server, Watched(server.url) as seen:
        seen.until_frames(5)
        server.stall = True
        stalled = seen.until_state(CameraState.STALLED)
        server.stall = False
        seen.until_state(CameraState.RUNNING, stalled)
    assert seen.camera.status.reconnects in (0, 1)  # 1 where this machine took longer than the time-out
    assert seen.statuses[stalled].code == "timeout"
    assert seen.statuses[stalled].fps is None


def test_a_change_of_size_within_a_connection_goes_on() -> None:
    """OpenCV scales to the first size until the next connection: nothing is cut off, nothing stops."""
    with MjpegCamera() as server, Watched(server.url) as seen:
        seen.until_frames(3)
        server.draw = lambda number: picture(number, 640, 480)
        seen.until(lambda: seen.numbers[-1] == -1, "pictures of the new size, scaled")
        seen.until_frames(5)
        server.draw = picture
        seen.until(lambda: seen.numbers[-1] > 0, "the old size again")
    assert seen.camera.status.reconnects == 0


@pytest.mark.realtime
def test_a_camera_with_rare_key_frames_is_waited_for(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "rare.h264", moving(100), container="h264", gop=100)
    with MiniRtsp(clip) as server:
        impatient = QUICK.model_copy(update={"read_timeout": 0.6})
        with Watched(server.url, capture=impatient) as seen:
            seen.until_frames(3)
    assert "timeout" in seen.codes, "the first attempt was too short for this camera"


@pytest.mark.realtime
def test_a_camera_that_answers_before_it_has_video_is_tried_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent while it is opened, well when it is asked why: only seen twice is that a fault of its video."""
    real = source.find_reason

    def starts_up(*more: Any) -> Any:
        server.mute = False
        return real(*more)

    monkeypatch.setattr(source, "find_reason", starts_up)
    clip = write_clip(tmp_path / "clip.h264", moving(50), container="h264", gop=10)
    capture = QUICK.model_copy(update={"retry_max": 60.0})
    with MiniRtsp(clip) as server, Watched(server.url, capture=capture) as seen:
        seen.until_frames(3)
        server.mute = True
        server.drop()
        seen.until(lambda: "codec" in seen.codes, "why it cannot be opened")
        seen.until_frames(3)
    waits = [float(wait) for s in seen.statuses for wait in re.findall(r"next try in ([\d.]+) s", s.detail)]
    assert max(waits) < 10


@pytest.mark.realtime
def test_videos_that_others_open_in_this_process_get_none_of_our_options(tmp_path: Path) -> None:
    before = os.environ.get(opencv.CAPTURE_OPTIONS)
    with MiniRtsp(write_clip(tmp_path / "c.h264", moving(20), container="h264")) as server:
        with Watched(server.url) as seen:
            seen.until_frames(1)
        assert os.environ.get(opencv.CAPTURE_OPTIONS) == before


@pytest.mark.realtime
def test_fps_is_measured() -> None:
    with MjpegCamera(fps=10) as server, Watched(server.url) as seen:
        seen.until_frames(15)
        assert seen.camera.status.fps == pytest.approx(10, rel=0.3)


def test_frames_at_a_rate_are_counted_not_converted() -> None:
    with MjpegCamera(fps=40) as server, Watched(server.url, rate=10) as seen:
        seen.until_frames(10)
    dropped = seen.camera.status.dropped
    assert dropped["rate"] >= 20
    assert min(gaps(seen.frames)) > 0.03


def test_a_refused_frame_is_counted() -> None:
    with MjpegCamera() as server, Watched(server.url, deliver=lambda frame: frame.index % 2 == 0) as seen:
        seen.until_frames(10)
    status = seen.camera.status
    assert status.dropped["refused"] == pytest.approx(status.stored, abs=1)


def test_a_camera_that_stops_hangs_up_on_who_asked_nothing_too() -> None:
    with MjpegCamera() as server, socket.create_connection(("127.0.0.1", server.port), 20) as silent:
        until(lambda: len(server._connections) == 1, "the connection is taken")
        server.stop()
        assert silent.recv(1) == b""


def test_a_status_sink_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    with MjpegCamera() as server, Watched(server.url) as seen:
        seen.until_frames(1)
        seen.camera._on_status = broken
        server.draw = lambda number: np.zeros((240, 320, 3), np.uint8)
        seen.until_dropped("black", 20)
        server.draw = picture
        seen.until_frames(2)
    assert "could not be handed on" in caplog.text


def test_a_reduce_that_raises_is_reported_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    calls = iter(range(1_000_000))

    def reduce(image: Any) -> Any:
        if next(calls) == 2:
            raise ZeroDivisionError("a broken model")
        return image.copy()

    with MjpegCamera() as server, Watched(server.url, reduce=reduce, capture=HASTY) as seen:
        seen.until_state(CameraState.RECONNECTING)
        seen.until_frames(5)
    assert "a broken model" in caplog.text
    assert seen.frames[-1].epoch == 1
    assert seen.camera.status.dropped["error"] == 1


@pytest.mark.realtime
def test_stop_in_every_state_is_quick(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.h264", moving(50), container="h264")
    slow = CaptureConfig(open_timeout=30, read_timeout=30, retry_min=30)
    with MiniRtsp(clip) as server:
        for state in ("connecting", "stalled", "waiting", "unstarted"):
            server.mute, server.stall = state == "connecting", False
            seen = Watched("rtsp://127.0.0.1:9/x" if state == "waiting" else server.url, capture=slow)
            if state != "unstarted":
                seen.camera.start()
            if state == "stalled":
                seen.until_frames(3)
                server.stall = True
            if state == "waiting":
                seen.until(lambda s=seen: any(x.code for x in s.statuses), "a failure")
            seen.camera.stop()
            assert seen.camera.join(3.0), state
            assert state == "unstarted" or seen.camera.status.state is CameraState.ENDED
            server.drop()  # frees what hangs
            server.mute = False


# -- native calls that hang ------------------------------------------------------------------------


class HungSource:
    """A handle whose `grab` or opening never returns until `freed`; counts what becomes of it."""

    kind, place, width, height, fps, probed = Kind.HTTP, "10.0.0.1:80", 320, 240, None, False
    freed = threading.Event()
    opened: list[HungSource]

    def __init__(self) -> None:
        self.released_by: str | None = None
        self.thread = threading.current_thread().name
        self.grabs = 0
        HungSource.opened.append(self)

    def grab(self) -> bool:
        self.grabs += 1
        if self.grabs > 2:
            assert HungSource.freed.wait(30)
        return True

    def position(self) -> float:
        return 0.0

    def retrieve(self) -> Any:
        return picture(self.grabs)

    def release(self) -> None:
        self.released_by = threading.current_thread().name


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[HungSource]]:
    HungSource.opened, HungSource.freed = [], threading.Event()
    monkeypatch.setattr(read_loop, "open_source", lambda *_: HungSource())
    yield HungSource
    HungSource.freed.set()


@pytest.mark.realtime
def test_a_hung_read_is_left_behind_counted_and_bounded(hung: type[HungSource]) -> None:
    with Watched("http://10.0.0.1/x", capture=HASTY) as seen:
        seen.until(lambda: any("hang; no more" in s.detail for s in seen.statuses), "the bound")
        assert seen.camera.abandoned == MOST_ABANDONED
        assert len(hung.opened) == MOST_ABANDONED
        assert all(source.released_by is None for source in hung.opened), "nobody else may release a handle"
        count = len(seen.frames)
        hung.freed.set()
        seen.until(lambda: seen.camera.abandoned == 0, "the hung ones to come back")
        seen.until(lambda: len(hung.opened) > MOST_ABANDONED, "a new handle")
        old = hung.opened[:MOST_ABANDONED]
        assert all(source.released_by == source.thread for source in old)
        assert all(source.grabs == 3 for source in old), "an abandoned reader stops at once"
        assert count == 2 * MOST_ABANDONED, "and delivers nothing"
        assert [frame.epoch for frame in seen.frames[:count]] == [0, 0, 1, 1, 2, 2]


@pytest.mark.realtime
def test_stop_leaves_a_hung_call_behind(hung: type[HungSource]) -> None:
    patient = HASTY.model_copy(update={"read_timeout": 60.0})
    seen = Watched("http://10.0.0.1/x", capture=patient)
    seen.camera.start()
    seen.until(lambda: len(seen.frames) == 2, "two frames")
    seen.camera.stop()
    assert seen.camera.join(3.0)
    assert seen.camera.status.state is CameraState.ENDED
    assert seen.camera.abandoned == 1


@pytest.mark.realtime
def test_a_file_on_a_dead_drive_fails(hung: type[HungSource], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_loop, "_SEGMENT_GAP", 0.2)
    monkeypatch.setattr(hung, "kind", Kind.FILE)
    with Watched("film.mp4", pace=Pace.FAST, capture=HASTY) as seen:
        seen.until(lambda: seen.camera.finished, "the end")
    assert (seen.statuses[-1].state, seen.statuses[-1].code) == (CameraState.FAILED, "timeout")


# -- the picture -----------------------------------------------------------------------------------


def states(images: list[Any], fps: float = 25.0) -> list[str]:
    check = PictureCheck(frozen_after=1.0)
    return [check.see(image, number / fps) for number, image in enumerate(images)]


def noisy(count: int, sigma: float, seed: int = 5) -> list[Any]:
    cv2.setRNGSeed(seed)
    scene, noise = picture(3, 640, 480), np.empty((480, 640, 3), np.float32)
    return [cv2.add(scene, cv2.randn(noise, 0, sigma), dtype=cv2.CV_8U) for _ in range(count)]


def test_the_same_picture_for_a_while_is_frozen_and_life_ends_it() -> None:
    seen = states([picture(3)] * 40 + [picture(4)])
    assert seen[:25] == ["ok"] * 25
    assert seen[26:40] == ["frozen"] * 14
    assert seen[40] == "ok"


@pytest.mark.parametrize("sigma", [0.2, 1.0, 4.0])
def test_a_still_scene_with_sensor_noise_is_not_frozen(sigma: float) -> None:
    assert set(states(noisy(60, sigma))) == {"ok"}


@pytest.mark.realtime
@pytest.mark.parametrize("bitrate", [300_000, 1_000_000])
def test_noise_that_went_through_an_encoder_is_not_frozen(tmp_path: Path, bitrate: int) -> None:
    clip = write_clip(tmp_path / "noise.mp4", noisy(75, 1.0), bitrate=bitrate)
    assert set(states(decoded(clip))) == {"ok"}


@pytest.mark.realtime
def test_a_frozen_feed_that_is_encoded_again_is_frozen_through_its_key_frames(tmp_path: Path) -> None:
    still = [picture(3, 640, 480)] * 100
    clip = write_clip(tmp_path / "still.mp4", still, bitrate=0, options={"qp": "28"})
    seen = states(decoded(clip))
    assert seen[40:] == ["frozen"] * 60


def test_a_small_moving_thing_is_life() -> None:
    def scene(number: int) -> Any:
        image = picture(3, 640, 480)
        image[200:212, 20 + number * 3 : 32 + number * 3] = 255
        return image

    assert set(states([scene(number) for number in range(60)])) == {"ok"}


def test_black_and_grey_are_told_from_dark_and_plain() -> None:
    dark = (noisy(1, 3.0)[0] // 6).astype(np.uint8)
    wall = np.clip(np.random.default_rng(1).normal(128, 4, (480, 640, 3)), 0, 255).astype(np.uint8)
    half = picture(1, 640, 480)
    half[200:] = 130
    assert states([np.full((480, 640, 3), 3, np.uint8)]) == ["black"]
    assert states([dark]) == ["ok"]
    assert states([wall]) == ["ok"]
    assert states([half]) == ["grey"]


def test_a_flash_of_black_does_not_break_the_time_line() -> None:
    with MjpegCamera() as server, Watched(server.url) as seen:
        seen.until_frames(3)
        server.draw = lambda number: np.zeros((240, 320, 3), np.uint8)
        seen.until_dropped("black", 2)
        server.draw = picture
        seen.until_frames(3)
        if all(status.picture == "ok" for status in seen.statuses):
            assert seen.frames[-1].epoch == 0


def test_a_film_may_hold_still_and_go_dark(tmp_path: Path) -> None:
    images = [picture(1)] * 40 + [np.zeros((240, 320, 3), np.uint8)] * 40
    seen = Watched(str(write_clip(tmp_path / "film.mp4", images)), pace=Pace.FAST).run()
    assert len(seen.frames) == 80


def decoded(clip: Path) -> list[Any]:
    import cv2

    capture, images = cv2.VideoCapture(str(clip)), []
    while True:
        ok, image = capture.read()
        if not ok:
            return images
        images.append(image)


# -- region, rates, clocks -------------------------------------------------------------------------


def test_a_box_is_cut_out() -> None:
    image = picture(1, 320, 240)
    assert np.array_equal(Region([(0.25, 0.5), (0.75, 1.0)]).cut(image), image[120:240, 80:240])
    assert np.array_equal(Region([(0.75, 1.0), (0.25, 0.5)]).cut(image), image[120:240, 80:240])
    assert Region([(1.0, 1.0), (1.0, 1.0)]).cut(image).shape == (1, 1, 3)


def test_outside_a_polygon_it_is_black() -> None:
    image = np.full((100, 200, 3), 90, np.uint8)
    part = Region([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]).cut(image)
    assert part.shape == (100, 200, 3)
    assert part[10, 10].tolist() == [90, 90, 90]
    assert part[90, 190].tolist() == [0, 0, 0]
    assert image[90, 190].tolist() == [90, 90, 90], "the original is whole"
    assert part.mean() == pytest.approx(45, rel=0.1)


def test_a_camera_gives_its_region_only(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.mp4", moving(3))
    seen = Watched(str(clip), pace=Pace.FAST, region=((0.0, 0.0), (0.5, 0.5))).run()
    assert {frame.image.shape for frame in seen.frames} == {(120, 160, 3)}
    newest = seen.camera.newest_picture()
    assert newest is not None
    image, _ = newest
    assert image.shape == (240, 320, 3), "the preview is whole"


@pytest.mark.parametrize("fps", [1, 7, 12.5, 15, 24, 25, 30, 60])
@pytest.mark.parametrize("rate", [1.0, 3.75, 7.5, 15.0, 30.0])
def test_a_rate_keeps_about_that_many(fps: float, rate: float) -> None:
    choice, rng = RateChoice(rate), random.Random(3)
    times = [number / fps + rng.uniform(0, 0.2) / fps for number in range(int(20 * fps))]
    kept = [time for time in times if choice.keeps(time)]
    assert len(kept) / 20 == pytest.approx(min(fps, rate), rel=0.15)
    assert max(b - a for a, b in itertools.pairwise(kept)) < 2.1 * max(1 / fps, 1 / rate)


def test_fps_counts_gaps_not_frames() -> None:
    meter = RateMeter()
    assert meter.fps is None
    for number in range(11):
        meter.add(number / 10)
    assert meter.fps == pytest.approx(10.0)


def test_a_machine_too_slow_for_a_file_skips_and_then_plays_slower() -> None:
    clock = FakeClock()
    session = SimpleNamespace(clock=clock, stop=threading.Event())
    pacer, begin = read_loop._Pacer(session), clock.monotonic()  # type: ignore[arg-type]
    shown, skipped = [], []
    for number in range(400):  # 40 ms of video a frame; decoding takes 60 ms
        clock.advance(0.06)
        (shown if pacer.wait(begin + number * 0.04) else skipped).append(number)
    assert skipped
    assert skipped[0] > 20, "half a second late is still shown"
    assert max(b - a for a, b in pairwise(shown)) * 0.06 < 2.5, "never dark for long"
    quick, begin = read_loop._Pacer(session), clock.monotonic()  # type: ignore[arg-type]
    assert quick.wait(begin + 5.0)
    assert clock.monotonic() == pytest.approx(begin + 5.0)


def test_opens_with_other_options_take_turns_but_wait_for_no_hung_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(opencv.CAPTURE_OPTIONS, "before")
    gate = opencv.OptionsGate(settle=0.3)
    hang, seen, done = threading.Event(), {}, threading.Event()

    def open_and_hang() -> None:
        with gate.set_to("a"):
            seen["a"] = os.environ[opencv.CAPTURE_OPTIONS]
            hang.wait(20)

    def open_other() -> None:
        with gate.set_to(None):
            seen["none"] = os.environ.get(opencv.CAPTURE_OPTIONS)
        done.set()

    threads = [threading.Thread(target=open_and_hang) for _ in range(2)]
    for thread in threads:
        thread.start()
    other = threading.Thread(target=open_other)
    other.start()
    assert done.wait(20), "a hung open must not hold the others up"
    hang.set()
    for thread in [*threads, other]:
        thread.join(20)
    assert seen == {"a": "a", "none": None}


def test_old_frames_are_told_from_live_ones() -> None:
    burst = LateFrames(first_is_old=True)
    assert all(burst.is_old(n / 25, 100 + n * 0.001) for n in range(25))
    assert not any(burst.is_old(1 + n / 25, 100.065 + n / 25) for n in range(200))
    behind, old = LateFrames(), []
    arrived = 100.0
    for number in range(200):  # a consumer of 10 a second at a camera of 25
        arrived = max(arrived + 0.001, 100 + number / 25)
        old.append(behind.is_old(number / 25, arrived))
        arrived += 0 if old[-1] else 0.1
    assert 0.4 < sum(old) / 200 < 0.8
    assert arrived - 100 < 200 / 25 + 0.5
    nonsense = LateFrames()
    assert sum(nonsense.is_old(0.0, 100 + n / 25) for n in range(1000)) < 750, (
        "constant stamps do not blind it"
    )


# -- a webcam --------------------------------------------------------------------------------------

_WEBCAM = """
import sys
from tests.helpers.cameras import QUICK, Watched
from streamer.testing import FakeClock
from streamer.types import CameraState
with Watched(0, capture=QUICK.model_copy(update={"open_timeout": 0.5, "read_timeout": 2.0})) as seen:
    exec(sys.argv[1])
print("FRAMES", len(seen.frames), "EPOCHS", sorted({f.epoch for f in seen.frames}), "CODES", seen.codes)
print("LEFT", seen.camera.abandoned)
"""


@pytest.fixture(scope="module")
def fake_webcam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("the pretended webcam needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("webcam") / "fake_webcam.so"
    source = Path(__file__).parents[1] / "helpers" / "servers" / "fake_webcam.c"
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60
    )
    import cv2

    stamped = [cv2.cvtColor(picture(n, 640, 480), cv2.COLOR_BGR2YUV_YUY2) for n in range(30)]
    (library.parent / "frames.yuyv").write_bytes(b"".join(image.tobytes() for image in stamped))
    return library


def webcam(library: Path, script: str, **settings: str) -> str:
    environment = {
        **os.environ,
        **settings,
        "LD_PRELOAD": str(library),
        "FAKE_YUYV": str(library.parent / "frames.yuyv"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    run = subprocess.run(
        [sys.executable, "-c", _WEBCAM, script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.realtime
def test_a_webcam_through_v4l2(fake_webcam: Path) -> None:
    script = "seen.until_frames(20)\nassert all((b - a) % 30 for a, b in zip(seen.numbers, seen.numbers[1:]))"
    assert "EPOCHS [0] CODES {None}" in webcam(fake_webcam, script)


@pytest.mark.realtime
def test_a_webcam_that_is_unplugged_is_named(fake_webcam: Path) -> None:
    script = (
        "seen.until_state(CameraState.RECONNECTING)\nseen.until(lambda: 'not_found' in seen.codes, 'named')"
    )
    assert "'lost'" in webcam(fake_webcam, script, FAKE_UNPLUG_AFTER="20")


@pytest.mark.realtime
def test_a_webcam_that_hangs_is_opened_again(fake_webcam: Path) -> None:
    script = "seen.until(lambda: seen.frames and seen.frames[-1].epoch == 1, 'a second life')"
    out = webcam(fake_webcam, script, FAKE_HANG_AFTER="15")
    assert "EPOCHS [0, 1]" in out
    assert "'timeout'" in out


@pytest.mark.realtime
def test_a_webcam_whose_driver_hangs_at_opening_is_left_behind(fake_webcam: Path) -> None:
    out = webcam(
        fake_webcam, "seen.until(lambda: seen.camera.abandoned == 1, 'left behind')", FAKE_STUCK="30"
    )
    assert "FRAMES 0" in out
    assert "LEFT 1" in out or "LEFT 2" in out


def test_logs_name_the_camera_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with Watched("rtsp://127.0.0.1:9/x", capture=HASTY) as seen:
        seen.until(lambda: len(seen.statuses) >= 6, "several attempts")
    assert caplog.text.count("camera front-door: ") == 1, "the same failure is not logged again and again"
