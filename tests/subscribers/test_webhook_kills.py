"""Webhooks when everybody is killed: nothing is lost."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.bridge_parts import history_of, kill, start_command, start_publisher
from tests.helpers.bus_parts import free_pair, until
from tests.helpers.webhook_parts import SECRET, posix

RECEIVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(body) < int(self.headers["Content-Length"]):
            return  # the sender was killed while it sent
        with open(sys.argv[2], "ab") as book:
            book.write(self.headers["webhook-id"].encode() + b" " + body + b"\\n")
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
"""


class Crashes:
    def __init__(self, folder: Path) -> None:
        self.history, self.book, self.log = folder / "events.db", folder / "book", folder / "log"
        self.endpoint = f"tcp://127.0.0.1:{free_pair()}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.book.touch()
        secret = folder / "secret"
        secret.touch(0o600)
        secret.write_text(SECRET)
        url, state = f"http://127.0.0.1:{self.port}/", str(folder / "state.json")
        self.words = ["webhook", self.endpoint, "--url", url, "--state", state, "--since", "seq:0"]
        self.words += ["--max-wait", "0.1", "--secret-file", str(secret), "--phase", "start,update,end"]
        self.running = {"receiver": self.receive(), "bridge": self.bridge(), "publisher": self.publish(0.02)}

    def receive(self) -> subprocess.Popen[Any]:
        words = [sys.executable, "-c", RECEIVER, str(self.port), str(self.book)]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    def bridge(self) -> subprocess.Popen[Any]:
        return start_command(self.words, self.log)

    def publish(self, pause: float) -> subprocess.Popen[Any]:
        return start_publisher(self.endpoint, self.history, pause)

    def again(self, name: str, make: Callable[[], subprocess.Popen[Any]]) -> None:
        size = self.book.stat().st_size
        until(lambda: self.book.stat().st_size > size, "events flow: a kill before that would test nothing")
        kill(self.running[name])
        self.running[name] = make()

    def received(self) -> list[tuple[str, bytes]]:
        lines = self.book.read_bytes().splitlines()
        return [(key.decode(), body) for key, _, body in (line.partition(b" ") for line in lines)]

    def close(self) -> None:
        for child in self.running.values():
            if child.poll() is None:
                kill(child)


@pytest.mark.realtime
@posix
def test_kills_of_bridge_receiver_and_publisher_lose_nothing(tmp_path: Path) -> None:
    crashes = Crashes(tmp_path)
    try:
        for _ in range(2):
            crashes.again("bridge", crashes.bridge)
            crashes.again("receiver", crashes.receive)
            crashes.again("publisher", lambda: crashes.publish(0.02))
        crashes.again("publisher", lambda: crashes.publish(0))
        truth = {row["seq"] for row in history_of(tmp_path / "events.db")}
        until(lambda: {json.loads(body)["seq"] for _, body in crashes.received()} >= truth, "all arrive")
    finally:
        crashes.close()
    got = crashes.received()
    bodies: dict[str, set[bytes]] = {}
    for key, body in got:
        bodies.setdefault(key, set()).add(body)
    assert all(len(different) == 1 for different in bodies.values()), "no key with two bodies"
    sent = {(row["session"], row["seq"], row["event"]["id"], row["event"]["phase"]) for row in
            history_of(tmp_path / "events.db")}  # fmt: skip
    arrived = [json.loads(body) for _, body in got]
    assert {(m["session"], m["seq"], m["event"]["id"], m["event"]["phase"]) for m in arrived} == sent
    assert len(bodies) == len(sent) > 30
    firsts = list(dict.fromkeys(message["seq"] for message in arrived))
    assert firsts == sorted(firsts), "in order"
    print(f"{len(sent)} events, {len(got) - len(sent)} doubles")
