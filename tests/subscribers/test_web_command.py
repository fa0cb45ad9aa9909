"""The page's command: its options, and the folder of recordings that it serves."""

from __future__ import annotations

import argparse
import dataclasses
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import Publisher
from streamer.cli import web
from streamer.errors import BusError, ConfigError
from streamer.recording.files import CLIP, SNAPSHOT, place
from streamer.subscribers.web import page_address
from tests.helpers import warm_processes
from tests.helpers.bus_parts import DEADLINE
from tests.helpers.web_parts import NOBODY, TOKEN, bus, listening, live, served

__all__ = ["bus"]  # fixtures


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    for suffix, data in ((SNAPSHOT, b"\xff\xd8\xffsnapshot"), (CLIP, bytes(range(256)) * 10)):
        file = place(folder, "front door/1", "e1", 1_700_000_000.0, suffix)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return folder


OWN = "camera=front+door%2F1&event=e1"
NONE: dict[str, Any] = {"kinds": [], "from": None, "to": None}


def test_recordings_are_found_by_event_and_read_in_parts(recorded: Path) -> None:
    with served(NOBODY, recordings=recorded) as web:
        assert web.json(f"/recordings?{OWN}") == {**NONE, "kinds": ["snapshot", "clip"]}
        status, headers, body = web.ask(f"/recording?{OWN}&kind=snapshot")
        assert (status, headers["content-type"], body) == (200, "image/jpeg", b"\xff\xd8\xffsnapshot")
        status, headers, body = web.ask(f"/recording?{OWN}&kind=clip", headers={"Range": "bytes=10-19"})
        assert (status, headers["content-range"], body) == (206, "bytes 10-19/2560", bytes(range(10, 20)))
        assert headers["content-type"] == "video/mp4"
        assert web.json("/recordings?camera=front+door%2F1&event=other") == NONE
        assert web.ask("/recording")[0] == 404


@pytest.mark.parametrize(
    "bad", ["../secret", "..%2F..%2Fsecret", "%2Fetc%2Fpasswd", "e1%00", "x" * 600, "..", ""]
)
def test_no_name_leads_out_of_the_recordings(recorded: Path, bad: str) -> None:
    with served(NOBODY, recordings=recorded) as web:
        for query in (f"camera={bad}&event=e1", f"camera=front+door%2F1&event={bad}", f"{OWN}&kind={bad}"):
            for kind in ("clip", "snapshot"):
                asked = query if "kind=" in query else f"{query}&kind={kind}"
                assert web.ask(f"/recording?{asked}")[0] == 404


def test_no_link_leads_out_of_the_recordings(recorded: Path, tmp_path: Path) -> None:
    file = place(recorded, "cam0", "e2", 1_700_000_000.0, CLIP)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / file.name).write_bytes(b"secret")
    file.parent.parent.mkdir(parents=True)
    file.parent.symlink_to(outside)
    with served(NOBODY, recordings=recorded) as web:
        assert web.ask("/recording?camera=cam0&event=e2&kind=clip")[0] == 404


def test_without_a_folder_there_are_no_recordings() -> None:
    with served(NOBODY) as web:
        assert web.json(f"/recordings?{OWN}") == NONE
        assert web.ask(f"/recording?{OWN}&kind=clip")[0] == 404


# ---- the command


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    web.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("8080", ("127.0.0.1", 8080)), ("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:0", ("[::1]", 0)),
     ("my-host:1", ("my-host", 1))],
)  # fmt: skip
def test_bind_is_read(text: str, wanted: tuple[str, int]) -> None:
    assert page_address.parse_bind(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "127.0.0.1:", "127.0.0.1:99999", "http://a:1", "::1:80"])
def test_a_wrong_bind_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write HOST:PORT"):
        page_address.parse_bind(text)


def test_other_interfaces_need_a_token_and_the_error_has_the_line() -> None:
    with pytest.raises(ConfigError) as refused:
        web.run(options("--bind", "0.0.0.0:8080"))
    assert "streamer web --bind 0.0.0.0:8080 --token-file web.token" in str(refused.value)
    assert "\n" not in str(refused.value)
    for host in ("127.0.0.1", "localhost", "[::1]", "127.8.8.8"):
        page_address.check_exposure(host, 1, None, "")
    page_address.check_exposure("0.0.0.0", 1, TOKEN, "")


def test_a_token_file_is_read_only_where_it_is_safe(tmp_path: Path) -> None:
    file = tmp_path / "web.token"

    def read(*given: str | None, **variables: str) -> str | None:
        return page_address.read_token(*(*given, None, None)[:2], variables)

    for content, mode, wrong in [
        (None, 0, "cannot read"), (TOKEN, 0o644, "chmod 600"), ("short", 0o600, "at least 16"),
        ("", 0o600, "at least 16"), (f"{TOKEN} {TOKEN}", 0o600, "one line"),
    ]:  # fmt: skip
        if content is not None:
            file.write_text(content)
            file.chmod(mode)
        with pytest.raises(ConfigError, match=wrong) as refused:
            read(str(file))
        assert TOKEN not in str(refused.value)
    file.write_text(f"{TOKEN}\n")
    assert read(str(file)) == TOKEN
    assert read(None, "WEB", WEB=TOKEN) == TOKEN
    assert read(WEB=TOKEN) is None
    with pytest.raises(ConfigError, match="no such variable"):
        read(None, "WEB")
    with pytest.raises(ConfigError, match="one of them"):
        read("x", "WEB")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["http://x"], BusError), (["--pages", "0"], ConfigError),
        (["--keys", "/nowhere"], BusError), (["--tls-cert", "x"], ConfigError),
        (["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], ConfigError),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_before_anything_is_served(
    words: list[str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        web.run(options("--bind", "127.0.0.1:0", *words))


def test_a_run_may_make_the_folder_of_recordings_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "later"
    settings = web.settings_of(options("--recordings", str(folder)), "127.0.0.1", 8080, None)
    assert folder in dataclasses.astuple(settings)
    assert "later: there is no such folder yet" in capsys.readouterr().err


def test_a_port_in_use_is_said() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="the port is in use"),
    ):
        web.run(options("--bind", f"127.0.0.1:{taken.getsockname()[1]}"))


@pytest.mark.realtime
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_leaves_within_three_seconds_with_pages_open(bus: Publisher, number: int, code: int) -> None:
    child = warm_processes.start(
        [sys.executable, "-u", "-m", "streamer", "web", bus.endpoint, "--bind", "127.0.0.1:0"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", child.stderr.readline())
        assert found
        with listening(int(found[1])) as one, listening(int(found[1])) as two:
            live(one)
            live(two)
            began = time.monotonic()
            child.send_signal(number)
            assert child.wait(DEADLINE) == code
            assert time.monotonic() - began < 3.0
            one.take(1.0)
            two.take(1.0)
        said = child.stderr.read()
        assert "Traceback" not in said
        assert "ERROR" not in said
    finally:
        child.kill()
        child.wait()
        assert child.stderr is not None
        child.stderr.close()


def test_the_command_imports_no_server_until_it_runs() -> None:
    names = "('starlette', 'uvicorn', 'zmq')"
    code = f"import sys, streamer.cli.web; print([name for name in {names} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
