"""What README and docs show in Python and JavaScript works: compiled, imported, and run where it can be."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

import streamer.bus
from streamer.config import BusConfig
from streamer.types import Phase
from tests.helpers.bus_parts import event, free_pair, publisher

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NODE, MODULES = shutil.which("node"), ROOT / ".ci" / "javascript" / "node_modules"
needs_node = pytest.mark.skipif(
    NODE is None or not MODULES.exists(),
    reason="needs node, and: npm install --prefix .ci/javascript zeromq@6",
)
PATIENCE = 30.0  # seconds until a snippet has printed its first line, on a busy machine


class Snippet(NamedTuple):
    page: str
    number: int  # from 1, of its language
    text: str


def snippets(language: str) -> list[Snippet]:
    found = []
    for page in PAGES:
        blocks = re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
        found += [Snippet(page.name, number, text) for number, text in enumerate(blocks, 1)]
    return found


PYTHON, JAVASCRIPT = snippets("python"), snippets("js")


def name_of(snippet: Snippet) -> str:
    return f"{snippet.page}-{snippet.number}"


def is_signature(snippet: Snippet) -> bool:
    return bool(re.match(r"\w+\([^()]*\*,", snippet.text))


def follows_the_bus(snippet: Snippet) -> bool:
    return "Subscriber" in snippet.text and not is_signature(snippet) and "server.key" not in snippet.text


@pytest.mark.parametrize("snippet", PYTHON, ids=name_of)
def test_python_says_what_is_there(snippet: Snippet) -> None:
    if is_signature(snippet):
        name = snippet.text.split("(")[0]
        told = snippet.text.strip().replace("=()", "=None")
        arguments = ast.parse(f"def {told}: ...").body[0]
        assert isinstance(arguments, ast.FunctionDef)
        names = [a.arg for a in [*arguments.args.args, *arguments.args.kwonlyargs]]
        assert names == list(inspect.signature(getattr(streamer.bus, name)).parameters)
        return
    tree = ast.parse(snippet.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("streamer"):
            module = importlib.import_module(node.module)
            assert not [alias.name for alias in node.names if not hasattr(module, alias.name)]


@pytest.mark.parametrize("snippet", [s for s in PYTHON if follows_the_bus(s)], ids=name_of)
def test_python_follows_a_publisher(snippet: Snippet, tmp_path: Path) -> None:
    with publishing(tmp_path) as endpoint:
        text = re.sub(r'Subscriber\(("tcp[^"]*", )?', f"Subscriber({endpoint!r}, ", snippet.text)
        text = text.replace("...  # deal with it", "print(message, flush=True)")
        first = first_line([sys.executable, "-u", "-c", text], tmp_path)
    assert "waving" in first


@pytest.mark.realtime
def test_the_example_of_a_users_own_test_passes(tmp_path: Path) -> None:
    (example,) = (s for s in PYTHON if "streamer.testing" in s.text)
    (tmp_path / "test_example.py").write_text(example.text, "utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c/dev/null",
        f"--rootdir={tmp_path}",
    ]
    done = subprocess.run(
        [*command, str(tmp_path)], cwd=ROOT, env=os.environ | {"HOME": str(tmp_path)}, capture_output=True,
        text=True, timeout=100,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@needs_node
@pytest.mark.parametrize("snippet", [s for s in JAVASCRIPT if follows_the_bus(s)], ids=name_of)
def test_javascript_follows_a_publisher(snippet: Snippet, tmp_path: Path) -> None:
    assert NODE is not None
    (tmp_path / "node_modules").symlink_to(MODULES)
    with publishing(tmp_path) as endpoint:
        requests = f"{endpoint[: endpoint.rindex(':')]}:{int(endpoint.rsplit(':')[-1]) + 1}"
        text = snippet.text.replace("tcp://127.0.0.1:5555", endpoint)
        text = text.replace("tcp://127.0.0.1:5556", requests)
        (tmp_path / "snippet.mjs").write_text(text, "utf-8")
        first = first_line([NODE, "snippet.mjs"], tmp_path)
    assert "waving" in first


@contextmanager
def publishing(folder: Path) -> Iterator[str]:
    """A publisher that has a new event ten times a second, until it is left."""
    endpoint, stop = f"tcp://127.0.0.1:{free_pair()}", threading.Event()
    with publisher(folder / "events.db", bus=BusConfig(bind=endpoint)) as bus:

        def publish() -> None:
            number = 0
            while not stop.wait(0.1):
                number += 1
                bus.event(event(f"e{number}", Phase.START))

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield endpoint
        finally:
            stop.set()
            thread.join(10)


def first_line(command: list[str], folder: Path) -> str:
    """What a program that never ends prints first; it is killed then, or when it took too long."""
    child = subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    late = threading.Timer(PATIENCE, child.kill)
    late.start()
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
    finally:
        late.cancel()
        child.kill()
        said = child.communicate()[1]
    assert line, said
    return line
