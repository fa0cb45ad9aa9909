"""Files for their owner only."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from streamer.errors import BusError, ConfigError
from streamer.system.private_files import open_to_others, private_folder, read_private

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o666])
def test_a_secret_that_others_have_any_right_to_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2")
    file.chmod(0o600)
    assert read_private(file, "--secret", ConfigError) == "hunter2"
    assert not open_to_others(file)
    file.chmod(mode)
    assert open_to_others(file)
    with pytest.raises(ConfigError, match=r"^--secret: .*chmod 600") as refused:
        read_private(file, "--secret", ConfigError)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * 70_000])
def test_what_is_no_secret_file_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    with pytest.raises(BusError, match=r"^key: cannot read") as refused:
        read_private(file, "key", BusError)
    assert "\n" not in str(refused.value)


def test_a_folder_and_those_above_it_are_the_owners_only(tmp_path: Path) -> None:
    made = private_folder(tmp_path / "a" / "b" / "c")
    for folder in (made, made.parent, made.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert private_folder(made) == made
