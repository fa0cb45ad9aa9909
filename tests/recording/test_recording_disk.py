"""The folder of pictures, and disks that are slow, full, or gone: they cost pictures and nothing else."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.config import Config
from streamer.errors import ConfigError
from streamer.recording import disk_thread, files, retention
from streamer.recording.disk_thread import DiskWriter
from streamer.recording.event_pictures import EventPictures
from streamer.recording.h264_encoder import EncodedClip, H264Encoder, Packet, Shape, write_clip
from streamer.types import Phase
from tests.helpers.patience import patience
from tests.helpers.recording_parts import WALL, Shoot, between, clips, decode, recording, until

pytestmark = pytest.mark.usefixtures("no_thread_left")


# --- the folder ---


def test_only_the_owner_may_look(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Shoot(tmp_path / "r") as shoot:
            shoot.play(4.0, between(40, 59))
    finally:
        os.umask(before)
    made = [tmp_path / "r", *(tmp_path / "r").rglob("*")]
    assert len(made) == 6
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def aged(folder: Path, name: str, days: float, size: int = 1000) -> Path:
    path = files.place(folder, "cam", name, WALL - days * 86400, files.CLIP)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (WALL - days * 86400,) * 2)
    return path


def test_old_pictures_go_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    retention.prepare(folder)
    old, young = aged(folder, "old", 15), aged(folder, "young", 13)
    foreign = [old.with_name("holiday.jpg"), folder / "cam" / "event-x.mp4", folder / "event-y.mp4"]
    outside = tmp_path / "elsewhere" / "2020-01-01" / "event-z.mp4"
    outside.parent.mkdir(parents=True)
    for path in [*foreign, outside]:
        path.write_bytes(b"mine")
        os.utime(path, (0, 0))
    (folder / "link").symlink_to(outside.parent.parent, target_is_directory=True)
    assert retention.tidy(folder, WALL - 14 * 86400, 1e9) == (1, 1000)
    assert not old.exists()
    assert young.exists()
    assert all(path.exists() for path in [*foreign, outside])


def test_the_oldest_go_when_there_is_too_much(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    retention.prepare(folder)
    made = [aged(folder, f"e{days}", days, 1000) for days in range(5)]
    assert retention.tidy(folder, 0.0, 2500) == (3, 2000)
    assert [path.exists() for path in made] == [True, True, False, False, False]
    assert not made[4].parent.exists(), "empty days go too"


def test_a_file_of_several_events_counts_once_and_goes_with_its_last_name(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    retention.prepare(folder)
    day = folder / "cam" / "2026-11-21"
    day.mkdir(parents=True)
    first, second = day / "event-a.mp4", day / "event-b.mp4"
    first.write_bytes(b"x" * 1000)
    os.link(first, second)
    assert retention.tidy(folder, 0.0, 1000) == (0, 1000)
    assert retention.tidy(folder, 0.0, 999) == (2, 0)
    assert not day.exists()


def test_a_folder_without_our_mark_is_never_tidied(tmp_path: Path) -> None:
    path = aged(tmp_path, "old", 100)
    assert retention.tidy(tmp_path, WALL, 0) == (0, 0)
    assert path.exists()


@pytest.mark.realtime
def test_the_folder_stays_small_while_clips_are_made(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)
    with Shoot(tmp_path / "r", keep_mb=0.1, image=lambda n: np.roll(noise, n * 7, 1)) as shoot:
        shoot.play(16.0, lambda n: 0.9 if n % 80 < 20 else 0.1)
        until(lambda: shoot.recorder.counts.get("clips", 0) >= 3)
        until(lambda: shoot.recorder.counts.get("removed", 0) >= 2)
    assert shoot.recorder.counts["removed"] >= 2


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ConfigError, match="holds other files; name an empty or a new folder"):
        retention.prepare(tmp_path)
    assert not (tmp_path / files.MARKER).exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = Config(recording=recording(tmp_path / "file" / "r"))
    with pytest.raises(ConfigError, match=r"recording\.folder .* cannot be used: Not a directory"):
        EventPictures(config)


# --- disks ---


class Stuck:
    """A disk that hangs until told otherwise."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.begun = threading.Event()

    def __call__(self, path: Path, job: Any) -> None:
        self.begun.set()
        assert self.free.wait(30)
        disk_thread.write(path, job)


@pytest.mark.realtime
def test_a_slow_disk_costs_pictures_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_thread, "MOST_WAITING", 40_000)
    stuck = Stuck()
    with Shoot(tmp_path / "r", writer=stuck) as shoot:
        shoot.play(24.0, lambda n: 0.9 if n % 60 < 20 else 0.1)  # eight events
        assert len(shoot.of(Phase.END)) == 8
        until(lambda: shoot.recorder.counts.get("lost", 0) > 0)
        assert stuck.begun.is_set()
        assert sum(disk_thread._size(job) for job in shoot.disk._waiting.values()) <= 40_000
        assert [note for note in shoot.notes if "too slow" in note] == shoot.notes
        assert len(shoot.notes) == 1
        assert shoot.recorder.counts.get("dropped", 0) == 0
        stuck.free.set()
        until(lambda: shoot.recorder.counts.get("clips", 0) >= 1)
    for clip in clips(tmp_path / "r"):
        assert decode(clip).numbers


def test_a_disk_that_hangs_does_not_keep_the_program(tmp_path: Path) -> None:
    stuck = Stuck()
    with Shoot(tmp_path / "r", writer=stuck) as shoot:
        shoot.play(4.0, between(40, 59))
        until(stuck.begun.is_set)
        began = time.monotonic()
        assert not shoot.recorder.close(0.6)
        assert time.monotonic() - began < patience(3.0)
        assert any("were not written" in note for note in shoot.notes)
        stuck.free.set()


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Writing beyond so many bytes fails, as on a full disk (with EFBIG instead of ENOSPC)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.realtime
@pytest.mark.parametrize("room", [100, 9_000, 20_000])
def test_a_full_disk_costs_the_clip_and_leaves_no_half_file(tmp_path: Path, room: int) -> None:
    with Shoot(tmp_path / "r", snapshots=False) as shoot:
        with no_file_above(room):
            shoot.play(5.0, between(40, 59))
            until(lambda: bool(shoot.notes))
        assert shoot.recorder.counts["lost"] == 1
        assert [path for path in (tmp_path / "r").rglob("*") if path.is_file()] == [
            tmp_path / "r" / files.MARKER
        ]
        (note,) = shoot.notes
        assert "cannot be written" in note
        assert "File too large" in note
        assert shoot.recorder.stats.failing, "health says so, too"
        shoot.play(5.0, between(140, 159))
        until(lambda: len(clips(tmp_path / "r")) == 1)
    assert "written again (1 were lost)" in shoot.notes[1]
    assert not shoot.recorder.stats.failing
    assert decode(clips(tmp_path / "r")[0]).numbers[-1] == 179


def test_a_really_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with Shoot(folder) as shoot:
            shoot.play(5.0, between(40, 59))
        assert shoot.recorder.counts["lost"] >= 1
        assert "No space left on device" in shoot.notes[0]
        assert not clips(folder)
        assert not list(files.unfinished(folder))
    finally:
        subprocess.run(["umount", str(folder)], check=True)


HALF = """
    import sys, threading
    from pathlib import Path
    from streamer.config import RecordingConfig
    from streamer.recording import files, retention
    from streamer.recording.disk_thread import DiskWriter

    folder = Path(sys.argv[1])
    retention.prepare(folder)

    def half(path, job):
        path.write_bytes(job[: len(job) // 2])
        print("half", flush=True)
        threading.Event().wait()

    made = DiskWriter(folder, RecordingConfig(), print, writer=half)
    made.start()
    made.put(files.place(folder, "cam", "x", 1.8e9, files.CLIP), bytes(1000))
    threading.Event().wait()
"""


def test_a_killed_program_leaves_no_half_file_under_a_final_name(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    command = [sys.executable, "-c", textwrap.dedent(HALF), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        child.send_signal(signal.SIGKILL)
    assert not list(files.recorded(folder))
    (left,) = files.unfinished(folder)
    assert left.stat().st_size == 500
    swept = DiskWriter(folder, recording(folder), pytest.fail)
    swept.start()
    until(lambda: not left.exists())
    assert swept.close(10.0)


def test_a_second_program_does_not_sweep_the_first_ones_files(tmp_path: Path) -> None:
    stuck = Stuck()
    with Shoot(tmp_path / "r", writer=stuck) as shoot:
        part = tmp_path / "r" / "cam" / "2026-01-01" / ".event-a.mp4.part"
        until(lambda: shoot.disk._tidy_at > time.monotonic())  # it has the folder
        part.parent.mkdir(parents=True)
        part.touch()
        with Shoot(tmp_path / "r", camera="other") as second:
            second.play(4.0, between(40, 59))
        assert part.exists()
        assert len(clips(tmp_path / "r")) == 1, "its own are written"
        stuck.free.set()


def test_an_incomplete_file_is_noticed_whatever_ffmpeg_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = H264Encoder(Shape(320, 240, 10.0))
    for number in range(10):
        film.add(np.full((360, 320), number * 9, np.uint8), number / 10)
    clip = EncodedClip(film.shape, film.between(0.0, 9.0))
    write_clip(tmp_path / "whole.mp4", clip)
    data = (tmp_path / "whole.mp4").read_bytes()
    from streamer.recording import h264_encoder as module

    for name, wrong in {"short": data[:-10], "long": data + b"x", "empty": b""}.items():
        path = tmp_path / name
        path.write_bytes(wrong)
        with pytest.raises(OSError, match="not whole"):
            module._check(path, clip)


def test_a_folder_that_goes_away_is_made_again(tmp_path: Path) -> None:
    with Shoot(tmp_path / "r", snapshots=False) as shoot:
        shoot.play(3.0, between(20, 29))
        until(lambda: len(clips(tmp_path / "r")) == 1)
        shutil.rmtree(tmp_path / "r")
        shoot.play(3.0, between(80, 89))
        until(lambda: len(clips(tmp_path / "r")) == 1)
    assert (tmp_path / "r" / files.MARKER).is_file()
    assert not shoot.notes


def test_what_takes_the_folders_place_is_left_alone(tmp_path: Path) -> None:
    """Another disk is mounted there, say: nothing is written between its files."""
    with Shoot(tmp_path / "r", snapshots=False) as shoot:
        until(lambda: shoot.disk._tidy_at > time.monotonic())
        shutil.rmtree(tmp_path / "r")
        (tmp_path / "r").mkdir()
        (tmp_path / "r" / "thesis.odt").touch()
        shoot.play(3.0, between(20, 29))
        until(lambda: bool(shoot.notes))
    assert "holds other files" in shoot.notes[0]
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["thesis.odt"]


def test_a_disk_that_is_full_at_the_start_does_not_keep_the_program_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    notes: list[str] = []
    EventPictures(Config(recording=recording(tmp_path / "r")), note=notes.append)
    assert "(No space left on device): pictures of events are lost" in notes[0]


def test_one_clip_that_cannot_be_encoded_costs_no_other(tmp_path: Path) -> None:
    retention.prepare(tmp_path)
    notes: list[str] = []
    made = DiskWriter(tmp_path, recording(tmp_path), notes.append)
    made.start()
    broken = EncodedClip(Shape(320, 240, 10.0), [Packet(0.0, 0, True, b"no picture")])
    assert made.put(files.place(tmp_path, "cam", "bad", WALL, files.CLIP), broken)
    assert made.put(files.place(tmp_path, "cam", "good", WALL, files.SNAPSHOT), b"jpeg")
    assert made.close(10.0)
    assert files.find(tmp_path, "cam", "good").snapshot is not None
    assert files.find(tmp_path, "cam", "bad").clip is None
    assert not list(files.unfinished(tmp_path))
