"""`streamer archive` as people use it: real recordings, real processes, real kills."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.helpers import warm_processes
from tests.helpers.archive_parts import (
    COMMAND,
    LONGEST,
    STREAMER,
    archive,
    lines_of,
    players,
    recordings,
    said,
)

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals and /proc"),
]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return recordings(tmp_path_factory.mktemp("clips"), 4)


@pytest.fixture(scope="module")
def whole(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of an archive that nobody disturbed, all of it started as people start it."""
    out = tmp_path_factory.mktemp("whole")
    command = [*COMMAND, *map(str, clips), "-o", str(out), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_it_says_what_run_says_to_the_last_digit(clips: list[Path], whole: Path) -> None:
    for clip in clips[:2]:
        words = ["run", clip, "--pace", "fast", "--ui", "json", "--bind", "", "--set", "journal.path="]
        ran = warm_processes.run(
            [*STREAMER, *words],
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=True,
        )
        expected = said([json.loads(line) for line in ran.stdout.splitlines()])
        found = lines_of(whole / f"{clip.name}.jsonl")
        assert said(found) == expected
        assert len([line for line in found if line["type"] == "prediction"]) > 3
        last = found[-1]
        assert (last["type"], last["file"], last["camera"]) == ("recording", str(clip), clip.name)
        assert last["windows"] == len([line for line in found if line["type"] == "prediction"])


def test_two_of_one_name_and_the_same_twice(clips: list[Path], whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / clips[0].name).write_bytes(clips[1].read_bytes())
    (tmp_path / "link.mp4").symlink_to(clips[0])
    words = (clips[0], other, clips[0], tmp_path / "link.mp4", "-o", tmp_path / "out", "--workers", "2")
    assert archive(*words).returncode == 0
    found = {lines_of(file)[-1]["file"]: file for file in (tmp_path / "out").glob("*.jsonl")}
    assert sorted(found) == sorted(map(str, (clips[0], other / clips[0].name)))
    for source, clip in ((clips[0], clips[0]), (other / clips[0].name, clips[1])):
        assert said(lines_of(found[str(source)])) == said(lines_of(whole / f"{clip.name}.jsonl"))
    again = archive(*reversed(words[:2]), *words[4:])
    assert "2 recordings (2 were there before)" in again.stdout, again.stderr


def test_killed_at_any_moment_and_begun_again_nothing_is_missing_or_twice(
    clips: list[Path], whole: Path, tmp_path: Path
) -> None:
    """Each time the command, or a process that plays, is killed with -9 when a part of chance is written."""
    out, chance, killed = tmp_path / "out", random.Random(5), 0
    for kill in range(3):
        with warm_processes.start(
            [*COMMAND, *clips, "-o", out, "--workers", "2"], inside=True, stderr=subprocess.PIPE, text=True
        ) as running:
            process = psutil.Process(running.pid)
            moment = chance.uniform(_written(out), _written(whole))
            _wait(lambda at=moment: _written(out) >= at or running.poll() is not None)
            children = players(running.pid) if running.poll() is None else []
            victim = chance.choice([process, *children]) if kill else process
            with suppress(psutil.NoSuchProcess):  # it has just ended, where nothing was left too
                victim.kill()
                killed += 1
            if victim.pid != process.pid:
                running.terminate()
            running.wait(LONGEST)
        psutil.wait_procs(children, LONGEST)
        assert not _playing(out), "what the killed command had started goes on"
        for file in out.glob("*.jsonl"):
            assert said(lines_of(file)) == said(lines_of(whole / file.name)), "a result is whole or not there"
    assert killed
    done = archive(*clips, "-o", out, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in out.iterdir()) == sorted(
        [*(f"{c.name}.jsonl" for c in clips), "report.json"]
    )
    for clip in clips:
        assert said(lines_of(out / f"{clip.name}.jsonl")) == said(lines_of(whole / f"{clip.name}.jsonl"))
    report = json.loads((out / "report.json").read_text())
    assert [len(report[key]) for key in ("recordings", "failed", "waiting")] == [4, 0, 0]


def test_a_recording_that_kills_its_process_is_named_and_left_out(clips: list[Path], tmp_path: Path) -> None:
    """SIGSEGV comes from outside here, each time this recording is played."""
    out = tmp_path / "out"
    with warm_processes.start(
        [*COMMAND, *clips[:3], "-o", out, "--workers", "2"],
        inside=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        killed = set()
        waiting = threading.Event()
        while running.poll() is None:
            for pid, name in _playing(out, players(running.pid)):
                if name == f".{clips[1].name}.part" and pid not in killed:
                    killed.add(pid)
                    os.kill(pid, signal.SIGSEGV)
            waiting.wait(0.002)
        told, complained = running.communicate(timeout=LONGEST)
    if len(killed) < 3:
        pytest.skip("a recording was over before its process could be killed")
    assert running.returncode == 3
    assert f"{clips[1]} failed and is left out: its process was ended by SIGSEGV" in complained
    assert f"failed: {clips[1]}: its process was ended by SIGSEGV" in told
    assert sorted(file.name for file in out.glob("*.jsonl")) == [
        f"{clips[0].name}.jsonl",
        f"{clips[2].name}.jsonl",
    ]


def test_no_video_fails_and_the_rest_is_done(clips: list[Path], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.mp4"
    wrong.write_bytes(b"no video" * 1000)
    done = archive(clips[0], wrong, "-o", tmp_path / "out", "--workers", "1")
    assert done.returncode == 3
    assert f"failed: {wrong}: " in done.stdout
    assert "holds no video that can be decoded here" in done.stdout
    assert (tmp_path / "out" / f"{clips[0].name}.jsonl").exists()
    assert not list((tmp_path / "out").glob("*wrong*"))


def test_results_of_other_settings_are_not_taken_for_these(clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert archive(clips[0], "-o", out).returncode == 0
    other = archive(clips[0], "-o", out, "--set", "events.enter=0.7")
    assert other.returncode == 2
    assert "events.enter was the default and is 0.7" in other.stderr
    assert other.stderr.count("\n") == 1
    anew = archive(clips[0], "-o", out, "--set", "events.enter=0.7", "--again")
    assert anew.returncode == 0
    assert lines_of(out / f"{clips[0].name}.jsonl")[-1]["settings"]["events"] == {"enter": 0.7}


def test_a_file_that_has_changed_is_played_again(clips: list[Path], whole: Path, tmp_path: Path) -> None:
    file = tmp_path / "changing.mp4"
    file.write_bytes(clips[0].read_bytes())
    assert archive(file, "-o", tmp_path / "out").returncode == 0
    file.write_bytes(clips[1].read_bytes())
    again = archive(file, "-o", tmp_path / "out")
    assert "1 played again" in again.stdout
    found = lines_of(tmp_path / "out" / "changing.mp4.jsonl")
    assert said(found) == said(lines_of(whole / f"{clips[1].name}.jsonl"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_ends_soon_and_says_what_is_left(
    clips: list[Path], tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    with warm_processes.start(
        [*COMMAND, *clips, "-o", out, "--workers", "1"], inside=True, stdout=subprocess.PIPE, text=True
    ) as running:
        _wait(lambda: bool(_playing(out)))
        began = time.monotonic()
        running.send_signal(number)
        told = running.communicate(timeout=LONGEST)[0]
    assert time.monotonic() - began < 15  # 0.3 s are measured; after 2.8 s it would be forced
    assert running.returncode == 130
    assert "the same command continues" in told
    assert not list(out.glob(".*"))


def test_two_archives_do_not_share_a_folder(clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with warm_processes.start([*COMMAND, *clips, "-o", out, "--workers", "1"], inside=True) as running:
        _wait(lambda: (out / ".archive-lock").exists() and bool((out / ".archive-lock").read_text()))
        second = archive(clips[0], "-o", out)
        running.terminate()
        running.wait(LONGEST)
    assert second.returncode == 2
    assert "another streamer archive is at work" in second.stderr


def _playing(out: Path, among: Iterable[psutil.Process] | None = None) -> list[tuple[int, str]]:
    """(process, what it writes) of all, or of some, that write results into a folder."""
    found = []
    for process in psutil.process_iter() if among is None else among:
        try:
            for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
                target = Path(os.readlink(descriptor))
                if target.parent == out and target.name.endswith(".part"):
                    found.append((process.pid, target.name))
        except OSError:  # it has ended
            continue
    return found


def _written(out: Path) -> int:
    """Bytes of results, half ones among them."""
    total = 0
    for file in (*out.glob("*.jsonl"), *out.glob(".*.part")):
        with suppress(FileNotFoundError):  # it has just got its name
            total += file.stat().st_size
    return total


def _wait(until: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + LONGEST, threading.Event()
    while not until():
        assert time.monotonic() < deadline, "did not come"
        pause.wait(0.01)
