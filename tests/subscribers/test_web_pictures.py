"""The page's pictures in a real browser: live ones, those of events, colours, outages, filters, and why."""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from streamer.bus import Publisher
from streamer.demo.assets import clip_path
from streamer.errors import RequestError
from streamer.labels.action_colours import COLOURS, NO_ACTION, colour_of, colours_of
from streamer.recording.files import CLIP, MARKER, SNAPSHOT, place
from streamer.types import CameraState, LabelScore, Phase, Track
from tests.helpers import warm_processes
from tests.helpers.bus_parts import event, prediction, status, until
from tests.helpers.page_browser import (
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
from tests.helpers.recording_parts import Shoot
from tests.helpers.web_parts import listening, live, published, served

__all__ = ["browser", "bus", "open_page"]  # fixtures
pytestmark = needs_browser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "recordings"
    made.mkdir()
    (made / MARKER).touch()
    return made


def keep(folder: Path, camera: str, name: str, suffix: str, data: bytes) -> Path:
    path = place(folder, camera, name, time.time(), suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def send_until(bus: Publisher, page: Any, expression: str, tracks: Sequence[Track] | None = None) -> None:
    """Publish live pictures until something holds in the page."""

    def shown() -> bool:
        bus.preview("front-door", jpeg((200, 30, 30)), 64, 48, tracks)
        return bool(page.evaluate(expression))

    until(shown, expression)


# ---- events


def test_a_clip_of_several_events_opens_at_the_one_that_is_looked_at(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    pytest.importorskip("av")
    folder = tmp_path / "recordings"
    with Shoot(folder, camera="front-door", snapshots=False) as shoot:
        shoot.play(12.0, lambda n: 0.9 if 40 <= n < 60 or 68 <= n < 128 else 0.1)  # one burst
    first, second = shoot.of(Phase.END)
    with published(tmp_path / "e.db", handlers={"features": features(folder)}) as bus:
        for one in (*shoot.of(Phase.START), first, second):
            bus.event(one)
        with served(bus.endpoint) as web:
            page = open_page(web)
            is_live(page)
            page.locator("#search button[type=submit]").click()
            page.wait_for_selector("#history-rows tr:nth-child(2)")
            for row, begin, end in ((2, 1.0, 2.0), (1, 2.4, 5.0)):
                page.locator(f"#history-rows tr:nth-child({row}) button", has_text="Details").click()
                page.wait_for_selector("#details-media video")
                told = page.locator("#details-media").inner_text()
                assert f"The event is from 0:0{begin:.0f} to 0:0{end:.0f} of the clip." in told
                holds(page, "document.querySelector('video').readyState >= 2")
                at = page.evaluate("document.querySelector('video').currentTime")
                assert at == pytest.approx(begin - 1.0, abs=0.05), (
                    "a second before it, not where the burst began"
                )
                assert (
                    page.locator("#details-media a")
                    .first.get_attribute("href")
                    .endswith(f"#t={begin - 1:.2f}")
                )
                page.keyboard.press("Escape")


def test_events_have_small_pictures_where_recordings_are(
    tmp_path: Path, folder: Path, open_page: Callable[..., Any]
) -> None:
    keep(folder, "front-door", "e3", SNAPSHOT, jpeg((30, 200, 30)))
    keep(folder, "yard", "e1", SNAPSHOT, b"no picture at all")
    keep(folder, "yard", "e1", CLIP, b"x")
    with published(tmp_path / "e.db", handlers={"features": features(folder)}) as bus:
        busy(bus)
        with served(bus.endpoint) as web:
            page = open_page(web, color_scheme="light")
            is_live(page)
            holds(page, "document.querySelectorAll('td.thumbnail img[data-there]').length === 1")
            row = page.locator("#recent-rows tr", has_text="front-door")
            assert row.locator("img").evaluate("node => node.naturalWidth") == 64
            assert page.locator("#recent-rows button", has_text="Mark as wrong").first.is_hidden(), (
                "this run collects no marks"
            )
            row.locator("img").click()
            page.wait_for_selector("dialog[open]")
            assert page.locator("#mark").is_hidden()
            assert violations(page) == []
            assert "keeps a picture and a clip" in (page.locator("#pictures-state").text_content() or "")
            late = keep(folder, "الباب", "e2", SNAPSHOT, jpeg((200, 200, 30)))
            assert late.is_file()
            holds(page, "document.querySelectorAll('td.thumbnail img[data-there]').length === 2")


def test_thumbnails_are_small_whatever_the_camera_is(tmp_path: Path, folder: Path) -> None:
    data = io.BytesIO()
    Image.effect_noise((1920, 1080), 60).convert("RGB").save(data, "JPEG", quality=90)
    path = keep(folder, "cam0", "e1", SNAPSHOT, data.getvalue())
    with published(tmp_path / "e.db") as bus, served(bus.endpoint, recordings=folder) as web:
        status_, headers, body = web.ask("/recording?camera=cam0&event=e1&kind=thumbnail")
        assert (status_, headers["content-type"]) == (200, "image/jpeg")
        assert len(body) < 30_000 < path.stat().st_size
        assert Image.open(io.BytesIO(body)).size == (240, 135)
        path.write_bytes(jpeg((1, 2, 3)))
        assert web.ask("/recording?camera=cam0&event=e1&kind=thumbnail")[2] != body, "it was replaced"
        assert web.ask("/recording?camera=cam0&event=nothing&kind=thumbnail")[0] == 404


# ---- colours, outages, filters


def test_each_action_has_its_colour_and_outages_are_hatched(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    labels = ["still", "jumping", "waving", "falling"]  # of the run's model
    known = colours_of(labels)
    with published(tmp_path / "e.db", handlers={"features": features(labels=labels)}) as bus:
        busy(bus)
        with served(bus.endpoint) as web:
            page = open_page(web)
            is_live(page)
            page.wait_for_selector(".track .event >> nth=2")
            bars = page.locator(".track .event")
            style = "node => getComputedStyle(node).backgroundColor"
            for label in ("waving", "falling", "يلوّح"):  # the last one is none of the model's
                bar = bars.filter(has_text=label)
                fill = COLOURS[colour_of(label, known)].fill
                wanted = f"rgb({', '.join(str(int(fill[at : at + 2], 16)) for at in (1, 3, 5))})"
                until(lambda bar=bar, wanted=wanted: bar.evaluate(style) == wanted, label)  # type: ignore[misc]
                assert (
                    page.locator("#colours li", has_text=label).locator(".swatch").evaluate(style) == wanted
                )
                row = page.locator("#recent-rows tr", has_text=label)
                assert row.locator(".swatch").evaluate(style) == wanted
            assert known["waving"] != known["falling"]
            assert known["still"] == NO_ACTION

            outage = page.locator(".track .outage")
            assert outage.count() == 1
            assert outage.evaluate("node => getComputedStyle(node).backgroundImage").startswith("repeating")
            assert (outage.get_attribute("title") or "").startswith("lost ")
            bus.status(status("yard", since=time.time()))
            holds(page, "document.querySelector('.camera[data-state=reconnecting]') === null")
            assert outage.count() == 1, "it stays where it was"
            track = page.locator(".track[aria-label^='yard']").get_attribute("aria-label")
            assert "lost once" in (track or "")


def test_outages_are_one_from_the_first_loss_to_the_next_picture(tmp_path: Path) -> None:
    with published(tmp_path / "e.db") as bus, served(bus.endpoint) as web, listening(web.port) as page:
        live(page)
        for state, code in (
            (CameraState.RUNNING, None),
            (CameraState.STALLED, None),
            (CameraState.RECONNECTING, "timeout"),
            (CameraState.CONNECTING, "timeout"),
            (CameraState.RUNNING, None),
            (CameraState.RECONNECTING, None),
        ):
            bus.status(status("cam0", state, code=code, since=time.time()))

        def told() -> list[Any]:
            return [one["outages"] for one in page.of("status") if one["state"] == "reconnecting"][-1:]

        page.until(lambda: told() and len(told()[0]) == 2, "two outages")
        first, second = told()[0]
        assert first[1] is not None
        assert second[1] is None
        assert first[0] <= first[1] <= second[0]


def test_filters_hold_for_the_timeline_and_the_events(bus: Publisher, open_page: Callable[..., Any]) -> None:
    busy(bus)
    with served(bus.endpoint) as web:
        page = open_page(web)
        is_live(page)
        page.wait_for_selector("#recent-rows tr:nth-child(3)")
        page.select_option("#only-camera", "yard")
        holds(page, "document.querySelectorAll('#recent-rows tr').length === 1")
        assert page.locator(".track").count() == 1
        assert page.locator("#filtered").is_visible()
        page.reload()
        is_live(page)
        holds(page, "document.querySelectorAll('#recent-rows tr').length === 1")
        assert page.locator("#only-camera").input_value() == "yard", "a choice is kept"
        page.select_option("#only-camera", "")
        page.select_option("#only-action", "waving")
        page.locator("#recent-rows tr", has_text="front-door").wait_for()
        holds(page, "document.querySelectorAll('#recent-rows tr').length === 1")
        assert page.locator(".track .event").count() == 1


# ---- live pictures


def test_a_lost_cameras_picture_is_greyed_with_its_age_at_once(
    bus: Publisher, open_page: Callable[..., Any]
) -> None:
    busy(bus)
    with served(bus.endpoint) as web:
        page = open_page(web)
        is_live(page)
        send_until(bus, page, "document.querySelector('.live:not([hidden]) .picture')?.naturalWidth === 64")
        send_until(bus, page, "document.querySelector('.live[data-old=false]') !== null")
        shown = page.locator(".camera", has_text="front-door").locator(".live")
        bus.status(status("front-door", CameraState.RECONNECTING, detail="gone", code="timeout"))
        holds(page, "document.querySelector('.live[data-old=true]') !== null")
        assert "ago" in shown.locator(".age").inner_text()
        assert "grayscale" in shown.locator("img").evaluate("node => getComputedStyle(node).filter")
        assert violations(page) == []


def test_boxes_follow_people_on_the_live_picture(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    with published(tmp_path / "e.db") as bus, served(bus.endpoint) as web:
        bus.status(status("front-door"))
        bus.prediction(prediction("front-door"), LabelScore("waving", 0.9), 2)
        page = open_page(web)
        is_live(page)
        send_until(bus, page, "document.querySelector('.live:not([hidden]) .picture')?.naturalWidth === 64")
        page.evaluate(
            """() => import("/store.js").then((store) => {
                const known = store.camera("front-door")
                for (const id of [7, 8]) store.takePrediction({camera: "front-door", model: "m", top: [],
                    stable: {label: "waving", display: "waving", score: 0.9}, sent_at: store.now() + 1,
                    track: {id, box: [0, 0, 0.1, 0.1]}}) // of a window, not of this picture
                return known.predictions.size
            })"""
        )
        assert page.locator(".box").count() == 0, "nobody is in this picture"
        people = [Track(7, (0.25, 0.5, 0.1, 0.25)), Track(8, (0.9, 0.5, 0.1, 0.25))]
        send_until(bus, page, "document.querySelectorAll('.box').length === 2", people)
        box = page.locator(".box").first
        assert box.inner_text() == "7 waving"
        whole, own = page.locator(".live").bounding_box(), box.bounding_box()
        assert own["x"] - whole["x"] == pytest.approx(0.25 * whole["width"], abs=2)
        assert own["width"] == pytest.approx(0.1 * whole["width"], abs=3)
        text = page.locator(".box bdi").nth(1).bounding_box()
        assert text["x"] + text["width"] <= whole["x"] + whole["width"], "no text is cut off at the edge"
        assert "person 7" in page.locator(".camera .actions").inner_text()
        send_until(bus, page, "document.querySelectorAll('.box').length === 0", [])


def test_where_pictures_are_off_the_page_says_how_to_turn_them_on(
    bus: Publisher, open_page: Callable[..., Any]
) -> None:
    busy(bus)
    with served(bus.endpoint) as web:
        page = open_page(web)
        is_live(page)
        page.locator("#pictures-off a").click()
        assert "--pictures keep" in page.locator("#pictures-how").inner_text()
        assert "no live pictures" in page.locator("#pictures-state").inner_text()
        assert page.locator("td.thumbnail").first.is_hidden()


# ---- why


def scores(request: Mapping[str, Any], _peer: object) -> dict[str, Any]:
    """Scores that stay below enter for the label that is asked for."""
    if request["camera"] != "front-door":
        raise RequestError("unknown", "no scores of this camera and model are kept")
    label, begin = request.get("label") or "waving", float(request["since"])
    rule = {"enter": 0.5, "exit": 0.35, "min_on": 0.4, "min_off": 0.6}
    high = 0.9 if label == "waving" else 0.42
    given = [high if 10 < n < 30 else 0.1 for n in range(40)]
    return {
        "model": "m", "since": begin, "half_life": 0.2, "times": [begin + 0.2 * n for n in range(40)],
        "series": [
            {"label": label, "display": label, "rule": rule, "scores": given},
            {"label": "still", "display": "still", "rule": None, "scores": [0.6] * 40},
        ],
    }  # fmt: skip


@pytest.fixture
def explained(tmp_path: Path) -> Iterator[Publisher]:
    with published(tmp_path / "e.db", handlers={"scores": scores, "features": features()}) as made:
        yield made


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_why_something_was_or_was_not_an_event(
    explained: Publisher, open_page: Callable[..., Any], size: tuple[int, int]
) -> None:
    busy(explained)
    with served(explained.endpoint) as web:
        page = open_page(web, size)
        is_live(page)
        page.locator("#recent-rows tr", has_text="front-door").locator("button", has_text="Details").click()
        said = page.locator("#why-text")
        said.get_by_text("waving reached 90%").wait_for()
        assert (
            "an event needs 50% or more for 0.4 s, and ends below 35% for 0.6 s" in said.inner_text().lower()
        )
        assert "It stayed above for 3.6 s: an event." in said.inner_text()
        drawn = "kind => document.querySelectorAll(`#why-chart ${kind}`).length"
        assert [page.evaluate(drawn, kind) for kind in ("line.enter", "line.exit", "rect.min-on")] == [
            1,
            1,
            1,
        ]
        assert page.evaluate(drawn, "polyline") == 2
        assert page.evaluate(drawn, "rect.event-span") == 1
        assert violations(page) == []
        assert overflow(page) <= 0
        page.select_option("#why-label", "falling")
        said.get_by_text("falling reached 42%").wait_for()
        assert "It stayed below: 8% short. still was stronger, with 60%." in said.inner_text()
        page.keyboard.press("Escape")
        page.locator("button[aria-label='Why? Scores of front-door']").click()
        said.get_by_text("waving reached 90%").wait_for()
        assert page.locator("#details-title").inner_text() == "Scores of front-door"
        assert page.locator("#details-facts").is_hidden()


def test_the_same_action_before_an_event_is_not_taken_for_it(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    def twice(request: Mapping[str, Any], peer: object) -> dict[str, Any]:
        answer = scores(request, peer)
        answer["series"][0]["scores"][:9] = [0.97] * 9
        return answer

    with published(tmp_path / "e.db", handlers={"scores": twice, "features": features()}) as bus:
        busy(bus)
        with served(bus.endpoint) as web:
            page = open_page(web)
            is_live(page)
            page.locator("#recent-rows tr", has_text="front-door").locator(
                "button", has_text="Details"
            ).click()
            page.locator("#why-text").get_by_text("waving reached 90%").wait_for()
            assert "It stayed above for 3.6 s: an event." in page.locator("#why-text").inner_text()


def test_on_a_phone_times_do_not_overlap_and_pictures_stand_beside_the_text(
    tmp_path: Path, folder: Path, open_page: Callable[..., Any]
) -> None:
    data = io.BytesIO()
    Image.new("RGB", (640, 480), (200, 30, 30)).save(data, "JPEG")
    keep(folder, "yard", "e1", SNAPSHOT, data.getvalue())
    with published(tmp_path / "e.db", handlers={"features": features(folder), "scores": scores}) as bus:
        busy(bus)
        with served(bus.endpoint) as web:
            page = open_page(web, PHONE)
            is_live(page)
            page.wait_for_selector("#recent-rows tr:has-text('falling') img[data-there]")
            row = page.locator("#recent-rows tr", has_text="falling")
            image, name = row.locator("img").bounding_box(), row.locator("th").bounding_box()
            assert image["x"] + image["width"] <= name["x"]
            assert image["height"] <= 100
            lasted = row.locator("[data-label=Lasted]").bounding_box()
            assert lasted["y"] >= name["y"] + name["height"], "a short time does not push the name aside"
            assert overflow(page) <= 0
            for span in ("120", "300", "900"):
                page.locator("#span").select_option(span)
                holds(page, f"document.querySelector('.axis').dataset.span === '{span}'")
                boxes = page.evaluate(
                    "[...document.querySelectorAll('.axis span')].map((tick) => tick.getBoundingClientRect())"
                    ".filter((box) => box.width > 0).map((box) => [box.left, box.right])"
                )
                assert all(a[1] <= b[0] for a, b in pairwise(boxes)), (span, boxes)
            page.locator("#recent-rows tr", has_text="waving").get_by_text("Details").click()
            page.wait_for_selector("#why-chart svg")
            scale = "document.querySelector('#why-chart svg').getScreenCTM().a"
            assert page.evaluate(scale) == pytest.approx(1.0, abs=0.05), "its text is as large as elsewhere"


@pytest.mark.timeout(600)
def test_where_the_model_looked_is_computed_on_demand(
    tmp_path: Path, folder: Path, open_page: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr(subprocess, "Popen", warm_processes.start)
    keep(folder, "front-door", "e1", CLIP, clip_path().read_bytes())
    keep(folder, "front-door", "e2", CLIP, b"no clip at all")

    def offers(request: Mapping[str, Any], peer: object) -> Any:
        return {**features(folder)(request, peer), "models": {"demo": "demo"}}

    with published(tmp_path / "e.db", handlers={"features": offers, "scores": scores}) as bus:
        for name in ("e1", "e2"):
            bus.event(event(name, camera="front-door"))
            bus.event(event(name, Phase.END, camera="front-door"))
        with served(bus.endpoint) as web:
            page = open_page(web)
            is_live(page)
            page.wait_for_selector("#recent-rows tr:nth-child(2)")
            page.locator("#recent-rows tr", has_text="front-door").last.get_by_text("Details").click()
            page.locator("#look").click()
            page.locator("#look-text", has_text="A hint, not a proof").wait_for(timeout=300_000)
            assert page.locator("#look-picture img").evaluate("node => node.naturalWidth") == 972
            assert violations(page) == []
            where = "/attention?camera=front-door&label=waving"
            assert web.ask(f"{where}&event=e1&model=../../x")[0] == 404, "only models that the run has"
            assert web.ask(f"{where}&event=e9&model=demo")[0] == 404
            status_, _, body = web.ask(f"{where}&event=e2&model=demo")
            assert (status_, b"the clip cannot be read" in body) == (502, True)


def test_an_open_dialog_follows_its_event_without_moving_anything(
    tmp_path: Path, folder: Path, open_page: Callable[..., Any]
) -> None:
    asked: list[tuple[float, str]] = []

    def going_on(request: Mapping[str, Any], peer: object) -> dict[str, Any]:
        asked.append((float(request["until"]), request.get("label", "")))
        return scores(request, peer)

    begun = replace(event(camera="front-door"), peak=0.6)
    since = begun.started.wall - 20.0
    begun = replace(begun, started=replace(begun.started, wall=since))
    ended = replace(begun, phase=Phase.END, peak=0.9, ended=replace(begun.started, wall=since + 12.0))
    handlers = {"features": features(folder, labels=("falling",)), "scores": going_on}
    with published(tmp_path / "e.db", handlers=handlers) as bus, served(bus.endpoint) as web:
        bus.status(status("front-door"))
        bus.event(begun)
        page = open_page(web, (1280, 500))
        is_live(page)
        page.locator("#recent-rows button", has_text="Details").click()
        facts, media = page.locator("#details-facts"), page.locator("#details-media")
        facts.get_by_text("still going on, ").wait_for()
        media.get_by_text("Its clip is ready when").wait_for()
        page.wait_for_selector("#why-chart svg")
        until(lambda: len(asked) >= 2, "the scores of what goes on are asked for again")
        assert page.locator("#why-text").get_attribute("aria-live") == "off", "nobody asked: no flood"

        keep(folder, "front-door", "e1", SNAPSHOT, jpeg((30, 200, 30)))
        holds(page, "document.getElementById('picture').naturalWidth === 64")
        page.locator("#picture-link").focus()
        page.evaluate("document.getElementById('details').scrollTop = 60")
        place_of = "[document.activeElement.id, document.getElementById('details').scrollTop]"
        before = page.evaluate(place_of)
        assert before == ["picture-link", 60]

        bus.event(replace(begun, phase=Phase.UPDATE, peak=0.8))
        facts.get_by_text("80%").wait_for()
        holds(page, "document.getElementById('picture').src.endsWith('false-0.8')")
        assert page.evaluate(place_of) == before
        bus.event(ended)
        facts.get_by_text("after 12 s").wait_for()
        assert "90%" in facts.inner_text()
        holds(page, "document.querySelector('#why-text').ariaLive === 'polite'")  # the end is told once
        last = since + 12.0 + 5.0
        until(lambda: abs(asked[-1][0] - last) < 0.01, "the scores after its end are asked for")
        assert page.evaluate(place_of) == before

        keep(folder, "front-door", "e1", CLIP, clip_path().read_bytes())
        page.wait_for_selector("#clip")
        assert page.evaluate(place_of)[0] == "picture-link"
        assert page.locator("#picture").is_hidden()
        assert page.locator("#media-note").is_hidden()
        assert page.locator("#look").is_visible()
        assert violations(page) == []
        page.keyboard.press("Escape")
        holds(page, "!document.getElementById('clip').hasAttribute('src')")  # a clip that plays stops


def test_a_dialog_that_is_open_before_it_is_known_what_the_run_offers(
    tmp_path: Path, folder: Path, open_page: Callable[..., Any]
) -> None:
    keep(folder, "front-door", "e1", SNAPSHOT, jpeg((30, 200, 30)))
    offers: Future[dict[str, Any]] = Future()
    with (
        published(tmp_path / "e.db", handlers={"features": lambda request, peer: offers}) as bus,
        served(bus.endpoint) as web,
    ):
        bus.event(event(camera="front-door"))
        page = open_page(web)
        is_live(page)
        page.locator("#recent-rows button", has_text="Details").click()
        page.locator("#details-facts").get_by_text("still going on, ").wait_for()
        assert page.locator("#mark").is_hidden()
        assert page.locator("#picture").is_hidden()
        offers.set_result(dict(features(folder, marks=True)({}, None)))
        holds(page, "document.getElementById('picture').naturalWidth === 64")
        page.locator("#mark").wait_for()


def test_where_no_scores_are_kept_it_is_said(explained: Publisher, open_page: Callable[..., Any]) -> None:
    busy(explained)
    with served(explained.endpoint) as web:
        page = open_page(web)
        is_live(page)
        page.locator("#recent-rows tr", has_text="falling").locator("button", has_text="Details").click()
        page.locator("#why-text", has_text="There are no scores: no scores of this camera").wait_for()
        assert web.ask("/scores?camera=x&since=1")[0] == 400
        assert web.ask("/scores?camera=front-door&since=nan&until=5")[0] in (400, 502)
