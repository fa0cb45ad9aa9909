"""What can be opened, and what is said of what cannot."""

from __future__ import annotations

import logging
import os
import socket
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from streamer.capture import Kind, kind_of, list_devices, open_source
from streamer.capture.address import parse, split_userinfo
from streamer.config import CameraConfig, CaptureConfig, Pace
from streamer.errors import SourceOpenError
from streamer.types import CameraState, Frame
from tests.helpers.cameras import QUICK, Watched
from tests.helpers.media import moving, picture, write_clip, write_sound
from tests.helpers.servers.mini_rtsp import MiniRtsp
from tests.helpers.servers.mjpeg import MjpegCamera

pytestmark = pytest.mark.usefixtures("no_thread_left")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "plain.mp4", moving(50))
    write_clip(folder / "stream.h264", moving(250), container="h264", gop=10)
    return folder


def fails(source: str | int, **config: Any) -> SourceOpenError:
    with pytest.raises(SourceOpenError) as caught:
        open_source(CameraConfig(name="front-door", source=source, **config), QUICK)
    message = str(caught.value)
    assert message.startswith("camera front-door: ")
    assert "\n" not in message
    assert ";" in message, "it says what to try"
    return caught.value


def files(folder: Path, **how: Any) -> Watched:
    return Watched(str(folder), pace=Pace.FAST, **how).run()


# -- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "b_frames"),
    [
        ("a.mp4", "libx264", 0),
        ("b.mp4", "libx264", 3),
        ("b.avi", "libx264", 3),  # its time stamps start late and end in zeros
        ("a.mkv", "libx264", 2),
        ("a.ts", "libx264", 0),
        ("raw.h264", "libx264", 0),  # no time stamps at all
        ("a b ü 影.avi", "mjpeg", 0),
        ("numbers %d.mp4", "libx264", 0),
    ],
)
def test_every_frame_of_a_file_comes_once_at_its_time(
    tmp_path: Path, name: str, codec: str, b_frames: int
) -> None:
    seen = files(write_clip(tmp_path / name, moving(40), codec=codec, b_frames=b_frames))
    assert seen.numbers == list(range(40))
    assert [frame.media_time for frame in seen.frames] == pytest.approx(
        [i / 25 for i in range(40)], abs=0.002
    )
    first = seen.frames[0]
    for frame in seen.frames:
        assert frame.time - first.time == pytest.approx(frame.media_time)
        assert frame.image.flags.writeable is False
    assert seen.states == [CameraState.CONNECTING, CameraState.RUNNING, CameraState.ENDED]


def test_one_frame_is_a_film_too(tmp_path: Path) -> None:
    assert files(write_clip(tmp_path / "one.mp4", moving(1))).numbers == [0]


def test_numbered_pictures(tmp_path: Path) -> None:
    import cv2

    for number in range(5):
        cv2.imwrite(str(tmp_path / f"shot-{number:03}.png"), picture(number))
    assert files(tmp_path / "shot-%03d.png").numbers == list(range(5))


@pytest.mark.parametrize(
    "pts",
    [lambda n: n if n < 20 else n + 25 * 7200, lambda n: n if n < 20 else n + 300],
    ids=["two hours' leap", "twelve seconds' leap"],
)
def test_a_leap_in_the_time_stamps_does_not_make_it_wait(tmp_path: Path, pts: Any) -> None:
    seen = files(write_clip(tmp_path / "leap.mkv", moving(40), pts=pts))
    assert seen.numbers == list(range(40))
    assert seen.frames[-1].media_time == pytest.approx(39 / 25, abs=0.01)


def test_variable_frame_times_are_kept(tmp_path: Path) -> None:
    times = [0, 1, 2, 10, 11, 30, 31, 32]
    seen = files(write_clip(tmp_path / "vfr.mkv", moving(8), pts=times.__getitem__))
    assert [frame.media_time for frame in seen.frames] == pytest.approx([t / 25 for t in times], abs=0.002)


@pytest.mark.realtime
def test_a_rate_chooses_the_same_frames_every_time(clips: Path) -> None:
    runs = [files(clips / "plain.mp4", rate=5) for _ in range(2)]
    assert runs[0].numbers == runs[1].numbers
    assert len(runs[0].numbers) == 10
    assert runs[0].camera.status.dropped == {"rate": 40}


def test_a_loop_goes_on_in_time_and_begins_again_in_the_file(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "short.mp4", moving(10))
    with Watched(str(clip), pace=Pace.FAST, loop=True) as seen:
        seen.until(lambda: len(seen.frames) >= 25, "two and a half rounds")
    frames = seen.frames[:25]
    assert [frame.epoch for frame in frames] == [0] * 10 + [1] * 10 + [2] * 5
    assert [frame.index for frame in frames] == list(range(25))
    assert frames[10].media_time == 0.0
    steps = [b.time - a.time for a, b in pairwise(frames)]
    assert steps == pytest.approx([0.04] * 24, abs=0.002)


def test_a_blocked_consumer_holds_a_fast_file_back(clips: Path) -> None:
    room = threading.Semaphore(3)
    stopped = threading.Event()

    def deliver(_: object) -> bool:
        while not room.acquire(timeout=0.02):
            if stopped.is_set():
                return False
        return True

    with Watched(str(clips / "plain.mp4"), pace=Pace.FAST, deliver=deliver) as seen:
        seen.until(lambda: len(seen.frames) == 3, "room for three")
        room.release()
        seen.until(lambda: len(seen.frames) == 4, "one more")
        assert seen.numbers == [0, 1, 2, 3]
        stopped.set()
    assert seen.camera.status.state is CameraState.ENDED


@pytest.mark.realtime
def test_a_file_plays_at_its_own_speed(clips: Path) -> None:
    seen = Watched(str(clips / "plain.mp4"), pace=Pace.REALTIME).run()
    lag = [frame.captured - frame.time for frame in seen.frames]
    assert seen.numbers == list(range(50)) or seen.camera.status.dropped
    assert min(lag) >= -0.001, "never early"


def test_bad_files_say_why(tmp_path: Path, clips: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("This is no video, " * 100)
    whole = (clips / "plain.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    write_sound(tmp_path / "sound.mp4")
    for name in ("empty.mp4", "text.mp4", "cut.mp4", "sound.mp4"):
        assert fails(str(tmp_path / name)).code == "codec", name
    assert fails(str(tmp_path)).code == "codec"
    missing = fails(str(tmp_path / "emty.mp4"))
    assert missing.code == "not_found"
    assert "did you mean" in str(missing)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_access_says_so(tmp_path: Path) -> None:
    secret = write_clip(tmp_path / "secret.mp4", moving(2))
    secret.chmod(0)
    assert fails(str(secret)).code == "permission"


def test_a_file_that_cannot_be_opened_fails_for_good(tmp_path: Path) -> None:
    seen = files(tmp_path / "absent.mp4")
    last = seen.statuses[-1]
    assert (last.state, last.code) == (CameraState.FAILED, "not_found")
    assert "absent.mp4" in last.detail


# -- addresses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (0, Kind.DEVICE),
        ("0", Kind.DEVICE),
        ("/dev/video3", Kind.DEVICE),
        ("rtsp://host/x", Kind.RTSP),
        ("RTSPS://host/x", Kind.RTSP),
        ("rtmp://host/live", Kind.RTMP),
        ("http://host/video", Kind.HTTP),
        ("https://host/live/index.m3u8?token=1", Kind.HLS),
        ("http://host/film.mp4", Kind.FILE),
        ("film.mp4", Kind.FILE),
        ("concat:a|b", Kind.FILE),
        ("demo", Kind.FILE),
    ],
)
def test_kinds_of_sources(source: str | int, kind: Kind) -> None:
    assert kind_of(CameraConfig(name="c", source=source)) is kind


def test_unknown_schemes_and_broken_addresses_are_refused() -> None:
    assert "rtsp" in str(fails("ftp://host/film"))
    for broken in ("rtsp://", "rtsp://user:secret@/x", "http://host:port/x", "rtsp://[::1/x"):
        assert "secret" not in str(fails(broken))


@pytest.mark.parametrize(
    ("source", "meant"),
    [
        ("192.168.1.20", "did you mean a camera? streamer add 192.168.1.20 looks for its video"),
        ("192.168.1.20:8554", "streamer add 192.168.1.20:8554"),
        ("/etc/streamer/cam.local", "streamer add cam.local"),
        ("192.168.1.20/stream1", "did you mean rtsp://192.168.1.20/stream1?"),
        ("rtsp//foo/live", "did you mean rtsp://foo/live?"),
        ("/etc/streamer/rtsp/foo", "did you mean rtsp://foo?"),
    ],
)
def test_what_is_no_file_but_an_address_is_understood(source: str, meant: str) -> None:
    assert meant in str(fails(source))


@pytest.mark.parametrize(
    ("source", "meant"),
    [
        ("rtsp:/me:hunter2@h/x", "rtsp"),
        ("RTSPS:me:hunter2@h/x", "rtsps"),
        ("http:/h/x?password=hunter2", "http"),
        ("me:hunter2@192.168.1.20/stream1", "rtsp"),
        ("me:hun/ter2@h", "rtsp"),
        ("/etc/streamer/rtsp:/me:hunter2@h/x", "rtsp"),
        ("/etc/streamer/me:hunter2@h", "rtsp"),
    ],
)
def test_an_address_without_its_slashes_is_named_and_not_quoted(source: str, meant: str) -> None:
    """It would be a file that is not there, and its password in the line that says so, and on the bus."""
    message = str(fails(source))
    assert f"lacks ://; write {meant}://HOST" in message
    assert "hun" not in message
    with pytest.raises(SourceOpenError, match="lacks ://"):
        kind_of(CameraConfig(name="c", source=source))  # what a camera's status says comes from here


@pytest.mark.parametrize(
    "source", ["a:b.mp4", "clips/12:30.mp4", "me@home.mp4", "C:\\me@home.mp4", "x/%04d.png"]
)
def test_files_with_such_signs_stay_files(source: str) -> None:
    assert kind_of(CameraConfig(name="c", source=source)) is Kind.FILE


def test_credentials_join_the_address_for_the_native_call_only(tmp_path: Path) -> None:
    word = "p@ss:w/rd %#ü"
    config = CameraConfig(
        name="c", source="rtsp://old:older@10.0.0.1:554/x?a=b", user="adm in", password=SecretStr(word)
    )
    address = parse(config)
    assert address.secret_url == "rtsp://adm%20in:p%40ss%3Aw%2Frd%20%25%23%C3%BC@10.0.0.1:554/x?a=b"
    assert (address.user, address.password) == ("adm in", word)
    assert address.place == "10.0.0.1:554"
    shown = repr(address) + str(address) + repr(config)
    for secret in (word, "p%40ss", "older", "adm%20in"):
        assert secret not in shown or secret == "older"  # what stands in `source` is the config's to hide
    (tmp_path / "word").write_text("from-file\n")
    filed = CameraConfig(name="c", source="rtsp://h/x", user="u", password_file=str(tmp_path / "word"))
    assert parse(filed).password == "from-file"
    (tmp_path / "word").unlink()
    with pytest.raises(SourceOpenError, match="password_file"):
        parse(filed)


def test_a_camera_may_want_its_password_in_the_address() -> None:
    source, word = "http://h/v?user=viewer&pwd={password}", SecretStr("p&ss {password}")
    address = parse(CameraConfig(name="c", source=source, password=word))
    assert address.secret_url == "http://h/v?user=viewer&pwd=p%26ss%20%7Bpassword%7D"
    assert "p%26ss" not in repr(address)
    both = parse(CameraConfig(name="c", source=source, user="u", password=SecretStr("word")))
    assert both.secret_url == "http://u:word@h/v?user=viewer&pwd=word"


def test_a_password_file_that_others_can_read_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    word = tmp_path / "word"
    word.write_text("hunter2")
    word.chmod(0o644)
    config = CameraConfig(name="c", source="rtsp://h/x", user="u", password_file=str(word))
    assert [parse(config).password for _ in range(3)] == ["hunter2"] * 3
    assert caplog.text.count(f"chmod 600 {word}") == 1
    assert "hunter2" not in caplog.text


def test_userinfo_is_found() -> None:
    assert split_userinfo("rtsp://u:p%40q@h:1/x@2") == ("rtsp://h:1/x@2", "u", "p@q")
    assert split_userinfo("rtsp://u:p@q@h/x") == ("rtsp://h/x", "u", "p@q")
    assert split_userinfo("rtsp://h/x") == ("rtsp://h/x", None, None)


# -- network ---------------------------------------------------------------------------------------------


def test_mjpeg_over_http(clips: Path) -> None:
    with MjpegCamera(fps=50) as server, Watched(server.url) as seen:
        seen.until_frames(20)
        numbers = seen.numbers
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        status = seen.camera.status
        assert (status.width, status.height, status.state) == (320, 240, CameraState.RUNNING)
        assert seen.frames[0].media_time is None
        assert all(frame.time == frame.captured for frame in seen.frames)
        newest = seen.camera.newest_picture()
        assert newest is not None
        image, time = newest
        assert time in {frame.time for frame in seen.frames}
        assert image.shape == (240, 320, 3)


@pytest.mark.realtime
def test_rtsp_delivers_or_counts_every_frame(clips: Path) -> None:
    counted: list[int] = []  # frames before each that is delivered, whatever became of them

    def deliver(frame: Frame) -> bool:
        counted.append(seen.camera.status.captured)
        return True

    with MiniRtsp(clips / "stream.h264") as server, Watched(server.url, deliver=deliver) as seen:
        seen.until_frames(30)
        numbers, upto = seen.numbers, list(counted)
    steps = zip(pairwise(numbers), pairwise(upto), strict=False)
    assert all((new - old) % 250 == after - before for (old, new), (before, after) in steps)


@pytest.mark.realtime
def test_rtsp_by_udp_only(clips: Path) -> None:
    with MiniRtsp(clips / "stream.h264") as server:
        server.udp_only = True
        with Watched(server.url) as seen:
            seen.until_frames(20)


@pytest.mark.realtime
def test_rtsp_without_parameter_sets_in_its_sdp(clips: Path) -> None:
    with MiniRtsp(clips / "stream.h264") as server:
        server.sprop = False
        with Watched(server.url) as seen:
            seen.until_frames(25)
    steps = [b.captured - a.captured for a, b in zip(seen.frames[1:], seen.frames[2:], strict=False)]
    assert sum(step < 0.005 for step in steps) <= 3, "the burst of old frames was taken for live ones"
    assert seen.camera.status.dropped.get("late", 0) >= 3


@pytest.mark.realtime
def test_network_failures_are_named(clips: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        quick = CaptureConfig(open_timeout=0.4, read_timeout=0.4)
        with pytest.raises(SourceOpenError) as silent:
            open_source(CameraConfig(name="c", source=f"rtsp://127.0.0.1:{port}/cam"), quick)
        assert silent.value.code == "timeout"
    assert fails(f"rtsp://127.0.0.1:{port}/cam").code == "unreachable"
    assert fails(f"rtmp://127.0.0.1:{port}/cam").code == "unreachable"
    with MjpegCamera(password="hunter2") as server:
        assert fails(server.url).code == "auth_failed"
        assert fails(server.url, user="cam", password=SecretStr("wrong")).code == "auth_failed"
        right = {"user": "cam", "password": SecretStr("hunter2")}
        assert fails(server.url.replace("video", "nothing"), **right).code == "not_found"
        page = fails(server.url.replace("video", "page"), **right)
        assert page.code == "codec"
        assert "text/html" in str(page)
        assert fails(server.url.replace("http:", "rtsp:")).code in ("unreachable", "unknown")
    for auth in ("digest", "basic"):
        with MiniRtsp(clips / "stream.h264", user="cam", password="hunter2", auth=auth) as camera:
            assert fails(camera.url).code == "auth_failed"
            assert fails(camera.url, user="cam", password=SecretStr("hunter3")).code == "auth_failed"
            wrong_path = camera.url.replace("/cam", "/other")
            assert fails(wrong_path, user="cam", password=SecretStr("hunter2")).code == "not_found"
            source = open_source(
                CameraConfig(name="c", source=camera.url, user="cam", password=SecretStr("hunter2")), QUICK
            )
            source.release()


# -- webcams ---------------------------------------------------------------------------------------------


def test_an_absent_webcam_is_named() -> None:
    error = fails(97)
    assert error.code == "not_found"
    assert "webcam 97" in str(error)


def test_devices_are_listed_without_opening_them(tmp_path: Path) -> None:
    for name, index, label in (("video2", "0", "Back"), ("video0", "0", "Front"), ("video1", "1", "Front")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index").write_text(index + "\n")
        (tmp_path / name / "name").write_text(label + "\n")
    from streamer.capture.devices import _from_sysfs

    assert [(d.index, d.path, d.name) for d in _from_sysfs(tmp_path)] == [
        (0, "/dev/video0", "Front"),
        (2, "/dev/video2", "Back"),
    ]
    assert _from_sysfs(tmp_path / "nothing") == []
    assert isinstance(list_devices(), list)


def test_nothing_is_logged_with_a_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Watched("rtsp://cam:hunter2@127.0.0.1:9/x?token=hunter2") as seen:
        seen.until(lambda: len(seen.statuses) >= 3, "two attempts")
    assert "hunter2" not in caplog.text + repr(seen.statuses)
    assert "unreachable" in seen.codes
