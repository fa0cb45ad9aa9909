"""The page in a real browser: what is seen and said, the keyboard, restarts, hostile names, barriers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import Publisher
from streamer.recording.files import MARKER
from streamer.types import CameraState, LabelScore, Phase
from tests.helpers.bus_parts import event, prediction, status, until
from tests.helpers.page_browser import (
    CINEMA,
    DESK,
    PHONE,
    browser,
    bus,
    busy,
    features,
    holds,
    is_live,
    jpeg,
    needs_browser,
    open_page,
    overflow,
    violations,
)
from tests.helpers.web_parts import published, served

__all__ = ["browser", "bus", "open_page"]  # fixtures
pytestmark = needs_browser
TOKEN = "a-token-of-more-than-sixteen"
COUNT_CHANGES = """() => {
    window.said = []
    for (const id of ["latest", "urgent"]) {
        const node = document.getElementById(id)
        const watch = () => { if (node.textContent) window.said.push([id, node.textContent]) }
        new MutationObserver(watch).observe(node, {childList: true, characterData: true, subtree: true})
    }
}"""


# ---- what is seen


def test_cameras_events_and_the_timeline_are_shown(bus: Publisher, open_page: Callable[..., Any]) -> None:
    busy(bus)
    with served(bus.endpoint) as web:
        page = open_page(web)
        is_live(page)
        page.wait_for_selector("#recent-rows tr:nth-child(3)")
        cards = page.locator("#camera-list li")
        cards.nth(2).wait_for()  # cameras are asked for, events come by themselves
        assert cards.count() == 3
        door = cards.filter(has_text="front-door").inner_text()
        assert "Running" in door
        assert "waving" in door
        assert "86" in door
        assert "640 × 480, 25.0 frames/s" in door
        yard = cards.filter(has_text="yard")
        assert "Lost, reconnecting" in yard.inner_text()
        assert "the camera does not answer" in yard.inner_text()
        assert yard.get_attribute("data-state") == "reconnecting"
        assert page.locator("#camera-count").inner_text() == "1 of 3 lost"
        labels = [track.get_attribute("aria-label") for track in page.locator(".track").all()]
        assert "front-door: 1 event in the last 5 min; going on: waving" in labels
        assert "still going on" in page.locator("#recent-rows tr", has_text="waving").inner_text()
        assert page.locator("#recent-rows tr", has_text="falling").get_attribute("data-open") == "false"
        arabic = page.locator(".camera h3", has_text="الباب")
        assert arabic.evaluate("node => getComputedStyle(node).direction") == "rtl"


def test_no_action_is_no_news_unless_it_is_chosen(bus: Publisher, open_page: Callable[..., Any]) -> None:
    bus.status(status("front-door"))
    bus.event(replace(event("e1", camera="front-door", label="still"), background=True))
    bus.event(event("e2", camera="front-door", label="waving"))
    with served(bus.endpoint) as web:
        page = open_page(web, DESK)
        is_live(page)
        page.wait_for_selector("#recent-rows tr")
        assert "still" not in page.locator("#recent-rows").inner_text().replace("still going on", "")
        assert page.locator(".track .event").count() == 1
        page.locator("#only-action").select_option("still")
        page.wait_for_selector("#recent-rows tr:has-text('still')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_no_barriers_that_a_machine_finds(
    bus: Publisher, open_page: Callable[..., Any], scheme: str, size: tuple[int, int]
) -> None:
    busy(bus)
    with served(bus.endpoint, alerts=("waving",)) as web:
        page = open_page(web, size, color_scheme=scheme, reduced_motion="reduce")
        is_live(page)
        page.wait_for_selector("#alert-list li")
        page.locator("#search button[type=submit]").click()
        page.wait_for_selector("#history-rows tr")
        assert violations(page) == []
        assert overflow(page) <= 0
        page.locator("#recent-rows button", has_text="Mark as wrong").first.click()
        page.wait_for_selector("dialog[open]")
        assert violations(page) == []
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light dark"


def test_it_fits_small_large_and_enlarged(bus: Publisher, open_page: Callable[..., Any]) -> None:
    busy(bus)
    bus.status(status("a-camera-with-" + "a-very-long-name-" * 8))
    bus.event(event("e9", label="an-action-without-any-space-" * 8))
    with served(bus.endpoint) as web:
        for size in (PHONE, (320, 480), DESK, CINEMA):
            page = open_page(web, size)
            is_live(page)
            page.wait_for_selector("#recent-rows tr:nth-child(4)")
            assert overflow(page) <= 0, size
        page.set_viewport_size({"width": 1280, "height": 900})
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        assert overflow(page) <= 0


def test_own_colours_of_the_system_keep_everything_visible(
    bus: Publisher, open_page: Callable[..., Any]
) -> None:
    busy(bus)
    with served(bus.endpoint) as web:
        page = open_page(web, forced_colors="active")
        is_live(page)
        bar = page.locator(".track .event").first
        colors = bar.evaluate(
            "bar => [bar, bar.parentNode].map((node) => getComputedStyle(node).backgroundColor)"
        )
        assert colors[0] != colors[1]


# ---- the keyboard


def test_everything_can_be_done_by_keyboard(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    marks: list[Mapping[str, Any]] = []

    def mark(request: Mapping[str, Any], _peer: object) -> dict[str, Any]:
        marks.append(request)
        return {"type": "marked"}

    with (
        published(tmp_path / "e.db", handlers={"mark": mark, "features": features(marks=True)}) as bus,
        served(bus.endpoint) as web,
    ):
        busy(bus)
        page = open_page(web)
        is_live(page)
        page.wait_for_selector("#recent-rows tr:nth-child(3)")
        focused = "document.activeElement"
        page.keyboard.press("Tab")
        assert page.evaluate(f"{focused}.className") == "skip"
        assert page.locator(".skip").bounding_box()["y"] >= 0, "it shows when it has the focus"
        page.keyboard.press("Enter")
        assert page.evaluate(f"{focused}.id") == "main"

        reached: list[str] = []
        for _ in range(60):
            page.keyboard.press("Tab")
            name = page.evaluate(
                f"{focused}.getAttribute('aria-label') || {focused}.id || {focused}.innerText"
            )
            style = f"getComputedStyle({focused})"
            if page.evaluate(f"{focused}.matches('input, select, button, a')"):
                assert page.evaluate(f"parseFloat({style}.outlineWidth) >= 2"), (
                    f"{name}: focus is not visible"
                )
            reached.append(name)
            if name == "speak-changes":
                break
        for wanted in ("span", "Details: waving, front-door", "search-text", "search-since", "alert-other"):
            assert wanted in reached

        button = page.locator("button[aria-label='Mark as wrong: waving, front-door']")
        button.wait_for()  # until the run has said that it takes marks
        button.focus()
        page.keyboard.press("Enter")
        assert page.evaluate(f"{focused}.id") == "mark-label"
        page.keyboard.press("f")  # falling
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        holds(page, "document.getElementById('mark-result').textContent.startsWith('Kept')")
        assert {key: marks[0][key] for key in ("camera", "event", "label")} == {
            "camera": "front-door", "event": "e3", "label": "falling",
        }  # fmt: skip
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="hidden")
        assert page.evaluate(f"{focused}.getAttribute('aria-label')") == "Mark as wrong: waving, front-door"


def test_a_correction_that_is_not_kept_is_told(bus: Publisher, open_page: Callable[..., Any]) -> None:
    busy(bus)
    with served(bus.endpoint) as web:
        page = open_page(web)
        page.locator("#recent-rows button", has_text="Mark as wrong").first.click()
        page.locator("#mark-label").select_option("other")
        page.locator("#mark button").click()
        assert page.locator("#mark-result").inner_text() == "Write what it was."
        page.locator("#mark-other").fill("dancing")
        page.locator("#mark button").click()
        holds(page, "document.getElementById('mark-result').textContent.startsWith('Not kept: ')")


# ---- what is said


def test_changes_are_said_and_never_a_flood(bus: Publisher, open_page: Callable[..., Any]) -> None:
    bus.status(status("cam0"))
    with served(bus.endpoint) as web:
        page = open_page(web)
        is_live(page)
        holds(page, "document.getElementById('latest').textContent.includes('1 camera')")
        page.evaluate(COUNT_CHANGES)
        for number in range(40):
            bus.event(event(f"e{number}", label=f"action {number}"))
            bus.event(event(f"e{number}", Phase.END, label=f"action {number}"))
        holds(page, "window.said.length > 0")
        holds(page, "document.querySelectorAll('#recent-rows tr').length >= 20")
        said = page.evaluate("window.said")
        assert len(said) <= 3, said
        assert all(place == "latest" for place, _ in said)
        assert all(text.count("action") <= 3 for _, text in said)
        assert "more change" in said[-1][1]
        assert page.locator("#latest").get_attribute("aria-live") == "polite"
        page.locator("#speak-changes").uncheck()
        assert page.locator("#latest").get_attribute("aria-live") == "off"


def test_alerts_are_said_at_once_and_stay_until_dismissed(
    bus: Publisher, open_page: Callable[..., Any]
) -> None:
    bus.status(status("cam0"))
    bus.event(event("e0", label="falling"))
    bus.event(event("e0", Phase.END, label="falling"))
    with served(bus.endpoint) as web:
        page = open_page(web)
        is_live(page)
        page.locator("#alert-labels label", has_text="falling").click()
        assert page.locator("#alerts").is_hidden(), "what has ended before is no alert"
        bus.event(event("e1", label="falling"))
        page.wait_for_selector("#alert-list li")
        holds(page, "document.getElementById('urgent').textContent === 'Alert: falling, cam0'")
        assert page.locator("#urgent").get_attribute("role") == "alert"
        assert page.title() == "(1) alerts - streamer"
        bus.event(event("e1", Phase.END, label="falling"))
        page.locator("#alert-list li", has_text="ended after").wait_for()
        page.locator("#alert-list button").press("Enter")
        assert page.locator("#alerts").is_hidden()
        assert page.evaluate("document.activeElement.id") == "main"
        page.reload()
        is_live(page)
        assert page.locator("#alert-labels label", has_text="falling").locator("input").is_checked()


# ---- restarts


def test_the_page_recovers_when_the_publisher_is_restarted(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    with published(tmp_path / "e.db") as bus:
        endpoint, requests = bus.endpoint, bus.requests_endpoint
        bus.status(status("cam0"))
        bus.event(event("e1"))
        with served(endpoint) as web:
            page = open_page(web)
            is_live(page)
            page.wait_for_selector("#recent-rows tr")
            page.wait_for_selector(".camera")
            bus.close()
            page.locator("#link", has_text="is silent since").wait_for()
            page.locator(".camera", has_text="Not known now").wait_for()
            assert "silent" in page.locator("#latest").inner_text()
            with published(tmp_path / "e.db", endpoint, requests) as again:
                again.event(event("e2", label="quick"))  # and gone, before the page's server is back
                again.event(event("e2", Phase.END, label="quick"))
            with published(tmp_path / "e.db", endpoint, requests) as again:
                again.status(status("cam0"))
                is_live(page)
                page.locator("#recent-rows tr[data-open=false]", has_text="quick").wait_for()
                page.locator("#recent-rows tr[data-open=false]", has_text="waving").wait_for()
                assert page.locator("#recent-rows tr").count() == 2


def test_the_page_recovers_when_its_server_is_restarted(
    bus: Publisher, open_page: Callable[..., Any]
) -> None:
    bus.status(status("cam0"))
    bus.event(event("e1"))
    with served(bus.endpoint) as web:
        page = open_page(web)
        is_live(page)
        page.wait_for_selector("#recent-rows tr")
        port = web.port
    page.locator("#link", has_text="Disconnected").wait_for()
    bus.event(event("e1", Phase.END))
    bus.event(event("e2", label="missed"))
    bus.event(event("e2", Phase.END, label="missed"))
    with served(bus.endpoint, port):
        is_live(page)
        page.locator("#recent-rows tr[data-open=false]", has_text="missed").wait_for()
        page.locator("#recent-rows tr[data-open=false]", has_text="waving").wait_for()
        assert page.locator("#recent-rows tr").count() == 2
    page.close()


def test_without_a_publisher_the_page_says_so(open_page: Callable[..., Any]) -> None:
    with served("tcp://127.0.0.1:9") as web:
        page = open_page(web)
        page.locator("#link", has_text="Waiting for streamer at tcp://127.0.0.1:9").wait_for()
        assert violations(page) == []


# ---- strangers


def test_names_are_text_whatever_they_look_like(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    evil = "<img src=x onerror='window.pwned=1'><script>window.pwned=2</script>\"'&lt;b&gt;</td>"
    with published(tmp_path / "e.db", display=lambda label: label) as bus, served(bus.endpoint) as web:
        bus.status(status(evil, CameraState.RECONNECTING, detail=evil))
        bus.prediction(prediction(evil), LabelScore(evil, 0.9), 2)
        bus.event(event(evil, camera=evil, label=evil))
        page = open_page(web)
        is_live(page)
        page.wait_for_selector("#recent-rows tr")
        page.locator("#alert-other").fill(evil)
        page.locator("#alert-add button").click()
        page.locator("#search button[type=submit]").click()
        page.wait_for_selector("#history-rows tr")
        page.locator("#recent-rows button", has_text="Details").click()
        assert evil in page.locator("#details-title").inner_text()
        assert evil in page.locator(".camera h3").inner_text()
        assert page.evaluate("window.pwned") is None
        assert page.locator("td script, td img[onerror], h2 img, h3 img, li script").count() == 0


def test_a_token_in_the_address_becomes_a_cookie(bus: Publisher, open_page: Callable[..., Any]) -> None:
    bus.status(status("cam0"))
    with served(bus.endpoint, token=TOKEN) as web:
        stranger = open_page(web)
        assert violations(stranger) == []
        stranger.fill("#token", "not this one")
        stranger.click("button")
        stranger.locator("#why", has_text="That is not the token").wait_for()
        assert violations(stranger) == []
        stranger.fill("#token", TOKEN)
        stranger.keyboard.press("Enter")
        is_live(stranger)
        assert stranger.url == f"{web.url}/"
        stranger.locator("#logout button").click()
        stranger.wait_for_selector("#token")
        page = open_page(web, path=f"/?token={TOKEN}")
        is_live(page)
        assert page.url == f"{web.url}/"
        (cookie,) = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert TOKEN not in cookie["value"]
        page.goto(web.url)
        is_live(page)


# ---- pictures and history


def test_live_pictures_only_where_they_come_and_are_wanted(
    bus: Publisher, open_page: Callable[..., Any]
) -> None:
    bus.status(status("cam0"))
    with served(bus.endpoint) as web:
        page = open_page(web)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        is_live(page)
        assert page.locator("#pictures-row").is_hidden()

        def send() -> bool:
            bus.preview("cam0", jpeg((200, 30, 30)), 64, 48)
            return bool(page.locator("#pictures-row").is_visible())

        until(send, "pictures come")

        def shown() -> bool:
            send()
            return bool(page.locator(".picture").is_visible()) and bool(
                page.locator(".picture").evaluate("node => node.naturalWidth === 64")
            )

        until(shown, "a picture is shown: whoever started the run turned them on")
        page.locator("#pictures").uncheck()
        page.locator(".picture").wait_for(state="hidden")
        page.reload()
        is_live(page)
        asked.clear()
        until(send, "pictures come")
        assert not any("/preview" in url for url in asked), "a reader who wants none asks for none"


def test_history_is_searched_in_the_page(bus: Publisher, open_page: Callable[..., Any]) -> None:
    bus.status(status("cam0"))
    for number in range(60):
        bus.event(event(f"e{number}", label="falling" if number == 3 else "waving"))
        bus.event(event(f"e{number}", Phase.END, label="falling" if number == 3 else "waving"))
        if number % 5 == 0:  # what is sent together has one time, and is not parted
            until(lambda number=number: bus.state().last_event_seq == 2 * (number + 1))  # type: ignore[misc]
    until(lambda: bus.state().last_event_seq == 120)
    with served(bus.endpoint) as web:
        page = open_page(web)
        is_live(page)
        page.locator("#search button[type=submit]").click()
        page.locator("#search-result", has_text="Searched back to").wait_for()
        page.locator("#older").click()
        page.locator("#search-result", has_text="60 events found. That is all there is.").wait_for()
        assert page.locator("#history-rows tr").count() == 60
        page.locator("#search-text").fill("FALL")
        page.locator("#search-text").press("Enter")
        page.locator("#search-result", has_text="1 event found. That is all there is.").wait_for()
        page.locator("#search button[type=reset]").click()
        assert page.locator("#history-table").is_hidden()


# ---- what goes wrong is said, and tried again


def noted(page: Any, condition: Callable[[], bool], what: str = "") -> None:
    """Wait for what a handler of the browser's requests notes: they run while the browser is spoken to."""
    until(lambda: page.evaluate("0") or condition(), what)


REFUSALS: dict[str, tuple[dict[str, Any] | None, str]] = {
    "the server is gone": (None, "the page's server does not answer. Trying again …"),
    "no answer of the run": (
        {"status": 502, "json": {"error": "nobody answers", "code": "no_answer"}},
        "nobody answers. Trying again …",
    ),
    "too many searches": ({"status": 503, "json": {"error": "busy", "code": "busy"}}, "busy. Trying again …"),
    "the server fails": (
        {"status": 500, "body": "Internal"},
        "the page's server failed (500). Trying again …",
    ),
    "a search without sense": ({"status": 400, "json": {"error": "no number", "code": "x"}}, "no number."),
    "logged out": (
        {"status": 401, "body": "<form>"},
        "this browser is not logged in any more: load the page again.",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_search_that_fails_says_why_and_is_tried_again(
    bus: Publisher, open_page: Callable[..., Any], refusal: str
) -> None:
    busy(bus)
    answer, said = REFUSALS[refusal]
    asked: list[str] = []

    def refused(route: Any) -> None:
        asked.append(route.request.url)
        route.abort() if answer is None else route.fulfill(**answer)

    with served(bus.endpoint) as web:
        page = open_page(web)
        is_live(page)
        page.route("**/history?*", refused)
        page.locator("#search button[type=submit]").click()
        expected = f"The history could not be searched: {said}"
        page.locator("#search-result").get_by_text(expected, exact=True).wait_for()
        if "again …" in said:
            noted(page, lambda: len(asked) >= 2, "it is tried again")
        page.unroute("**/history?*")
        if "again …" not in said:
            assert len(asked) == 1, "what is refused is not asked again"
            page.locator("#search button[type=submit]").click()
        page.wait_for_selector("#history-rows tr")
        page.locator("#search-result", has_text="3 events found. That is all there is.").wait_for()


def test_a_search_that_was_replaced_is_neither_shown_nor_tried_again(
    bus: Publisher, open_page: Callable[..., Any]
) -> None:
    busy(bus)
    held: list[Any] = []
    with served(bus.endpoint) as web:
        page = open_page(web)
        is_live(page)
        page.route("**/history?text=falling*", lambda route: held.append(route))
        page.locator("#search-text").fill("falling")
        page.locator("#search-text").press("Enter")
        noted(page, lambda: bool(held), "the first search is under way")
        page.locator("#search-text").fill("waving")
        page.locator("#search-text").press("Enter")
        page.locator("#search-result", has_text="1 event found.").wait_for()
        held[0].fulfill(status=502, json={"error": "late", "code": "no_answer"})
        page.locator("#search-text").fill("")
        page.locator("#search-text").press("Enter")
        page.locator("#search-result", has_text="3 events found.").wait_for()
        assert len(held) == 1


def test_nothing_can_be_pressed_before_the_page_listens(
    bus: Publisher, open_page: Callable[..., Any]
) -> None:
    """A form that is sent without the script loads the page anew, and what was asked is lost."""
    held: list[Any] = []
    with served(bus.endpoint) as web:
        page = open_page(web)
        page.wait_for_selector("#pictures-off")  # the page's server knows all that it shows at the beginning
        page.route("**/main.js", lambda route: held.append(route))
        page.goto(web.url, wait_until="commit")
        page.locator("#search-text").fill("falling")
        page.locator("#search-text").press("Enter")
        assert page.locator("#search button[type=submit]").is_disabled()
        assert page.locator("#alert-add button").is_disabled()
        assert page.url == f"{web.url}/"
        noted(page, lambda: bool(held))
        place = "document.querySelector('#search button').getBoundingClientRect().y"
        page.evaluate(
            "new MutationObserver(() => { if (link.dataset.state === 'live') window.whenLive ??= PLACE })"
            ".observe(link, {attributes: true})".replace("PLACE", place)
        )
        held[0].continue_()
        is_live(page)
        page.locator("#search button[type=submit]").click()
        page.locator("#search-result", has_text="0 events found.").wait_for()
        # a button that moves once the page is live is missed by who presses it then
        assert page.evaluate("window.whenLive") == page.evaluate(place)


def test_an_answer_that_never_ends_has_a_deadline(bus: Publisher, open_page: Callable[..., Any]) -> None:
    with served(bus.endpoint) as web:
        page = open_page(web)
        is_live(page)
        asked = """() => import("/ask.js").then(({ask}) => ask("/stream", {longest: 0.2}))
            .catch((error) => [error.message, error.again])"""
        assert page.evaluate(asked) == ["no answer came within 0.2 seconds", True]


def test_scores_and_recordings_that_cannot_be_asked_are_asked_again(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    (folder / MARKER).touch()
    with (
        published(tmp_path / "e.db", handlers={"features": features(folder)}) as bus,
        served(bus.endpoint) as web,
    ):
        busy(bus)
        page = open_page(web)
        is_live(page)
        asked: list[str] = []

        def refused(route: Any) -> None:
            asked.append(route.request.url.split("?")[0].rsplit("/")[-1])
            route.abort()

        for path in ("scores", "recordings"):
            page.route(f"**/{path}?*", refused)
        page.locator("#recent-rows tr", has_text="falling").locator("button", has_text="Details").click()
        page.locator(
            "#why-text", has_text="There are no scores: the page's server does not answer. Trying"
        ).wait_for()
        page.locator(
            "#details-media", has_text="could not be asked: the page's server does not answer. Try"
        ).wait_for()
        noted(page, lambda: min(map(asked.count, ("scores", "recordings"))) >= 2)
        for path in ("scores", "recordings"):
            page.unroute(f"**/{path}?*")
        page.locator("#details-media", has_text="Its clip is ready when").wait_for()
        page.locator("#why-text", has_text="op 'scores' is not known here").wait_for()
