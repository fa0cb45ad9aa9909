"""Files appear whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from streamer.system.atomic_files import replacing, write_atomically


@pytest.mark.parametrize("durable", [False, True])
def test_the_content_is_replaced_as_a_whole(tmp_path: Path, durable: bool) -> None:
    file = tmp_path / "state.json"
    write_atomically(file, "one é", durable=durable)
    assert file.read_text("utf-8") == "one é"
    write_atomically(file, b"two", durable=durable)
    assert file.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_rights_are_there_from_the_first_moment(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    file.chmod(0o644)
    write_atomically(file, "new", mode=0o600)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "plain", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o640


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"old")

    def fail() -> None:
        with replacing(file) as part:
            assert part.suffix == ".mp4", "encoders choose the format by it"
            part.write_bytes(b"half")
            raise ValueError("the encoder died")

    with pytest.raises(ValueError, match="died"):
        fail()
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_block_that_wrote_nothing_renames_nothing(tmp_path: Path) -> None:
    with replacing(tmp_path / "clip.mp4") as part:
        part.write_bytes(b"broken off")
        part.unlink()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "no" / "file", "x")
