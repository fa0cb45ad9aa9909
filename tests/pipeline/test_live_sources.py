"""A live source is tried for ever; only files and addresses that can never be opened end a run."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from streamer.cli.run import exit_code
from streamer.config import CameraConfig, Config
from streamer.pipeline.results import Ending
from streamer.testing import FakeCamera, FakeRecognizer
from tests.helpers import warm_processes
from tests.helpers.cameras import QUICK
from tests.helpers.media import moving, write_clip
from tests.helpers.pipelines import QUIET, running, watch
from tests.helpers.servers.mini_rtsp import MiniRtsp

LIVE = {**QUIET, "pace": "realtime", "capture": QUICK}
LONGEST = 60.0  # seconds; only a failing test waits so long


def calm(_: object) -> tuple[float, float]:
    return 0.9, 0.1


def noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)


@pytest.mark.realtime
def test_a_camera_that_refuses_at_the_start_is_used_once_it_accepts() -> None:
    with FakeCamera(noise, password="right") as server:
        camera = CameraConfig(name="door", source=server.url.replace("://", "://cam:wrong@"))
        with running(Config(cameras=(camera,), **LIVE), recognizer=FakeRecognizer(calm)) as (_, sink):
            refused = sink.wait(lambda m: m.get("code") == "auth_failed")
            assert "next try in" in refused["detail"]
            server.password = "wrong"  # somebody sets it right in the camera
            sink.wait(lambda m: m.get("state") == "running")
            sink.wait(lambda m: m["type"] == "prediction")


@pytest.mark.realtime
def test_a_camera_that_is_not_there_at_the_start_is_used_once_it_comes(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.h264", moving(50), container="h264")
    server = MiniRtsp(clip).start()
    server.stop()  # its port stays its own
    camera = CameraConfig(name="door", source=server.url)
    with running(Config(cameras=(camera,), **LIVE), recognizer=FakeRecognizer(calm)) as (_, sink):
        absent = sink.wait(lambda m: m.get("code") is not None)
        assert "next try in" in absent["detail"]
        with server:
            sink.wait(lambda m: m.get("state") == "running")


@pytest.mark.parametrize("source", ["/dev/video97", "http://127.0.0.1:9/nothing"])
def test_nothing_but_give_up_ends_it(source: str) -> None:
    camera = CameraConfig(name="door", source=source)
    with running(Config(cameras=(camera,), **LIVE), recognizer=FakeRecognizer(calm)) as (_, sink):
        sink.wait(lambda m: "next try in" in m.get("detail", ""))
        before = len(sink.messages)
        sink.wait(lambda m: "next try in" in m.get("detail", ""), after=before)


def test_give_up_ends_with_exit_code_3_where_no_retry_can_help() -> None:
    late = threading.Timer(LONGEST, (stop := threading.Event()).set)
    late.start()
    with FakeCamera(noise, password="right") as server:
        camera = CameraConfig(name="door", source=server.url.replace("://", "://cam:wrong@"))
        given_up = {**LIVE, "capture": QUICK.model_copy(update={"give_up": True})}
        result, sink = watch(Config(cameras=(camera,), **given_up), FakeRecognizer(calm), stop)
    late.cancel()
    assert (result.ending, exit_code(result)) == (Ending.COMPLETE, 3)
    refused = [message["detail"] for message in sink.messages if message.get("code") == "auth_failed"]
    assert refused
    assert not any("next try" in detail for detail in refused), "there is none"


def test_an_address_that_can_never_be_opened_ends_it() -> None:
    camera = CameraConfig(name="door", source="rtsp:/192.168.1.20/stream")
    result, _ = watch(Config(cameras=(camera,), **LIVE), FakeRecognizer(calm))
    assert (result.ending, exit_code(result)) == (Ending.COMPLETE, 3)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("ui", ["plain", "json", "none"])
def test_the_reason_is_said_once(tmp_path: Path, ui: str, together: bool) -> None:
    """Also where both streams end in one place, such as a terminal."""
    command = [sys.executable, "-m", "streamer", "run", "gone.mp4", "--ui", ui]
    command += ["--bind", "", "--set", "journal.path="]
    done = warm_processes.run(
        command, cwd=tmp_path, text=True, timeout=LONGEST, check=False, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if together else subprocess.PIPE,
    )  # fmt: skip
    assert done.returncode == 3
    talk = done.stdout if together and ui != "json" else done.stderr or done.stdout.rpartition("}\n")[2]
    assert talk.count("there is no file") == 1, (done.stdout, done.stderr)
