"""Foreign text on a terminal, in a log and in JSON."""

from __future__ import annotations

import json
import logging

import pytest

from streamer.cli.run import _Redacted
from streamer.system.terminal_text import printable, printable_json

FORGED = "front\x1b[2J\x9b31m\nstreamer: all is well\r\x07\u202e\u2028\x85\ud800 ü 日本"


def test_nothing_steers_a_terminal_or_makes_a_line() -> None:
    shown = printable(FORGED)
    assert shown.isprintable()
    assert shown.startswith("front")
    assert shown.endswith(" ü 日本")
    assert printable("plain text") == "plain text"
    assert printable("x" * 1000, 200) == "x" * 197 + "..."
    assert len(printable("\x1b" * 48_000, 200)) == 200


@pytest.mark.parametrize(
    "text", ["\u200c", "a\u200cb", "\u200d\u200d", "é\u200c", "é\u200c \u200cé", "é\u200c\x1b"]
)
def test_a_joiner_that_joins_nothing_is_seen(text: str) -> None:
    assert printable(text).isprintable()
    assert "\ufffd" in printable(text)
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize("text", ["می\u200cخواهم", "PDF\u200cها", "👩\u200d🍳", "❤\ufe0f\u200d🔥"])
def test_a_joiner_within_a_word_stays(text: str) -> None:
    assert printable(text) == text


def test_json_says_the_same_without_steering() -> None:
    line = json.dumps({"label": FORGED, "two": "\U000e0001\U0001f600"}, ensure_ascii=False)
    shown = printable_json(line)
    assert shown.isprintable()
    assert json.loads(shown) == json.loads(line)


def test_the_log_has_one_line_for_one_message() -> None:
    record = logging.LogRecord("streamer", logging.WARNING, "", 0, "camera %s", (FORGED,), None)
    assert _Redacted("streamer: %(message)s").format(record).isprintable()


@pytest.mark.parametrize("text", ["", " ", "a b"])
def test_what_is_printable_stays(text: str) -> None:
    assert printable(text) == text
