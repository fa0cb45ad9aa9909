"""The webhook command: encryption, secrets, files of its own, and what it says of wrong usage."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import Publisher
from streamer.bus.position import Position
from streamer.cli.command_line import main
from streamer.errors import BusError
from streamer.subscribers import bridge
from streamer.subscribers.state_file import StateFile
from streamer.subscribers.webhook import signing
from streamer.subscribers.webhook.webhook_bridge import judge
from streamer.testing import FakeClock
from tests.helpers.bridge_parts import Running, publish_events
from tests.helpers.bus_parts import until
from tests.helpers.certificates import make_certificate
from tests.helpers.webhook_parts import SECRET, Hook, Receiver, bus, posix, receiver, status

__all__ = ["bus", "receiver"]  # fixtures

# ---- encryption


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_tls_is_verified(
    bus: Publisher, receiver: Receiver, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    url = receiver.url.replace("http:", "https:")
    doubting = Hook(bus, url, tmp_path, context=ssl.create_default_context())
    with Running(doubting):
        publish_events(bus, ["a"])
        until(lambda: doubting.said("its certificate is not trusted"), "it is refused")
    assert receiver.got == []
    trusting = Hook(bus, url, tmp_path, context=ssl.create_default_context(cafile=str(certificate[0])))
    with Running(trusting):
        until(lambda: len(receiver.got) == 3, "it is trusted")
    assert receiver.seqs == [1, 2, 3]


# ---- the command


def test_secrets_appear_nowhere(bus: Publisher, receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [status(500)]
    url = receiver.url.replace("http://", "http://alice:pass%40word@") + "/T0KEN?sig=s1gned"
    hook = Hook(bus, url, tmp_path, secrets=signing.parse_secrets(SECRET, "test"))
    with Running(hook):
        publish_events(bus, ["a"])
        until(lambda: 3 in receiver.seqs, "all arrive")
    import base64

    assert receiver.got[0][0]["Authorization"] == "Basic " + base64.b64encode(b"alice:pass@word").decode()
    told = (
        " ".join(hook.lines) + repr(hook._settings) + hook.state.read_text() + " ".join(os.listdir(tmp_path))
    )
    for secret in ("alice", "pass", "word", "T0KEN", "s1gned", SECRET[6:], "MfKQ"):
        assert secret not in told


def test_the_default_state_file_tells_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from argparse import ArgumentParser

    from streamer.cli import webhook

    parser = ArgumentParser()
    webhook.add_arguments(parser)
    made = webhook.settings_of(parser.parse_args(["--url", "https://u:pw@example.invalid/T0KEN?x=1"]))
    assert made.state.name.startswith("webhook-tcp-127-0-0-1-5555-https-example-invalid-")
    other = webhook.settings_of(parser.parse_args(["--url", "https://u:pw@example.invalid/0THER"]))
    assert other.state != made.state
    assert not any(secret in str(made.state) for secret in ("T0KEN", "pw"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "where to?"),
        (["--url", "ftp://x/"], "no address for webhooks"),
        (["--url", "https://"], "no address for webhooks"),
        (["--url", "http://x:99999/"], "no address for webhooks"),
        (["--url", "http://x/", "--phase", "begin"], "--phase 'begin'"),
        (["--url", "http://x/", "--timeout", "0"], "--timeout 0"),
        (["--url", "http://x/", "--give-up", "-1"], "--give-up -1"),
        (["--url", "http://x/", "--secret-file", "/nowhere"], "--secret-file: cannot read"),
        (["--url", "https://x/", "--ca", "/nowhere"], "--ca /nowhere"),
        (["--url", "http://x/", "--since", "yesterday"], "no point in time"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["webhook", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@posix
def test_a_secret_file_that_others_can_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    file.chmod(0o644)
    assert main(["webhook", "--url", "http://127.0.0.1:1/", "--secret-file", str(file)]) == 2
    error = capsys.readouterr().err
    assert "chmod 600" in error
    assert SECRET not in error


@posix
def test_a_dead_letter_file_that_others_can_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And so is a key of our own, which the page's and MQTT's TLS have."""
    from streamer.subscribers.stderr_lines import warn_if_exposed

    file = tmp_path / "dead.jsonl"
    warn_if_exposed(file, "--dead-letters")
    file.touch(0o600)
    warn_if_exposed(file, "--dead-letters")
    assert capsys.readouterr().err == ""
    file.chmod(0o644)
    words = ["--url", "http://127.0.0.1:1/", "--dead-letters", str(file), "--state", "/proc/nowhere/state"]
    assert main(["webhook", *words]) == 2
    assert f"--dead-letters: {file}: others on this machine can read it" in capsys.readouterr().err


def test_two_bridges_do_not_share_a_state_file(bus: Publisher, receiver: Receiver, tmp_path: Path) -> None:
    first = Hook(bus, receiver.url, tmp_path)
    with Running(first):
        until(lambda: first.state.exists(), "it runs")
        with Running(Hook(bus, receiver.url, tmp_path)) as second:
            second.end()
    assert isinstance(second.error, BusError)
    assert "in use" in str(second.error)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"since": null}', '{"since": ["seq", "x"]}', '{"since": 1, "extra": 2}']
)
def test_a_damaged_state_file_is_not_taken_for_a_new_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(BusError, match="is damaged"):
        StateFile(tmp_path / "state.json", 1.0)
    StateFile(tmp_path / "other.json", 1.0).close()
    (tmp_path / "state.json").unlink()
    StateFile(tmp_path / "state.json", 1.0).close()  # the lock was given back


def test_a_state_file_is_there_before_the_first_event(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.json", 123.5)
    assert json.loads((tmp_path / "state.json").read_text())["since"] == 123.5
    state.close()
    again = StateFile(tmp_path / "state.json", 999.0)
    assert again.position == Position.at(123.5)
    again.close()


def test_a_full_disk_costs_doubles_not_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    clock = FakeClock()
    state = StateFile(tmp_path / "state.json", 1.0, clock=clock, on_problem=lines.append)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    clock.advance(1)
    with monkeypatch.context() as patched:
        patched.setattr("streamer.system.atomic_files.os.replace", full)
        state.move(Position("seq", 5))
        state.tick()
        clock.advance(6)
        state.tick()
    assert len(lines) == 1
    assert "No space left" in lines[0]
    clock.advance(6)
    state.tick()
    assert len(lines) == 2
    assert Position.of(json.loads((tmp_path / "state.json").read_text())["since"]) == Position("seq", 5)
    state.close()


def test_keys_tell_messages_apart_and_hold_no_full_stop(bus: Publisher) -> None:
    from streamer.bus.messages import parse

    def message(session: str, seq: int) -> Any:
        raw = {"v": 1, "type": "event", "session": session, "seq": seq, "sent_at": 1.0, "camera": "c",
               "event": {"id": "1.5-1", "phase": "start", "label": "x", "score": 0.5, "peak": 0.5,
                         "started_at": 1.0, "decided_at": 1.0, "ended_at": None}}  # fmt: skip
        return parse(raw)

    pairs = [("a", 11), ("a1", 1), ("a-1", 1), ("a_2d_1", 1), ("a.1", 1), ("\n", 1)]
    keys = [bridge.idempotency_key(message(*pair)) for pair in pairs]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", key) for key in keys)


def test_answers_and_what_they_mean() -> None:
    codes = 199, 200, 299, 304, 400, 401, 404, 408, 410, 425, 429, 500, 599
    meant = {code: judge(code) for code in codes}
    assert meant == {
        199: "refused", 200: "accepted", 299: "accepted", 304: "refused", 400: "refused", 401: "refused",
        404: "refused", 408: "later", 410: "gone", 425: "later", 429: "later", 500: "later", 599: "later",
    }  # fmt: skip
