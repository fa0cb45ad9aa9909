"""Noticing edits as editors make them."""

from __future__ import annotations

import os
from pathlib import Path

from streamer.system.file_watch import FileWatch


def write(path: Path, text: str, at: int) -> Path:
    path.write_text(text, "utf-8")
    os.utime(path, (at, at))  # file systems may know no more than seconds
    return path


def looks(watch: FileWatch, times: int = 3) -> list[bool]:
    return [watch.changed() for _ in range(times)]


def test_an_edit_is_told_once_and_when_it_is_whole(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", "a", 1)
    watch = FileWatch([file])
    assert looks(watch) == [False, False, False]
    write(file, "", 2)
    assert not watch.changed(), "empty: the editor is at it"
    write(file, "new", 3)
    assert looks(watch, 4) == [False, True, False, False]


def test_a_file_that_was_replaced_counts_and_one_that_is_gone_does_not(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", "a", 1)
    watch = FileWatch([file])
    write(tmp_path / "b.yaml", "a", 1).replace(file)
    assert looks(watch) == [False, True, False]
    file.unlink()
    assert looks(watch) == [False, False, False]
    write(file, "b", 5)
    assert looks(watch) == [False, True, False]


def test_a_missing_file_does_not_hide_edits_of_the_others(tmp_path: Path) -> None:
    """The words' file is deleted, and the config edited so that it does not name it any more."""
    config, words = write(tmp_path / "a.yaml", "a", 1), write(tmp_path / "words.yaml", "a", 1)
    watch = FileWatch([config, words])
    words.unlink()
    write(config, "b", 2)
    assert looks(watch) == [False, True, False]
    write(words, "b", 2)
    assert looks(watch) == [False, True, False], "and it is noticed when it is back"


def test_files_that_stay_are_remembered_when_others_come(tmp_path: Path) -> None:
    old, new = write(tmp_path / "a.yaml", "a", 1), write(tmp_path / "b.yaml", "a", 1)
    watch = FileWatch([old])
    write(old, "b", 2)
    watch.files([old, new])
    assert looks(watch) == [False, True, False]
