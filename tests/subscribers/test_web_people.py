"""People who are followed, on the page in a real browser: whose events, and whose scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamer.types import Event, LabelScore, Phase, Track
from tests.helpers.bus_parts import event, prediction, status, until
from tests.helpers.page_browser import (
    DESK,
    PHONE,
    browser,
    features,
    holds,
    is_live,
    needs_browser,
    open_page,
    overflow,
    violations,
)
from tests.helpers.web_parts import published, served

__all__ = ["browser", "open_page"]  # fixtures
pytestmark = needs_browser
BOX = (0.1, 0.2, 0.2, 0.5)
ROWS = "document.querySelectorAll('#recent-rows tr').length"


def of_person(name: str, person: int | None, camera: str = "door", phase: Phase = Phase.START) -> Event:
    track = None if person is None else Track(person, BOX)
    return replace(event(name, phase, camera=camera), track=track, follows=True)


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_events_of_one_person_are_chosen_by_keyboard(
    tmp_path: Path, open_page: Callable[..., Any], size: tuple[int, int]
) -> None:
    with published(tmp_path / "e.db") as bus, served(bus.endpoint) as web:
        for camera in ("door", "yard"):
            bus.status(status(camera))
        page = open_page(web, size)
        is_live(page)
        assert page.locator("#only-person").is_hidden(), "nobody is followed"
        for name, person, camera in (
            ("a", None, "door"),
            ("b", 7, "door"),
            ("c", 8, "door"),
            ("d", 7, "yard"),
        ):
            bus.event(of_person(name, person, camera))
        holds(page, f"{ROWS} === 4")
        chooser = page.locator("#only-person")
        chooser.wait_for()
        texts = chooser.locator("option").all_inner_texts()
        assert texts == ["Everybody", "Whole picture", "person 7, yard", "person 8, door", "person 7, door"]
        page.locator("#only-action").focus()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "only-person"
        page.keyboard.type("person 7, d")
        holds(page, f"{ROWS} === 1")
        page.locator("#recent-rows button[aria-label='Details: waving, door, person 7']").wait_for()
        assert page.locator(".track .event").count() == 1
        assert page.locator("#filtered").is_visible()
        assert violations(page) == []
        assert overflow(page) <= 0
        chooser.select_option("whole")
        holds(page, f"{ROWS} === 1 && !document.querySelector('#recent-rows').innerText.includes('person')")
        page.locator("#only-camera").focus()
        page.locator("#only-camera").select_option("yard")
        holds(page, f"{ROWS} === 1 && document.querySelector('#recent-rows').innerText.includes('person 7')")
        holds(page, "document.querySelector('#only-person').options.length === 3")
        assert chooser.locator("option").all_inner_texts() == ["Everybody", "Whole picture", "person 7"]
        assert chooser.input_value() == "", "another camera's people are others"


def test_why_is_asked_of_the_events_own_person(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    asked: list[Mapping[str, Any]] = []

    def scores(request: Mapping[str, Any], _peer: object) -> dict[str, Any]:
        asked.append(request)
        begin, track = float(request["since"]), request.get("track")
        given = [0.9 if track == 7 else 0.3] * 20
        series = [{"label": "waving", "display": "waving", "rule": None, "scores": given}]
        times = [begin + 0.2 * n for n in range(20)]
        return {"model": "demo", "since": begin, "times": times, "series": series, "half_life": 0.2}

    handlers = {"scores": scores, "features": features()}
    with published(tmp_path / "e.db", handlers=handlers) as bus, served(bus.endpoint) as web:
        bus.status(status("door"))
        bus.event(of_person("b", 7))
        page = open_page(web)
        is_live(page)

        def known() -> bool:
            for person in (None, 7, 8):
                told = prediction("door")
                track = None if person is None else Track(person, BOX)
                window = replace(told.window, track=track, follows=True)
                bus.prediction(replace(told, window=window), LabelScore("waving", 0.9), 2)
            return bool(page.locator(".camera .action").count() == 3)

        until(known, "the page knows of both and of the whole picture")
        page.locator("#recent-rows button", has_text="Details").click()
        said = page.locator("#why-text")
        said.get_by_text("waving reached 90%").wait_for()
        assert asked[-1]["track"] == 7
        assert page.locator("#why-person").is_hidden(), "an event is of one person"
        assert "Person" in page.locator("#details-facts").inner_text()
        page.keyboard.press("Escape")
        page.locator("button[aria-label='Why? Scores of door']").click()
        said.get_by_text("waving reached 30%").wait_for()
        assert asked[-1].get("track") is None
        whom = page.locator("#why-person")
        assert whom.locator("option").all_inner_texts() == ["The whole picture", "person 7", "person 8"]
        assert violations(page) == []
        whom.select_option("7")
        said.get_by_text("waving reached 90%").wait_for()
        assert asked[-1]["track"] == 7
        assert web.ask("/scores?camera=door&since=1&until=2&track=x")[0] == 400
