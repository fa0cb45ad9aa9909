"""docs/make_pictures.py: what a terminal showed, as an SVG that every viewer reads."""

from __future__ import annotations

import importlib.util
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "make_pictures.py"
FRAMES = [
    ["\x1b[1;32m● front-door\x1b[0m <&>", "", "\x1b[7mwaving\x1b[0m ▁▂█"],
    ["\x1b[1;32m● front-door\x1b[0m <&>", "\x1b[38;2;1;2;3;48;2;4;5;6m▀\x1b[0m", "x"],
]


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pictures", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_pictures"] = module
    spec.loader.exec_module(module)
    return module


def test_frames_follow_each_other_and_lines_are_kept_once(pictures: ModuleType) -> None:
    svg = pictures.svg(FRAMES, 4.0)
    ElementTree.fromstring(svg)
    assert svg.count("● front-door") == 1
    assert svg.count("<use") == 5  # of six lines one is empty
    assert "steps(2)" in svg
    assert "prefers-reduced-motion" in svg
    assert "#010203" in svg
    assert "#040506" in svg


def test_one_frame_stands_still(pictures: ModuleType) -> None:
    assert "animation" not in pictures.svg(FRAMES[:1], 0.0)


def test_an_unknown_picture_is_refused(pictures: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert pictures.main(["terminals"]) == 2
    said = capsys.readouterr().err
    assert "there is no 'terminals'; there are terminal, captions, page, cluster, people, bench" in said
