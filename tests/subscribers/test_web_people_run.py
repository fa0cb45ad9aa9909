"""`run FILE --follow --web` in a real browser: boxes on the live picture move with the person, and leave."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers.media import write_clip
from tests.helpers.page_browser import browser, holds, is_live, needs_browser, open_page
from tests.helpers.page_runs import start
from tests.helpers.people_parts import Walker, scene, walking

__all__ = ["browser", "open_page", "start"]  # fixtures
pytestmark = [*needs_browser, pytest.mark.realtime(about=14)]

# `look()`: the middles of the boxes and of who is in the picture itself, as parts of its width. The ground
# is of even grey, the figure is not. `seen`: that, each time that the boxes change.
WATCH = """() => {
    window.seen = []
    const live = document.querySelector('.live')
    const paper = new OffscreenCanvas(160, 120).getContext('2d', {willReadFrequently: true})
    const figure = () => {
        paper.drawImage(live.querySelector('img'), 0, 0, 160, 120)
        const {data} = paper.getImageData(0, 0, 160, 120)
        let count = 0, sum = 0
        for (let place = 0; place < data.length; place += 4) {
            if (Math.abs((data[place] + data[place + 1] + data[place + 2]) / 3 - 120) < 40) continue
            count += 1
            sum += (place / 4) % 160
        }
        return count > 40 ? sum / count / 160 : null
    }
    window.look = () => {
        const whole = live.getBoundingClientRect()
        const boxes = [...live.querySelectorAll('.box')].map((box) => {
            const own = box.getBoundingClientRect()
            return (own.left + own.width / 2 - whole.left) / whole.width
        })
        return {boxes, figure: figure(), old: live.dataset.old === 'true'}
    }
    new MutationObserver(() => window.seen.push(window.look()))
        .observe(live.querySelector('.boxes'), {childList: true, attributes: true, subtree: true})
}"""
GONE = """(() => {
    const {boxes, figure, old} = window.look()
    return window.seen.filter((one) => one.boxes.length && one.figure !== null).length > 5
        && !old && figure === null && boxes.length === 0
})()"""


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    """Nobody for two seconds, somebody who walks from left to right for eight, nobody for eight."""
    walkers = [Walker(walking(10.0, 32.0, 2.0, 10.0), width=32, height=80)]
    return write_clip(tmp_path / "walk.mp4", [scene(walkers, number / 10) for number in range(180)], 10)


def test_boxes_of_a_real_run_move_with_the_person_and_go_with_them(
    walk: Path, start: Callable[..., Any], open_page: Callable[..., Any]
) -> None:
    run = start(str(walk), "--follow", "--loop", "--web", "0", "--pictures", "show")
    page = open_page(SimpleNamespace(url=run.page().rstrip("/")))
    is_live(page)
    page.wait_for_selector(".live:not([hidden])")
    page.evaluate(WATCH)
    holds(page, GONE)
    seen = [one for one in page.evaluate("window.seen") if one["boxes"] and one["figure"] is not None]
    assert all(len(one["boxes"]) == 1 for one in seen), "one person has one box"
    places = [one["boxes"][0] for one in seen]
    assert max(places) - min(places) > 0.2, "it moves"
    # boxes are of the very picture that is shown; one walks 0.05 of it until the next one comes
    assert statistics.median(abs(one["boxes"][0] - one["figure"]) for one in seen) < 0.02
    page.locator("#only-person").wait_for()
    assert "person 1" in page.locator("#only-person").inner_text()
