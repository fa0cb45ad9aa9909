"""Everything at once: a run, and beside it speech, captions, the page in a browser, MQTT and webhooks.

    TOGETHER_MINUTES=10 python run.py test -m soak tests/end_to_end/test_together.py -s

First the demo alone, then with all of them; each of them is killed once and started again. Nothing may slow
the run, and of the events in its history none may be missing from any of them.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.bridge_parts import history_of, kill, start_command
from tests.helpers.bus_parts import free_pair
from tests.helpers.mosquitto import MOSQUITTO, Broker, MqttListener
from tests.helpers.page_browser import CHROMIUM

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

MINUTES = float(os.environ.get("TOGETHER_MINUTES", "10"))
ALONE = MINUTES / 3
ROOT = Path(__file__).parents[2]
RECEIVER = """
import http.server, json, sys
file = open(sys.argv[2], "a")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        file.write(json.dumps([self.headers["webhook-id"], body["seq"]]) + "\\n"); file.flush()
        self.send_response(204); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
"""


class Run:
    """The demo as a process of its own; counts its windows."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        words = [sys.executable, "-m", "streamer", "run", "demo", "--loop", "--ui", "json"]
        words += ["--bind", endpoint, "--set", f"journal.path={folder / 'events.db'}"]
        self.windows = 0
        self.child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.windows += '"type":"prediction"' in line.replace(" ", "")[:400]

    def rate(self, seconds: float, pause: threading.Event) -> float:
        """Windows a second over the next so many."""
        began, before = time.monotonic(), self.windows
        pause.wait(seconds)
        return (self.windows - before) / (time.monotonic() - began)


class Page:
    """A reader of the page's stream, which comes back as browsers do."""

    def __init__(self, port: int) -> None:
        self._port, self._last = port, ""
        self.ended: dict[str, float | None] = {}
        self._stop = threading.Event()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while not self._stop.wait(0.2):
            try:
                self._read()
            except (OSError, http.client.HTTPException):
                continue

    def _read(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request("GET", "/stream", headers={"Last-Event-ID": self._last} if self._last else {})
        answer = connection.getresponse()
        name = ""
        while line := answer.readline().decode():
            key, _, value = line.rstrip("\n").partition(": ")
            if key == "id":
                self._last = value
            elif key == "event":
                name = value
            elif key == "data":
                told = json.loads(value)
                whole = [*told["events"], *told["missed"]] if name == "state" else []
                for record in [told] if name == "event" else whole:
                    self.ended[record["id"]] = record["ended_at"] or self.ended.get(record["id"])

    def close(self) -> None:
        self._stop.set()


@pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto")
def test_all_services_beside_a_run_lose_nothing_and_slow_nothing(tmp_path: Path) -> None:
    endpoint, pause = f"tcp://127.0.0.1:{free_pair()}", threading.Event()
    web, hook = free_pair(), free_pair()
    run = Run(endpoint, tmp_path)
    with ExitStack() as stack:
        stack.callback(run.child.kill)
        _wait_for(lambda: run.windows > 20, "the demo runs", 120)
        alone = run.rate(ALONE * 60, pause)
        broker = Broker(tmp_path).start()
        stack.callback(broker.kill)
        listener = MqttListener(broker.port)
        stack.callback(listener.close)
        got = tmp_path / "hooks.jsonl"

        def receiver() -> subprocess.Popen[Any]:
            words = [sys.executable, "-c", RECEIVER, str(hook), str(got)]
            child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            return child

        def service(*words: str) -> Callable[[], subprocess.Popen[Any]]:
            return lambda: start_command([words[0], endpoint, *words[1:]], tmp_path / f"{words[0]}.log")

        state = {name: str(tmp_path / f"{name}.json") for name in ("speak", "mqtt", "webhook")}
        spoken = tmp_path / "spoken"
        from_here = ("--since", "seq:0")
        broker_at, url = f"127.0.0.1:{broker.port}", f"http://127.0.0.1:{hook}/hook"
        services = {
            "speak": service(
                "speak", "--to-file", str(spoken), "--fresh", "0", "--repeat-after", "0",
                "--state", state["speak"], *from_here,
            ),
            "captions": service("captions", "--lines", "--since", "1h"),
            "web": service("web", "--bind", f"127.0.0.1:{web}"),
            "mqtt": service("mqtt", "--broker", broker_at, "--state", state["mqtt"], *from_here),
            "receiver": receiver,
            "webhook": service(
                "webhook", "--url", url, "--phase", "start,update,end",
                "--state", state["webhook"], *from_here,
            ),
        }  # fmt: skip
        children = {name: start() for name, start in services.items()}
        stack.callback(lambda: [child.kill() for child in children.values()])
        page = Page(web)
        stack.callback(page.close)
        if CHROMIUM is not None:
            stack.enter_context(_browser(f"http://127.0.0.1:{web}/"))
        began, before = time.monotonic(), run.windows
        parts = [*services, "broker", ""]
        for name in parts:
            pause.wait(MINUTES * 60 / len(parts))
            if name == "broker":
                broker.save()
                broker.kill()
                pause.wait(3)
                broker.start()
            elif name:
                kill(children[name])
                pause.wait(3)
                children[name] = services[name]()
        together = (run.windows - before) / (time.monotonic() - began)
        run.child.send_signal(signal.SIGTERM)
        assert run.child.wait(15) == 0
        history = [message for message in history_of(tmp_path / "events.db") if message["type"] == "event"]
        seqs = {message["seq"] for message in history}
        ids = {message["event"]["id"] for message in history}

        def hooked() -> list[int]:
            return [json.loads(line)[1] for line in got.read_text().splitlines()]

        def told() -> list[int]:
            return [message["seq"] for message in listener.events]

        def accounted() -> set[tuple[str, str]]:
            lines = (spoken / "index.jsonl").read_text("utf-8").splitlines()
            return {(line["event"], line["kind"]) for line in map(json.loads, lines) if line["event"]}

        _wait_for(lambda: seqs <= set(hooked()), "webhooks have all", 60)
        _wait_for(lambda: seqs <= set(told()), "MQTT has all", 60)
        _wait_for(lambda: ids <= {i for i, ended in page.ended.items() if ended}, "the page has all", 60)
        wanted = {(one, kind) for one in ids for kind in ("start", "end")}
        _wait_for(lambda: wanted <= accounted(), "speech has all", 120)
        sounds = list(spoken.glob("*.wav"))
        captions = (tmp_path / "captions.log").read_text().splitlines()
    hooks, sent = len(hooked()), len(told())
    print(f"\n{len(ids)} events, {len(seqs)} messages in {MINUTES:g} minutes")
    print(f"webhooks {hooks} ({hooks - len(seqs)} twice), MQTT {sent} ({sent - len(seqs)} twice)")
    print(f"page {len(page.ended)} events; speech {len(accounted())} sentences, {len(sounds)} sound files")
    print(f"windows/s: alone {alone:.3f}, together {together:.3f} ({together / alone:.1%})")
    assert len(ids) > MINUTES * 10
    assert together >= 0.95 * alone
    assert sounds
    assert captions


def _wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    waiting, end = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"did not happen in time: {what}"
        waiting.wait(0.1)


@contextmanager
def _browser(url: str) -> Iterator[None]:
    """Somebody who looks at the page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        _wait_for(lambda: _served(url), "the page is served", 60)
        page.goto(url)
        yield
        browser.close()


def _served(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
