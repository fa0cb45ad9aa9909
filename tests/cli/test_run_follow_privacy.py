"""`run --follow` with people hidden: the option alone is enough, and nothing but it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.cli.command_line import main
from tests.helpers.media import write_clip
from tests.helpers.people_parts import Walker, scene, walking


def test_follow_on_the_command_line_lets_people_be_hidden(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walker = Walker(walking(10.0, 60.0))
    film = write_clip(tmp_path / "film.mp4", [scene([walker], number / 20) for number in range(40)], 20)
    quick = [
        "pace=fast",
        "bus.bind=",
        "journal.path=",
        "ui=none",
        "model.engine=torch",
        "model.precision=fp32",
    ]
    words = ["run", str(film), *[word for value in quick for word in ("--set", value)]]
    words += ["--set", "privacy.blur=[people]"]
    assert main([*words, "--follow"]) == 0
    assert main(words) == 2
    assert "follows nobody: add follow" in capsys.readouterr().err
