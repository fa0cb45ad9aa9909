"""Recording labelled clips: from a file that plays as a camera does, by the clock and by keys."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest

from streamer.cli.command_line import main
from streamer.training.dataset_layout import read_layout
from streamer.training.video_frames import read_frames, scan
from tests.helpers.media import moving, read_stamp, write_clip

pytestmark = pytest.mark.usefixtures("no_thread_left")


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 s at 25 frames/s, each frame stamped with its number."""
    return write_clip(tmp_path_factory.mktemp("camera") / "c.mp4", moving(200), gop=25)


@pytest.mark.realtime
def test_by_the_clock(camera: Path, tmp_path: Path) -> None:
    words = ["collect", str(camera), "--label", "waving", "-o", str(tmp_path), "--seconds", "0.6"]
    assert main([*words, "--every", "0.1", "--count", "2"]) == 0
    layout = read_layout(tmp_path)
    assert [clip.label for clip in layout.clips] == ["waving", "waving"]
    assert len({clip.group for clip in layout.clips}) == 1, "one session, one side of the split"
    for clip in layout.clips:
        found = scan(clip.path)
        assert 0.55 <= found.seconds <= 0.75
        numbers = [
            read_stamp(image)
            for image in read_frames(clip.path, found.times, range(len(found.times)), lambda picture: picture)
        ]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "whole, and in the true colours"


@pytest.mark.realtime
def test_by_keys_each_line_is_a_clip(
    camera: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("2\n7\n1\nq\n"))
    words = ["collect", str(camera), "--label", "waving", "--label", "walking", "-o", str(tmp_path)]
    assert main([*words, "--seconds", "0.4"]) == 0
    assert {clip.label for clip in read_layout(tmp_path).clips} == {"waving", "walking"}
    said = capsys.readouterr().err
    assert "'7' is none of 1 to 2" in said
    assert "2 clips in" in said


@pytest.mark.realtime
def test_a_camera_that_ends_leaves_no_half_clip(camera: Path, tmp_path: Path) -> None:
    short = write_clip(tmp_path / "short.mp4", moving(20))
    words = ["collect", str(short), "--idle", "-o", str(tmp_path / "out"), "--seconds", "5"]
    assert main(words) == 0
    assert list((tmp_path / "out").rglob("*.mp4")) == []
    assert list((tmp_path / "out").rglob(".*")) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["0"], 2, "name what the clips show"),
        (["0", "--label", "a/b"], 2, "folder's name"),
        (["0", "--label", "a", "--seconds", "0"], 2, "--seconds"),
        (["0", "--label", "a", "--label", "b", "--every", "2"], 2, "one label at a time"),
        (["gone.mp4", "--label", "a", "--every", "1"], 3, "gone.mp4"),
    ],
)
def test_wrong_usage_is_one_line(
    words: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", *words, "-o", str(tmp_path / "out")]) == code
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.realtime
def test_a_camera_that_is_not_there_is_said_once_without_a_next_try(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.training.clip_recorder.PATIENCE", 0.5)
    assert main(["collect", "97", "--label", "a", "--every", "1", "-o", str(tmp_path / "out")]) == 3
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line for line in lines if "webcam 97" in line] == [lines[-1]]
    assert lines[-1].startswith("streamer: camera cam0: there is no webcam 97")
    assert "next try" not in lines[-1]


@pytest.mark.realtime
def test_clips_are_for_their_owner_only_and_wider_rights_are_told(
    camera: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data" / "clips"
    words = ["collect", str(camera), "--label", "waving", "-o", str(out), "--seconds", "0.4"]
    before = os.umask(0o022)
    try:
        assert main([*words, "--every", "0", "--count", "1"]) == 0
        assert "others on this machine" not in capsys.readouterr().err
        out.chmod(0o755)
        assert main([*words, "--every", "0", "--count", "1"]) == 0
    finally:
        os.umask(before)
    assert f"{out}: others on this machine can reach the pictures in it" in capsys.readouterr().err
    assert [stat.S_IMODE(path.stat().st_mode) for path in sorted(out.rglob("*.mp4"))] == [0o600, 0o600]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (out.parent, out / "waving")] == [0o700, 0o700]
