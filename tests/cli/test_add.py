"""`streamer add`: with real RTSP servers and a terminal; no password is ever printed."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from streamer.capture import onvif_stream
from streamer.capture.network_discovery import FoundCamera
from streamer.cli import command_line
from streamer.config import CameraConfig, CaptureConfig, load_config
from streamer.errors import SourceCode, SourceOpenError
from tests.helpers.media import moving, write_clip
from tests.helpers.servers import gst
from tests.helpers.servers.mini_rtsp import MiniRtsp
from tests.helpers.servers.mjpeg import MjpegCamera
from tests.helpers.servers.onvif import OnvifCamera

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hunter2 with:odd@signs"
_GST_MISSING = gst.missing()
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.h264"
    write_clip(path, moving(50), fps=25)
    return path


@pytest.fixture(autouse=True)
def onvif_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else listens on this machine is asked nothing."""
    monkeypatch.setattr(onvif_stream, "PORTS", ())


def add(*words: str) -> int:
    return command_line.main(["add", *words])


def add_on_a_terminal(url: str, folder: Path, answers: dict[bytes, bytes]) -> tuple[int, str]:
    """`streamer add` as a process: its exit code, and all that its terminal showed. Each question of
    `answers` is answered once.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "streamer", "add", url, "--name", "porch"],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(theirs)
    shown, left = bytearray(), dict(answers)
    killer = threading.Timer(60, process.kill)
    killer.start()
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the terminal's end
            break
        for question in [question for question in left if question in shown]:
            os.write(ours, left.pop(question))
    killer.cancel()
    os.close(ours)
    return process.wait(10), shown.decode()


@pytest.mark.realtime
def test_an_address_becomes_a_camera_by_a_known_path(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    with MiniRtsp(clip) as server:
        server.path = "/stream1"
        assert add(f"127.0.0.1:{server.port}", "--name", "porch") == 0
    (camera,) = load_config("cameras.yaml").cameras
    assert (camera.name, camera.source) == ("porch", f"rtsp://127.0.0.1:{server.port}/stream1")
    assert Path("porch.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    assert Path("porch.jpg").stat().st_mode & 0o777 == 0o600
    said = capsys.readouterr().err
    assert "(a path of TP-Link Tapo)" in said
    assert (
        said.splitlines()[-1]
        == "streamer: porch is in cameras.yaml; watch it: streamer run --config cameras.yaml"
    )


@pytest.mark.realtime
@pytest.mark.parametrize("password", [SECRET, "wrong"])
def test_a_camera_that_speaks_onvif_says_where_its_video_is(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, password: str
) -> None:
    """The host stays the one that was asked, whatever it answers; where it refuses, paths are tried."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOOR", password)
    with (
        MiniRtsp(clip) as server,
        OnvifCamera("rtsp://10.9.9.9:554/own/path?stream=1&amp;x=2", "ivy & co", SECRET) as onvif,
    ):
        server.path = "/own/path?stream=1&x=2"
        monkeypatch.setattr(onvif_stream, "PORTS", (server.port, onvif.port))  # the first one is none
        address = f"127.0.0.1:{server.port}"
        result = add(address, "--name", "porch", "--user", "ivy & co", "--password-env", "DOOR")
    said = capsys.readouterr().err
    assert "hunter2" not in said
    if password == "wrong":
        assert result == 3
        assert "known paths has video" in said
        return
    assert result == 0
    assert onvif.asked == ["GetCapabilities", "GetProfiles", "GetStreamUri"]
    (camera,) = load_config("cameras.yaml").cameras
    assert camera.source == f"rtsp://{address}/own/path?stream=1&x=2"
    assert f"rtsp://{address}/own/path?stream=1&x=2 has video (the camera says so)" in said


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1/x", "rtsp://h/x y", "rtsp://h/x?user=a&amp;password=b", "", "rtsp://h/&#233;"]
)
def test_an_answer_that_is_no_plain_address_is_none(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    with OnvifCamera(uri, "u", "p") as camera:
        monkeypatch.setattr(onvif_stream, "PORTS", (camera.port,))
        assert onvif_stream.stream_address("127.0.0.1", "u", "p") is None
        assert camera.asked[-1] == "GetStreamUri"
        assert onvif_stream.stream_address("127.0.0.1", None, None) is None


@pytest.mark.realtime
def test_an_answer_that_drips_in_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    sent: list[bytes] = []

    def drip(listening: socket.socket) -> None:
        link, _ = listening.accept()
        with link, contextlib.suppress(OSError):
            link.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not over.wait(0.05):
                link.sendall(b"x")
                sent.append(b"x")

    monkeypatch.setattr(onvif_stream, "_LONGEST", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        dripping = threading.Thread(target=drip, args=(listening,), daemon=True)
        dripping.start()
        monkeypatch.setattr(onvif_stream, "PORTS", (listening.getsockname()[1],))
        assert onvif_stream.stream_address("127.0.0.1", "u", "p") is None
        over.set()
        dripping.join()
    assert sent


@pytest.mark.rtsp
@pytest.mark.skipif(_GST_MISSING is not None, reason=str(_GST_MISSING))
def test_a_camera_with_a_login_and_its_password_in_a_file_of_its_own(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOOR", SECRET)
    Path("office.yaml").write_text("cameras:\n  - name: desk # mine\n    source: 0\n# the end\n")
    with gst.GstRtsp(clip, user="viewer", password=SECRET) as server:
        options = ["--user", "viewer", "--password-env", "DOOR", "--config", "office.yaml"]
        assert add(f"127.0.0.1:{server.port}", *options) == 0
    text = Path("office.yaml").read_text()
    assert text.startswith("cameras:\n  - name: desk # mine\n    source: 0\n  - name: ")
    assert text.endswith("# the end\n")
    camera = load_config("office.yaml").cameras[1]
    assert camera.password_file is not None
    secret = Path(camera.password_file)
    assert secret.read_text() == SECRET + "\n"
    assert secret.stat().st_mode & 0o777 == 0o600
    captured = capsys.readouterr()
    assert "hunter2" not in captured.out + captured.err + text


class AsksInTheAddress(MjpegCamera):
    """A camera that wants user and password as parameters of its address."""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        given = parse_qs(urlsplit(request.path).query)
        if given.get("user") == ["viewer"] and given.get("password") == [SECRET]:
            super().answer(request)
            return
        request.send_response(401)
        request.end_headers()


@pytest.mark.realtime
@pytest.mark.parametrize("given", ["in the address", "by an option"])
def test_a_password_of_the_address_goes_into_the_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOOR", SECRET)
    word = quote(SECRET, safe="") if given == "in the address" else "{password}"
    options = [] if given == "in the address" else ["--password-env", "DOOR"]
    with AsksInTheAddress() as server:
        address = f"http://127.0.0.1:{server.port}/video?user=viewer&password={word}&n=1"
        assert add(address, "--name", "door", *options) == 0
        assert command_line.main(["check", "cameras.yaml", "--connect"]) == 0
    (camera,) = load_config("cameras.yaml").cameras
    assert camera.source == f"http://127.0.0.1:{server.port}/video?user=viewer&password={{password}}&n=1"
    assert (tmp_path / "door.password").read_text() == SECRET + "\n"
    assert (tmp_path / "door.password").stat().st_mode & 0o777 == 0o600
    captured = capsys.readouterr()
    assert "hunter2" not in captured.out + captured.err + Path("cameras.yaml").read_text()


@pytest.mark.realtime
def test_a_picture_replaces_no_file_that_was_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("porch.jpg").write_bytes(b"of a holiday")
    with MjpegCamera() as server:
        assert add(server.url, "--name", "porch") == 0
    assert Path("porch.jpg").read_bytes() == b"of a holiday"
    assert Path("porch-2.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    assert "a picture of it is in porch-2.jpg" in capsys.readouterr().err


@pytest.mark.realtime
@pytest.mark.parametrize(
    ("refusals", "code", "result"), [(1, "unknown", 0), (1, "codec", 0), (3, "unknown", 3)]
)
def test_a_camera_that_refuses_for_a_moment_is_asked_again(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int, code: SourceCode, result: int
) -> None:
    """As some do while the session that looked for the path still ends (503), or too late for the decoder."""
    from streamer.capture import first_picture as module

    monkeypatch.chdir(tmp_path)
    real, asked = module.first_picture, []

    def picture(camera: CameraConfig, capture: CaptureConfig) -> Any:
        asked.append(camera)
        if len(asked) <= refusals:
            raise SourceOpenError("camera one: it answers with error 503", code)
        return real(camera, capture)

    monkeypatch.setattr(module, "first_picture", picture)
    monkeypatch.setattr("streamer.cli.add._PAUSE", 0.0)
    with MiniRtsp(clip) as server:
        words = [f"rtsp://127.0.0.1:{server.port}/cam", "--config", "office.yaml"]
        assert add(*words) == result
    assert len(asked) == min(3, refusals + 1)
    assert Path("office.yaml").exists() is (result == 0)


@pytest.mark.realtime
@pytest.mark.parametrize("given", ["nothing", "wrong"])
def test_without_a_terminal_the_options_of_a_login_are_named(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115 - closed with the process
    monkeypatch.setenv("DOOR", "hunter2-wrong")
    options = [] if given == "nothing" else ["--user", "viewer", "--password-env", "DOOR"]
    with MiniRtsp(clip, user="viewer", password=SECRET, auth="digest") as server:
        assert add(f"127.0.0.1:{server.port}", *options) == 3
        tries = [request for request in server.requests if request.startswith("DESCRIBE")]
    said = capsys.readouterr().err
    assert "--password-file FILE or --password-env NAME" in said
    assert ("refuses the user or the password" in said) is (given == "wrong")
    assert "hunter2" not in said
    assert len(tries) <= 2, "one refusal ends it: cameras lock users out"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.realtime
@pytest.mark.skipif(os.name == "nt", reason="a pseudo terminal")
def test_on_a_terminal_the_login_is_asked_for_and_not_shown(clip: Path, tmp_path: Path) -> None:
    with MiniRtsp(clip, user="viewer", password=SECRET, auth="digest") as server:
        asked = {b"give up): ": b"viewer\n", b"not shown): ": SECRET.encode() + b"\n"}
        code, shown = add_on_a_terminal(server.url, tmp_path, asked)
        assert code == 0, shown
    assert "hunter2" not in shown
    assert load_config(tmp_path / "cameras.yaml").cameras[0].user == "viewer"
    assert (tmp_path / "porch.password").read_text() == SECRET + "\n"


def test_what_is_found_is_listed_with_the_command(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115 - closed with the process
    found = [FoundCamera("192.168.1.20", "ACME Door"), FoundCamera("192.168.1.21")]
    monkeypatch.setattr("streamer.capture.network_discovery.find_cameras", lambda seconds: found)
    monkeypatch.setattr("streamer.capture.list_devices", list)
    assert add() == 0
    assert capsys.readouterr().out.splitlines() == [
        "192.168.1.20  ACME Door    streamer add 192.168.1.20",
        "192.168.1.21    streamer add 192.168.1.21",
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["127.0.0.1:1"], 3, "127.0.0.1:1 refuses connections; check the port"),
        (["0"], 3, "there is no webcam 0"),
        (["me:hunter2@cam"], 2, "what was given is no address: HOST, HOST:PORT"),
        (["cam", "--password-env", "X"], 2, "--password-env X: there is no such variable"),
        (["cam", "--user", "x"], 2, "the camera's password is needed"),
        (["cam", "--password-env", "HOME"], 2, "a password needs its --user"),
        (["http://h/v?password=hunter2&token=hunter22"], 2, "the address holds several secrets; write the"),
        (["http://viewer:hunter2@h/v?password=hunter22"], 2, "two different passwords were given"),
        (["http://h/v?password={password}"], 2, "the camera's password is needed"),
        (["--seconds", "inf"], 2, "--seconds inf: must be 0 to 60"),
        (["--seconds", "nan"], 2, "--seconds nan: must be 0 to 60"),
    ],
)
def test_what_does_not_work_is_one_line(
    words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115 - closed with the process
    assert add(*words) == code
    err = capsys.readouterr().err
    assert said in err.splitlines()[-1]
    assert "hunter2" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cameras.yaml").write_text("cameras:\n  - name: porch\n    source: 0\n")
    Path("porch.jpg").write_bytes(b"the first porch")
    assert add("127.0.0.1:1", "--name", "porch") == 2
    assert capsys.readouterr().err == (
        "streamer: cameras.yaml has a camera 'porch' already; give another --name\n"
    )
    assert Path("porch.jpg").read_bytes() == b"the first porch"


@pytest.mark.realtime
@pytest.mark.skipif(os.name == "nt", reason="a pseudo terminal")
def test_ctrl_d_gives_up(clip: Path, tmp_path: Path) -> None:
    with MiniRtsp(clip, user="viewer", password=SECRET, auth="digest") as server:
        code, shown = add_on_a_terminal(server.url, tmp_path, {b"give up): ": b"\x04"})
        assert code == 3, shown
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []
