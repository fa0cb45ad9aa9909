"""Parts that the tests of the page in a real browser share: the browser, pages, a busy publisher."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from streamer.bus import Publisher
from streamer.types import CameraState, LabelScore, Phase
from tests.helpers.bus_parts import DEADLINE, event, prediction, status, until
from tests.helpers.web_parts import Served, published

for package in ("playwright", "axe_playwright_python"):  # looked for here, imported where they are used
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)
# the first is the same engine without windows, and takes half the processor time
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
]
PHONE, DESK, CINEMA = (360, 740), (1280, 900), (3840, 2160)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as library:
        made = library.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages; fails where one of them had an error, a refused policy included."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def heard(message: Any) -> None:
        # a server that is not there is what some tests are about, and the browser tells it of every attempt
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            wrong.append(message.text)

    def make(web: Served, size: tuple[int, int] = DESK, path: str = "/", **more: Any) -> Any:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **more)
        context.set_default_timeout(DEADLINE * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", heard)
        page.goto(web.url + path)
        return page

    yield make
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Publisher]:
    with published(tmp_path / "events.db", handlers={"features": features(marks=True)}) as made:
        yield made


def features(
    folder: Path | None = None, *, marks: bool = False, live: bool = False, labels: Sequence[str] = ()
) -> Any:
    """A run's answer to `op: features`."""
    kept = folder is not None
    pictures = {"live": live, "snapshots": kept, "clips": kept, "folder": str(folder) if kept else None}
    return lambda _request, _peer: {
        "pictures": pictures, "marks": marks, "models": {}, "labels": list(labels),
    }  # fmt: skip


def busy(bus: Publisher) -> None:
    """A camera that runs, one that is lost, one with an Arabic name; events open and ended."""
    bus.status(status("front-door", fps=25.0, width=640, height=480))
    bus.status(status("yard", CameraState.RECONNECTING, detail="the camera does not answer", code="timeout"))
    bus.status(status("الباب", CameraState.CONNECTING))
    bus.prediction(prediction("front-door"), LabelScore("waving", 0.86), 2)
    bus.event(event("e1", camera="yard", label="falling"))
    bus.event(event("e1", Phase.END, camera="yard", label="falling"))
    bus.event(event("e2", camera="الباب", label="يلوّح"))
    bus.event(event("e3", camera="front-door"))
    until(lambda: bus.state().last_event_seq == 4)


def is_live(page: Any) -> None:
    page.wait_for_selector("#link[data-state=live]")


def holds(page: Any, expression: str) -> None:
    """Wait until it does. (The library's own way needs `eval`, which the page's policy forbids.)"""
    until(lambda: bool(page.evaluate(expression)), expression)


def violations(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def overflow(page: Any) -> int:
    wide: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wide


def jpeg(color: tuple[int, int, int]) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 48), color).save(data, "JPEG")
    return data.getvalue()
