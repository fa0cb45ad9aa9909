"""Keys: who has an allowed one gets everything, who has not gets nothing, and both are told."""

from __future__ import annotations

import argparse
import contextlib
import socket
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth

from streamer.bus import Publisher, Subscriber, key_store
from streamer.bus.encryption import ClientKeys, KeyPair, ServerKeys, read_key
from streamer.bus.offered_mechanism import offered_mechanism
from streamer.bus.requests import Peer
from streamer.bus.subscriber_sockets import SILENT_FAILURES
from streamer.cli import keys as keys_command
from streamer.config import BusConfig
from streamer.errors import BusError
from tests.helpers.bus_parts import (
    DEADLINE,
    FREE,
    collect,
    connect,
    event,
    events_of,
    no_leaks,
    publisher,
    until,
)

pytestmark = [
    pytest.mark.usefixtures("no_leaks"),
    pytest.mark.skipif(not zmq.has("curve"), reason="this ZeroMQ has no CURVE"),
]
__all__ = ["no_leaks"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Keys of a publisher and of one client, which is allowed."""
    for name in ("server", "client"):
        key_store.new_pair(tmp_path, name)
    key_store.allow(tmp_path, str(tmp_path / "client.key"), None)
    return tmp_path


@pytest.fixture
def stranger(folder: Path) -> Path:
    """Another client, with keys of its own and the publisher's public key."""
    other = folder / "stranger"
    key_store.new_pair(other, "client")
    (other / "server.key").write_text((folder / "server.key").read_text())
    return other


def secure(folder: Path, **more: Any) -> Publisher:
    return publisher(bus=BusConfig(bind=FREE, keys=str(folder)), **more)


def test_an_allowed_client_gets_messages_history_and_answers(folder: Path) -> None:
    with secure(folder) as bus:
        bus.event(event("before"))
        with Subscriber(bus.endpoint, topics=["event/"], since=0.0, keys=folder) as subscriber:
            found = collect(subscriber, lambda found: len(found) >= 1)
            bus.event(event("live"))
            found += collect(subscriber, lambda found: len(found) >= 1)
            assert events_of(found) == [1, 2]
            assert subscriber.snapshot(DEADLINE).last_event_seq == 2
        assert bus.state().refused == 0


def refused(endpoint: str, place: Path | None) -> str:
    with Subscriber(endpoint, keys=place) as subscriber:
        for _ in range(600):
            try:
                assert subscriber.receive(0.1) is None, "a refused client must get nothing"
            except BusError as error:
                return str(error)
    raise AssertionError("the refusal was never told")


def test_an_unknown_key_gets_nothing_and_both_sides_say_so(folder: Path, stranger: Path) -> None:
    lines: list[str] = []
    with secure(folder, on_problem=lines.append) as bus:
        bus.event(event())
        assert "refused our key" in refused(bus.endpoint, stranger)
        until(lambda: bus.state().refused >= 1)
        assert "not allowed" in lines[0]
        assert read_key(stranger / "client.key").public.decode() in lines[0], "the line says which key"
        refused(bus.endpoint, stranger)
        until(lambda: bus.state().refused >= 2)
        assert len(lines) == 1, "the same refusal is told once a minute"


@pytest.mark.realtime
def test_a_hundred_and_fifty_unlisted_keys_are_one_line(folder: Path) -> None:
    lines: list[str] = []
    with secure(folder, on_problem=lines.append) as bus, zmq.Context() as context:
        server = read_key(folder / "server.key").public
        sockets = [context.socket(zmq.DEALER) for _ in range(150)]  # kept: one that is let go closes at once
        for socket in sockets:
            socket.linger = 0
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
            socket.curve_serverkey = server
            socket.connect(bus.requests_endpoint or "")
        until(lambda: bus.state().refused >= 150, "all were refused")
        context.destroy(linger=0)
    assert len([line for line in lines if "not allowed" in line]) == 1
    assert len(lines) <= 2, "the other is for those that left before they were asked for a key"


def test_requests_need_the_key_too(folder: Path, stranger: Path) -> None:
    with secure(folder) as bus, zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        ClientKeys.load(stranger).apply_to(socket)
        socket.linger, socket.rcvtimeo = 0, 500
        socket.connect(bus.requests_endpoint or "")
        socket.send(b'{"op":"snapshot"}')
        with pytest.raises(zmq.Again):
            socket.recv()
        until(lambda: bus.state().refused >= 1)


def test_without_encryption_there_is_nothing_to_be_had(folder: Path) -> None:
    with secure(folder) as bus:
        assert "wants encryption" in refused(bus.endpoint, None)
        until(lambda: bus.state().refused >= 1)


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + b"\x01" + bytes(31)


class HangsUp:
    """Hangs up on who has greeted, before its own greeting has left: so does libzmq where it wants another
    mechanism and is slow. Who waits, as is polite, gets the rest of `greeting`; without one it hangs up at
    once, as a tunnel to nowhere does.
    """

    def __init__(self, greeting: bytes) -> None:
        self.greeting, self.came = greeting, 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._server.accept()
                self.came += 1
                with peer, contextlib.suppress(OSError):
                    self._meet(peer)

    def _meet(self, peer: socket.socket) -> None:
        if not self.greeting:
            return
        peer.settimeout(0.5)
        peer.sendall(self.greeting[:11])  # so much makes libzmq send all of its own
        found = b""
        with contextlib.suppress(TimeoutError):
            while len(found) < 64 and (more := peer.recv(64)):
                found += more
        if len(found) == 11:
            peer.sendall(self.greeting[11:])

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(DEADLINE)


@pytest.mark.realtime
def test_the_refusal_is_told_where_the_publisher_hangs_up_before_it_has_greeted() -> None:
    peer = HangsUp(GREETING)
    try:
        assert "wants encryption" in refused(peer.endpoint, None)
    finally:
        peer.close()


def keeps_trying(peer: HangsUp, keys: Path | None) -> None:
    with Subscriber(peer.endpoint, keys=keys) as subscriber:

        def many() -> bool:
            assert subscriber.receive(0.01) is None
            return peer.came > 4 * SILENT_FAILURES

        until(many)


@pytest.mark.realtime
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_tunnel_that_hangs_up_for_want_of_a_publisher_is_no_refusal(folder: Path, encrypted: bool) -> None:
    tunnel = HangsUp(b"")
    try:
        keeps_trying(tunnel, folder if encrypted else None)
    finally:
        tunnel.close()


@pytest.mark.realtime
def test_a_plain_publisher_that_hangs_up_often_is_no_refusal_either() -> None:
    peer = HangsUp(GREETING.replace(b"CURVE", b"NULL\0"))
    try:
        keeps_trying(peer, None)
    finally:
        peer.close()


def test_what_a_publisher_demands_is_read_from_its_greeting(folder: Path) -> None:
    with secure(folder) as encrypted, publisher() as plain:
        assert offered_mechanism(encrypted.endpoint) == "CURVE"
        assert offered_mechanism(plain.endpoint) == "NULL"
    assert offered_mechanism(plain.endpoint) == ""
    with publisher(bus=BusConfig(bind=f"ipc://{folder}/bus", keys=str(folder))) as bus:
        assert offered_mechanism(bus.endpoint) == "CURVE"
    assert offered_mechanism(bus.endpoint) == ""


def test_the_wrong_server_key_is_named_as_the_likely_cause(folder: Path, stranger: Path) -> None:
    key_store.new_pair(folder / "elsewhere", "server")
    (stranger / "server.key").write_text((folder / "elsewhere" / "server.key").read_text())
    with secure(folder) as bus:
        assert "server.key is not this publisher's" in refused(bus.endpoint, stranger)


def test_keys_against_a_publisher_without_any(folder: Path) -> None:
    with publisher() as bus:
        assert "uses no encryption" in refused(bus.endpoint, folder)


def test_a_client_allowed_while_running_may_connect_and_one_removed_may_not(
    folder: Path, stranger: Path
) -> None:
    with secure(folder) as bus:
        refused(bus.endpoint, stranger)
        file = key_store.allow(folder, str(stranger / "client.key"), "friend")
        with Subscriber(bus.endpoint, keys=stranger) as subscriber:
            connect(subscriber)
        file.unlink()
        refused(bus.endpoint, stranger)


def test_operations_are_told_whose_key_asks(folder: Path) -> None:
    peers: list[Peer] = []

    def who(request: object, peer: Peer) -> dict[str, Any]:
        peers.append(peer)
        return {}

    with secure(folder, handlers={"who": who}) as bus, Subscriber(bus.endpoint, keys=folder) as subscriber:
        subscriber.request("who", timeout=DEADLINE)
    assert peers[0].key == "client"


def test_keys_allow_other_interfaces_and_their_absence_does_not(folder: Path) -> None:
    with publisher(bus=BusConfig(bind="tcp://0.0.0.0:0", keys=str(folder))) as bus:
        port = bus.endpoint.rsplit(":", 1)[1]
        with Subscriber(f"tcp://127.0.0.1:{port}", topics=["event/"], since=0.0, keys=folder) as subscriber:
            bus.event(event())
            assert events_of(collect(subscriber, lambda found: bool(found))) == [1], (
                "the wildcard host is replaced"
            )
    with pytest.raises(BusError, match="streamer keys new server"):
        publisher(bus=BusConfig(bind="tcp://0.0.0.0:0")).__enter__()


def test_a_publisher_without_allowed_clients_says_so(tmp_path: Path) -> None:
    key_store.new_pair(tmp_path, "server")
    lines: list[str] = []
    with secure(tmp_path, on_problem=lines.append):
        pass
    assert "no client may connect yet" in lines[0]


def test_a_damaged_allowed_key_is_named_and_harms_nobody_else(folder: Path) -> None:
    (folder / "allowed" / "broken.key").write_text("what is this")
    lines: list[str] = []
    with secure(folder, on_problem=lines.append) as bus, Subscriber(bus.endpoint, keys=folder) as subscriber:
        connect(subscriber)
    assert any("broken.key" in line for line in lines)


def test_many_strangers_do_not_keep_an_allowed_client_out(folder: Path, stranger: Path) -> None:
    stop = threading.Event()

    def knock(endpoint: str) -> None:
        while not stop.is_set():
            with zmq.Context() as context, context.socket(zmq.SUB) as socket:
                ClientKeys.load(stranger).apply_to(socket)
                socket.linger = 0
                socket.connect(endpoint)
                stop.wait(0.01)

    with secure(folder) as bus:
        knocking = threading.Thread(target=knock, args=[bus.endpoint])
        knocking.start()
        try:
            with Subscriber(bus.endpoint, keys=folder) as subscriber:
                connect(subscriber)
            until(lambda: bus.state().refused >= 3)
        finally:
            stop.set()
            knocking.join()


# ---- key files


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_secret_keys_are_for_their_owner_only(folder: Path) -> None:
    for name in ("server", "client"):
        assert stat.S_IMODE((folder / f"{name}.key_secret").stat().st_mode) == 0o600
        assert "secret-key" not in (folder / f"{name}.key").read_text()
    (folder / "client.key_secret").chmod(0o644)
    with pytest.raises(BusError, match="chmod 600"):
        ClientKeys.load(folder)


def test_key_files_are_zeromqs_own_format(folder: Path) -> None:
    public, secret = zmq.auth.load_certificate(folder / "server.key_secret")
    assert KeyPair(public, secret) == read_key(folder / "server.key_secret")
    zmq.auth.create_certificates(folder, "other")
    assert read_key(folder / "other.key").public == zmq.auth.load_certificate(folder / "other.key")[0]


def test_a_secret_is_in_no_repr_and_no_error(folder: Path) -> None:
    pair = read_key(folder / "server.key_secret")
    assert pair.secret is not None
    secret = pair.secret.decode()
    assert secret not in repr(pair)
    assert secret not in repr(ClientKeys.load(folder))
    text = (folder / "server.key_secret").read_text()
    (folder / "server.key_secret").write_text(text.replace(secret, secret[:-1] + "~"))
    with pytest.raises(BusError) as caught:
        ServerKeys.load(folder)
    assert secret[:20] not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "client.key_secret").unlink(), "key file: cannot read"),
        (lambda folder: (folder / "server.key").unlink(), "key file: cannot read"),
        (lambda folder: (folder / "server.key").write_bytes(b"\xff\xfe"), "key file: cannot read"),
        (lambda folder: (folder / "server.key").write_text("hello"), "no key file"),
        (
            lambda folder: (folder / "client.key_secret").write_text((folder / "client.key").read_text()),
            "no secret",
        ),
        (lambda folder: (folder / "server.key").write_text('public-key = "' + "é" * 40 + '"'), "damaged"),
    ],
)
def test_each_spoilt_key_file_is_one_clear_line(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder)
    with pytest.raises(BusError, match=message) as caught:
        Subscriber("tcp://127.0.0.1:1", keys=folder)
    assert "\n" not in str(caught.value)


def test_a_publisher_without_its_keys_does_not_start_open(tmp_path: Path) -> None:
    with pytest.raises(BusError, match=r"server\.key_secret"):
        secure(tmp_path).__enter__()


# ---- streamer keys


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    keys_command.add_arguments(parser)
    return keys_command.run(parser.parse_args(keys_command.plain_words(words)))


def test_new_allow_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here, there = str(tmp_path / "publisher"), str(tmp_path / "client")
    assert command("list", "--dir", here) == 0
    assert "no client may connect yet" in capsys.readouterr().out
    assert command("new", "--dir", here) == 0
    assert command("new", "client", "--dir", there) == 0
    assert "streamer keys allow client.key" in capsys.readouterr().out
    assert command("allow", f"{there}/client.key", "--name", "kitchen", "--dir", here) == 0
    capsys.readouterr()
    assert command("list", "--dir", here) == 0
    public = read_key(Path(there) / "client.key").public.decode()
    assert capsys.readouterr().out == f"kitchen  {public}\n"
    assert command("allow", public, "--name", "kitchen", "--dir", here) == 0, "the same again is no error"


def test_the_default_folder_is_the_users_own(own_folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("new") == 0
    assert (key_store.default_folder() / "server.key_secret").is_file()
    assert key_store.default_folder().is_relative_to(own_folders)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["new", "server"], "exists already"),
        (["new", "../evil"], "cannot be a key's name"),
        (["allow", "nothing.key"], "no such file"),
        (["allow", "x" * 40], "--name NAME"),
        (["allow", "!" * 40, "--name", "x y"], "cannot be a key's name"),
        (["allow", "~" * 40, "--name", "bad"], "damaged"),
    ],
)
def test_mistakes_are_one_line(folder: Path, words: list[str], message: str) -> None:
    with pytest.raises(BusError, match=message) as caught:
        command(*words, "--dir", str(folder))
    assert "\n" not in str(caught.value)
    assert [name for name, _ in key_store.allowed(folder)] == ["client"], (
        "nothing is left behind by a mistake"
    )
