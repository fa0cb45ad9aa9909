"""`run --web`: one command for the run and its page, which can neither outlive it nor hold it up."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from streamer.cli import run as run_command
from streamer.cli.run_page import DEFAULT
from streamer.config import Config, Pictures, PreviewConfig, load_config
from streamer.demo.assets import checkpoint_path
from streamer.labels.action_colours import colours_of
from streamer.recording.files import MARKER
from streamer.subscribers.web.page_process import PageProcess
from streamer.subscribers.web.run_features import Features
from tests.helpers.bus_parts import DEADLINE, until
from tests.helpers.page_runs import start
from tests.helpers.web_parts import listening

__all__ = ["start"]  # a fixture
posix = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")


def options(*words: str) -> Config:
    parser = argparse.ArgumentParser()
    run_command.add_arguments(parser)
    return run_command.configuration(parser.parse_intermixed_args(words))


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}healthz", timeout=DEADLINE) as answer:
            return bool(json.load(answer)["status"] == "ok")
    except (urllib.error.URLError, OSError):
        return False


def pages_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(one) for one in listed.stdout.split()]


# ---- the options


@pytest.mark.parametrize(
    ("words", "source", "listen"),
    [
        (["demo", "--web"], "demo", DEFAULT),
        (["--web", "demo"], "demo", DEFAULT),
        (["--web", "0"], 0, DEFAULT),
        (["0", "--web", "0"], 0, "0"),
        (["--web", "9000", "demo"], "demo", "9000"),
        (["demo", "--web", "0.0.0.0:9000"], "demo", "0.0.0.0:9000"),
        (["--web", "rtsp://10.0.0.9/x"], "rtsp://10.0.0.9/x", DEFAULT),
    ],
)
def test_a_source_may_follow_the_option(words: list[str], source: object, listen: str) -> None:
    parser = argparse.ArgumentParser()
    run_command.add_arguments(parser)
    args = parser.parse_intermixed_args(words)
    for _ in range(2):  # a file that is edited while it runs has everything read again
        config = run_command.configuration(args)
        assert [camera.source for camera in config.cameras] == [source]
        assert config.web.listen == listen


def test_one_choice_about_pictures_goes_before_the_sections(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("preview: {fps: 1.0}\nrecording: {snapshots: true, clips: true, keep_days: 3.0}\n")

    def chosen(*words: str, path: Path | None = file) -> tuple[bool, bool, PreviewConfig | None]:
        config = load_config(path, list(words), env={})
        return config.recording.snapshots, config.recording.clips, config.preview

    assert chosen() == (True, True, PreviewConfig(fps=1.0))
    assert chosen("pictures=off") == (False, False, None)
    assert chosen("pictures=show") == (False, False, PreviewConfig(fps=1.0))
    assert chosen("pictures=keep", path=None) == (True, True, PreviewConfig())
    assert chosen("pictures=keep", "recording.clips=false", path=None) == (True, False, PreviewConfig())
    assert chosen(path=None) == (False, False, None), "nothing leaves memory unless somebody says so"
    assert options("demo", "--pictures", "keep").pictures is Pictures.KEEP
    assert load_config(file, ["pictures=keep"], env={}).recording.keep_days == 3.0


# ---- the two processes


@posix
@pytest.mark.realtime
def test_a_page_that_dies_is_started_again_and_the_run_goes_on(start: Any) -> None:
    run = start("demo", "--loop", "--web", "0")
    url = run.page()
    assert healthy(url)
    (page,) = pages_of(run.process.pid)
    os.kill(page, signal.SIGKILL)
    assert "recognition continues" in run.line("the page has ended")
    again = run.page()
    assert healthy(again)
    assert run.process.poll() is None
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(DEADLINE) == 130
    until(lambda: not healthy(again), "the page has ended too")


@posix
@pytest.mark.realtime
def test_the_page_ends_with_its_run_however_that_ends(start: Any) -> None:
    run = start("demo", "--loop", "--web", "0")
    url = run.page()
    assert healthy(url)
    run.process.kill()
    until(lambda: not healthy(url), "the page has ended too")


@pytest.mark.realtime
def test_a_port_in_use_is_said_before_anything_starts(start: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        run = start("demo", "--loop", "--web", address)
        line = run.line("--web")
        assert line == f"streamer: --web {address}: the port is in use; take another, or 0 for a free one\n"
        assert run.process.wait(DEADLINE) == 2


def test_without_a_token_the_network_is_refused() -> None:
    said: list[str] = []
    words = ["tcp://127.0.0.1:9", "--bind", "0.0.0.0:0"]
    with pytest.raises(Exception, match=r"--web 0.0.0.0:0 would show .*web.token_file=web.token"):
        PageProcess(words, said.append).__enter__()


@posix
@pytest.mark.realtime
def test_the_page_knows_what_the_run_keeps_without_being_told(start: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    run = start(
        "demo", "--loop", "--web", "0", "--pictures", "keep", "--set", f"recording.folder={folder}"
    )  # fmt: skip
    url = run.page()

    demo = json.loads((checkpoint_path() / "config.json").read_text())
    wanted = {
        "known": True, "live": True, "snapshots": True, "clips": True, "marks": False, "recordings": True,
        "colours": colours_of([*demo["id2label"].values()]),
    }  # fmt: skip

    def recorded(told: dict[str, Any]) -> bool:
        query = f"camera={told['camera']}&event={told['id']}"
        with urllib.request.urlopen(f"{url}recordings?{query}", timeout=DEADLINE) as answer:
            return "snapshot" in json.load(answer)["kinds"]

    with listening(urlsplit(url).port or 0) as page:
        page.until(lambda: page.of("state") and page.of("state")[-1]["features"] == wanted, "the page knows")
        page.until(lambda: any(map(recorded, page.events().values())), "the page has found a snapshot")


def test_a_folder_that_is_named_is_believed_only_where_it_holds_recordings(tmp_path: Path) -> None:
    def folder(path: object) -> Path | None:
        return Features.of({"pictures": {"live": True, "folder": path}}).folder

    assert folder(str(tmp_path)) is None
    (tmp_path / MARKER).touch()
    assert folder(str(tmp_path)) == tmp_path
    for wrong in (None, 5, "", "relative", "a\0b", str(tmp_path / "not-there"), "/" + "x" * 5000):
        assert folder(wrong) is None
    assert not Features.of({"pictures": 5}).known


@posix
@pytest.mark.realtime
def test_a_page_that_cannot_be_started_again_at_once_is_tried_until_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    with PageProcess(["tcp://127.0.0.1:9", "--bind", "127.0.0.1:0"], said.append) as page:
        real, refused = page._start, [OSError("no memory"), OSError("no memory")]

        def start() -> None:
            if refused:
                raise refused.pop()
            real()

        monkeypatch.setattr(page, "_start", start)
        pid = page.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: sum(line.startswith("the page is at ") for line in said) == 2, "served again")
        assert sum("cannot be started (no memory)" in line for line in said) == 2


@pytest.mark.realtime
def test_modules_of_the_current_folder_are_none_of_the_page_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uvicorn.py").write_text("raise SystemExit('mine')\n")
    (tmp_path / "select.py").write_text("raise SystemExit('mine')\n")
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    with PageProcess(["tcp://127.0.0.1:9", "--bind", "127.0.0.1:0"], said.append):
        assert said[0].startswith("the page is at ")
