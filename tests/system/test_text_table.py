"""Tables of text: for people's terminals, and for whatever reads a pipe."""

from __future__ import annotations

import io
import os

import pytest
from rich.cells import cell_len

from streamer.system.text_table import text_table, width_of

HEAD = ("camera", "label", "peak")
ROWS = (("front", "opening a door " * 20, "0.93"), ("前庭", "[bold]:smile:[/]", "1.00"))


def test_a_pipe_gets_one_line_for_each_row_however_long(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("COLUMNS", "20"), ("FORCE_COLOR", "1"), ("TTY_COMPATIBLE", "1")):
        monkeypatch.setenv(name, value)
    head, *lines = text_table(HEAD, ROWS, right=("peak",))
    assert head.split() == list(HEAD)
    assert [line.split()[0] for line in lines] == ["front", "前庭"]
    assert lines[0] == f"front   {ROWS[0][1]}  0.93"
    assert "[bold]:smile:[/]" in lines[1], "nothing in a cell is an instruction"
    assert {cell_len(line) for line in lines} == {8 + 300 + 2 + 4}, "in columns, as terminals count"


def test_a_terminal_gets_lines_that_fit() -> None:
    lines = text_table(HEAD, ROWS, right=("peak",), width=40)
    assert max(map(cell_len, lines)) <= 40
    assert "\n".join(lines).count("door") == 20, "wrapped, nothing is lost"


def test_no_cell_steers_the_terminal_or_forges_a_row() -> None:
    evil = "a\x1b]0;x\x07\x9b31m\nfront  b  1.00"
    for width in (None, 60):
        for line in text_table(HEAD, [(evil, "b", "1")], width=width):
            assert line.isprintable()
    assert len(text_table(HEAD, [(evil, "b", "1")])) == 2


def test_nothing_but_a_head() -> None:
    assert text_table(HEAD, []) == ["camera  label  peak"]


def test_what_is_no_terminal_has_no_width() -> None:
    assert width_of(io.StringIO()) is None
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as out:
        assert width_of(out) is None
