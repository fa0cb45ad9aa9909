"""No secret is left in any text."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from streamer.system import redaction
from streamer.system.redaction import redact, redact_address, remember, secret_parameters


@pytest.mark.parametrize(
    "text",
    [
        "open rtsp://admin:hunter2@10.0.0.9:554/live failed",
        "rtsp://admin:hun/ter2@hunter2@host/x",
        "http://host/cgi?user=admin&password=hunter2&x=1",
        "http://host/cgi?x=1&token=hunter2",
        "http://host/cgi?x=1&psw=hunter2;pw=hunter2",
        "hunter2 alone",
        "hunter2%21 quoted",
    ],
)
def test_redact_leaves_nothing(text: str) -> None:
    clean = redact(text, "hunter2", "hunter2!")
    assert "hunter2" not in clean
    assert "hun/ter2" not in clean
    assert "***" in clean


PASSWORDS = [
    "plain-hunter2",
    "quo'te\"hunter2",
    "<b>hunter2",
    "two words hunter2",
    "p@h/u?n#t:hunter2",
    "%hunter2é",
]


@pytest.mark.parametrize("password", PASSWORDS)
def test_an_address_is_built_again_without_its_password(password: str) -> None:
    shown = redact_address(
        f"rtsp://admin:{password}@10.0.0.9:554/live?channel=1&psw={password.split('@')[0]}"
    )
    assert "hunter2" not in shown
    assert "admin" not in shown
    assert "rtsp://" in shown


@pytest.mark.parametrize(
    "name", ["psw", "pw", "pwd", "passwd", "password", "PASS", "api_key", "token", "sig", "u"]
)
def test_parameters_keep_their_name_only(name: str) -> None:
    address = f"http://10.0.0.9/cgi?x=1&{name}=hunter2&channel=4"
    assert redact_address(address) == f"http://10.0.0.9/cgi?x=1&{name}=***&channel=4"
    assert redact(f"opening {address} now") == f"opening http://10.0.0.9/cgi?x=1&{name}=***&channel=4 now"


def test_what_has_no_secrets_stays_as_it_is() -> None:
    for text in ("rtsp://10.0.0.9:554/live", "film.mp4", "http://h/x?channel=1", "me@home: a=b", ""):
        assert redact_address(text) == text
        assert redact(text) == text


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_remembered_secret_is_found_in_every_spelling(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction, "_secrets", set())
    monkeypatch.setattr(redaction, "_known", ())
    remember(password, None, "", "abc")

    for spelling in (
        password,
        quote(password, safe=""),
        quote(password),
        repr(password),
        json.dumps(password),
    ):
        assert "hunter2" not in redact(f"it said: {spelling} is wrong")
    assert redact("abc") == "abc", "too short to be told from words"


def test_the_secrets_of_an_address() -> None:
    assert secret_parameters("http://h/x?user=me&psw=a%20b&channel=1;pw=c") == ("a%20b", "a b", "c")
