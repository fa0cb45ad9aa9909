"""What the screen shows of the last minute, of lost cameras, people, long texts and pictures."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from streamer.dashboard.half_blocks import CellPictures, half_blocks
from streamer.dashboard.help_page import help_lines
from streamer.dashboard.screen_content import ScreenContent, screen_content
from streamer.dashboard.view import Page, render
from streamer.dashboard.view_state import Place, ViewState
from streamer.labels.action_colours import COLOURS, colours_of
from streamer.types import (
    Belief,
    CameraState,
    CameraStats,
    LabelScore,
    Outage,
    PersonStats,
    Stats,
    Track,
)
from tests.helpers.dashboard_parts import NOW, camera, event, moment, stats

SIZES = [(120, 40), (80, 24), (40, 12)]
REASON = (
    "192.168.1.20:554 wants another user or password (401) for its stream; set user and password of this "
    "camera as its own page has them, and see whether its account is locked"
)


def page(shown: Stats, width: int, height: int, **more: object) -> Page:
    return render(screen_content(shown, **more), width, height)  # type: ignore[arg-type]


def with_past(*labels: tuple[str | None, float]) -> CameraStats:
    """A camera that believed each label for so many seconds, the last one until now."""
    at, past = NOW - sum(seconds for _, seconds in labels), []
    for label, seconds in labels:
        for half in range(int(seconds * 2)):
            past.append(Belief(at + half / 2, None if label is None else LabelScore(label, 0.9)))
        at += seconds
    return camera(past=tuple(past))


def strip_of(shown: Page) -> str:
    lines = shown.plain.splitlines()
    score = next(i for i, text in enumerate(lines) if "██" in text)
    return lines[score - 1]


def test_the_strip_names_what_was_when() -> None:
    shown = page(stats(with_past(("waving", 20), (None, 20), ("moving left", 20))), 80, 24)
    strip = strip_of(shown)
    assert re.search(r"waving +·+moving left", strip)
    assert 24 <= strip.index("moving left") - strip.index("waving") <= 54  # 40 of 60 seconds of 76 cells


def test_an_action_has_the_same_colour_wherever_it_is_named() -> None:
    opened = event("a", "front-door", 4.2)
    shown = page(stats(replace(with_past(("waving", 60)), open_events=(opened,)), recent=(opened,)), 80, 24)
    styles = [
        (text.plain[span.start : span.end], str(span.style)) for text in shown.lines for span in text.spans
    ]
    content = screen_content(stats(camera()))
    own = content.colour("waving")
    named = [style for text, style in styles if "waving" in text and style not in ("", "dim")]
    assert len(named) >= 3
    assert all(own in style for style in named)
    assert (
        len({content.colour(label) for label in ("moving left", "moving right", "moving up", "waving")}) == 4
    )
    labels = content.stats.model.labels if content.stats.model else ()
    assert own == COLOURS[colours_of(labels)["waving"]].text, "as on the page"
    renamed = screen_content(stats(camera()), names=str.upper)
    assert renamed.colour("WAVING") == own, "another language keeps the colours"


def test_labels_of_no_action_are_no_events_and_quiet_in_the_strip() -> None:
    still = replace(event("s", "front-door", 30, None, "still"), background=True)
    shown = replace(with_past(("still", 30), ("waving", 30)), open_events=(still,))
    text = page(stats(shown, recent=(still, event("a", "front-door", 30.0))), 80, 24)
    assert "▶ still" not in text.plain
    assert [line.split()[1] for line in text.plain.splitlines() if ":52" in line and "14:0" in line] == [
        "waving"
    ]
    assert re.search(r"─+waving", strip_of(text))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("place", [Place.ALL, Place.EVENTS, Place.CAMERA])
def test_a_lost_camera_is_an_event_with_its_length(size: tuple[int, int], place: Place) -> None:
    gone = camera("yard", CameraState.RECONNECTING)
    outages = (Outage("yard", "lost", moment(80), moment(50)), Outage("yard", "black picture", moment(12.3)))
    shown = stats(gone, camera(), outages=outages, outage_counts={"timeout": 1, "black": 1})
    text = page(shown, *size, state=ViewState(place, "yard")).plain
    if size != (40, 12) or place is Place.EVENTS:
        assert "camera lost" in text
        assert "30.0 s" in text
    assert ("black picture" if size[0] > 40 else "black pi") in text
    assert "▶ 12.3 s" in text
    if size[1] > 12:
        assert "cameras black 1, timeout 1" in text


@pytest.mark.parametrize(
    ("width", "height", "cameras"), [(120, 40, 1), (120, 40, 3), (80, 24, 1), (80, 24, 2)]
)
def test_a_long_reason_is_shown_whole(width: int, height: int, cameras: int) -> None:
    gone = camera(state=CameraState.CONNECTING)
    gone = replace(gone, status=replace(gone.status, detail=REASON))
    shown = page(
        stats(gone, *[camera(f"cam{i}") for i in range(cameras - 1)], notes=(REASON,)), width, height
    )
    together = " ".join(shown.plain.split())
    for word in REASON.split():
        assert word in together, word


def test_a_long_label_takes_the_room_there_is() -> None:
    label = "exercising with an exercise ball at home"
    long = camera(top=(LabelScore(label, 0.9),), stable=LabelScore(label, 0.8), smoothed={label: 0.8})
    assert page(stats(long), 80, 24).plain.count(label) >= 2
    assert label in page(stats(long, recent=(event("a", "front-door", 4, 1.0, label),)), 80, 24).plain


def test_before_the_model_is_there_it_is_starting() -> None:
    first = CameraStats(
        replace(camera().status, state=CameraState.CONNECTING, detail="waiting for the model")
    )
    text = page(stats(first, model=None, windows_per_s=0.0, latency={}), 80, 24).plain
    assert "◌ starting" in text
    assert "speed   starting" in text
    assert "0.0 of" not in text


def test_files_played_fast_show_a_speed_that_nobody_asked_for() -> None:
    text = page(stats(camera(asked_per_s=0.0, windows_per_s=52.3), windows_per_s=52.3), 80, 24).plain
    assert "52.3 windows/s" in text
    assert "52.3 of" not in text


@pytest.mark.parametrize("size", SIZES[:2], ids=str)
def test_each_person_has_a_line_below_their_camera(size: tuple[int, int]) -> None:
    one, two = Track(3, (0.1, 0.1, 0.2, 0.5)), Track(12, (0.5, 0.1, 0.2, 0.5))
    waving = replace(event("a", "front-door", 4.2), track=one)
    people = (PersonStats(one, (LabelScore("waving", 0.9),), LabelScore("waving", 0.8)), PersonStats(two))
    text = page(stats(replace(camera(open_events=(waving,)), people=people), recent=(waving,)), *size).plain
    assert re.search(r"person 3 +▶ waving +4\.2 s +0\.80", text)
    assert re.search(r"person 12 +seen, no prediction yet", text)
    assert "waving (person 3)" in text


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_help_explains_the_words_of_the_screen(width: int) -> None:
    text = " ".join(" ".join(line.plain for line in help_lines(width)).split())
    for word in ("raw", "stable", "8 × 0.2 s", "windows/s", "Ctrl+C", "drops"):
        assert word in text
    assert "…" not in text


# --- pictures ---


def scene() -> np.ndarray:
    """Red above, blue below, BGR."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :, 2], image[24:, :, 0] = 255, 255
    return image


@pytest.mark.parametrize(
    ("colours", "red", "blue"), [(1 << 24, "255;0;0", "0;0;255"), (256, "5;196", "5;21")]
)
def test_half_blocks_show_two_points_a_cell(colours: int, red: str, blue: str) -> None:
    cells, rows = half_blocks(scene(), 30, 10, colours=colours)
    assert (cells, len(rows)) == (27, 10)  # 64:48 at cells of 1:2
    assert [row.count("▀") for row in rows] == [27] * 10
    assert red in rows[0]
    assert blue not in rows[0]
    assert blue in rows[-1]


@pytest.mark.parametrize("size", [(120, 40), (100, 30), (80, 24)], ids=str)
@pytest.mark.parametrize("place", [Place.ALL, Place.CAMERA])
def test_the_picture_stands_where_there_is_room(size: tuple[int, int], place: Place) -> None:
    pictures = CellPictures(lambda _: scene(), 1 << 24, lambda: 0.0)
    shown = page(stats(camera()), *size, picture=pictures, state=ViewState(place, "front-door"))
    out = io.StringIO()
    console = Console(file=out, width=size[0], height=size[1], force_terminal=True, color_system="truecolor")
    console.print(shown, end="", crop=False)
    rows = [line.count("▀") for line in out.getvalue().split("\n")]
    assert len([cells for cells in rows if cells]) >= 10
    assert max(rows) >= 25
    lines = [len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in out.getvalue().split("\n")]
    assert set(lines) == {size[0]}


def test_a_camera_without_a_picture_yet_and_one_that_is_held() -> None:
    newest: dict[str, np.ndarray] = {}
    now = [0.0]
    pictures = CellPictures(newest.get, 1 << 24, lambda: now[0])
    assert pictures("a", 10, 5) is None
    newest["a"] = scene()
    first = pictures("a", 10, 5)
    pictures.hold(["a"])
    newest["a"] = scene()[::-1]
    now[0] = 9.0
    assert pictures("a", 10, 5) == first
    pictures.go_on()
    now[0] = 18.0
    assert pictures("a", 10, 5) != first


def test_the_page_is_drawn_for_every_size_and_place_with_all_of_it() -> None:
    pictures = CellPictures(lambda _: scene(), 256, lambda: 0.0)
    outages = (Outage("cam1", "lost", moment(80), moment(50)),)
    people = (PersonStats(Track(1, (0, 0, 1, 1))),)
    cameras = [replace(camera(f"cam{i}", list(CameraState)[i % 6]), people=people) for i in range(4)]
    shown = stats(*cameras, outages=outages, recent=(event("a", "cam0", 4.2),), notes=("x" * 300,))
    for place in Place:
        for width, height in [(200, 60), (120, 40), (80, 24), (60, 16), (40, 12), (20, 6), (5, 3), (1, 1)]:
            content: ScreenContent = screen_content(
                shown, ViewState(place, "cam1", scroll=3), picture=pictures, keys=True, message="kept"
            )
            made = render(content, width, height)
            assert [text.cell_len for text in made.lines] == [width] * height, (place, width, height)
