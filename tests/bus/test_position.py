"""A position: one value, its JSON (of earlier versions too), and its words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.bus.position import Position
from streamer.errors import BusError

WORD = st.from_regex(r"[A-Za-z0-9.:+]{1,20}", fullmatch=True)
SEQ = st.integers(0, 2**63 - 1)


@given(
    SEQ, st.text(), st.text(), st.lists(st.tuples(st.text(), SEQ, st.text())), st.none() | st.floats(0, 1e14)
)
def test_json_gives_the_same_position_again(
    seq: int, session: str, journal: str, elsewhere: list[tuple[str, int, str]], start: float | None
) -> None:
    position = Position("seq", seq, session, journal, tuple(elsewhere), start)
    assert Position.of(json.loads(json.dumps(position))) == position
    assert Position.of(json.loads(json.dumps(position.as_json))) == position


@pytest.mark.parametrize(
    ("kept", "position"),
    [
        (["seq", 7], Position("seq", 7)),
        (["seq", 7, "s", "j", [["k", 3, "t"]], 5.5], Position("seq", 7, "s", "j", (("k", 3, "t"),), 5.5)),
        (["seq", 0, "", "", [], None], Position("seq", 0)),
        (1700000000, Position.at(1700000000.0)),
        (12.5, Position("time", start=12.5)),
    ],
)
def test_what_earlier_versions_kept_is_read(kept: Any, position: Position) -> None:
    assert Position.of(kept) == position
    assert Position.of(json.loads(json.dumps(position))) == position
    assert Position.of(json.loads(json.dumps(position.as_json))) == position


@pytest.mark.parametrize(
    "wrong",
    [
        "2h", "seq", None, True, {}, [], ["seq"], ["seq", -1], ["seq", True], ["seq", 1.0], ["seq", 10**400],
        ["row", 5], ["seq", 1, "s", "j", 3, None], ["seq", 1, "s", "j", [["j", 1]], None],
        ["seq", 1, None, "j", [], None], ["seq", 1, "s", "j", [], -1.0], ["time", 0, "", "", [], None],
        float("nan"), float("inf"), -3.0, 10**400, 1e15,
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line(wrong: Any) -> None:
    with pytest.raises(BusError, match=r"^since=.{1,200}$"):
        Position.of(wrong)


@given(st.integers(0, 10**18 - 1), WORD, WORD)
def test_the_cursor_of_a_page_is_read_again(seq: int, session: str, journal: str) -> None:
    position = Position("seq", seq, session, journal)
    assert Position.of_cursor(position.cursor) == position


@pytest.mark.parametrize("text", [None, "", "1-a", "1-a-b\nevent: x", "9" * 400, "-1-a-b", "7-x y-"])
def test_no_other_word_is_a_cursor(text: str | None) -> None:
    assert Position.of_cursor(text) is None


def test_as_people_write_it() -> None:
    assert Position.parse("seq:12", 0) == Position("seq", 12)
    assert Position.parse("2m", 1000.0) == Position.at(880.0)
    for wrong in ("seq:", "seq:-1", "seq:x", "soon", "9" * 400, "1e999", "nan"):
        with pytest.raises(BusError, match=r"^.{1,200}$"):
            Position.parse(wrong, 0)
