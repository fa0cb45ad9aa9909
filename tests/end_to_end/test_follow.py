"""`--follow` from the command line: drawn people in a file, every message that a subscriber would get."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamer.cli.command_line import main
from tests.helpers.media import write_clip
from tests.helpers.people_parts import Walker, scene, walking
from tests.helpers.streaming_parts import save_streaming

pytestmark = pytest.mark.realtime  # videos are played through the whole program


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two who cross, for six seconds; the last two seconds nobody is there."""
    walkers = [
        Walker(walking(0.0, 60.0, 1.0, 6.0), seed=1),
        Walker(walking(280.0, -60.0, 1.0, 6.0), top=160, seed=2),
    ]
    pictures = [scene(walkers, number / 10) for number in range(90)]
    return write_clip(tmp_path_factory.mktemp("street") / "street.mp4", pictures, 10)


Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(street: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def play(*more: str) -> list[dict[str, Any]]:
        assert main(["run", str(street), "--pace", "fast", "--ui", "json", "--bind", "", *more]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return play


def of_type(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == kind]


def test_each_walker_is_followed_and_the_demo_says_where_they_go(run: Run) -> None:
    messages = run("--follow")
    events = of_type(messages, "event")
    assert all("track" in message for message in (*events, *of_type(messages, "prediction")))
    people = {event["track"]["id"] for event in events if event["track"] is not None}
    assert people == {1, 2}
    by_person = {
        number: {e["event"]["label"] for e in events if e["track"] and e["track"]["id"] == number}
        for number in people
    }
    directions = [labels & {"moving left", "moving right"} for labels in by_person.values()]
    assert sorted(map(sorted, directions)) == [["moving left"], ["moving right"]]
    ends = [e["event"] for e in events if e["event"]["phase"] == "end" and e["track"]]
    assert {end["reason"] for end in ends if end["label"] == "present"} == {"track lost"}
    assert any(message["track"] is None for message in of_type(messages, "prediction"))
    assert all(status["following"] >= 0 for status in of_type(messages, "status")[-1:])


def test_who_follows_nobody_sees_no_track(run: Run) -> None:
    messages = run()
    assert not any("track" in message or "following" in message for message in messages)


def test_people_alone(run: Run) -> None:
    messages = run("--follow", "--set", "follow.whole=false", "--set", "follow.max=1")
    predictions = of_type(messages, "prediction")
    assert predictions
    assert {message["track"]["id"] for message in predictions} == {1}


def test_a_streaming_model_follows_too(run: Run, tmp_path: Path) -> None:
    model = save_streaming(tmp_path / "streaming")
    messages = run("--follow", "--model", str(model), "--set", "follow.whole=false")
    predictions = of_type(messages, "prediction")
    assert {message["track"]["id"] for message in predictions} == {1, 2}


def test_check_knows_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cameras.yaml"
    text = "cameras: [{name: a, source: demo}]\nevents: {thresholds: {present: {min_on: 60}}}\n"
    file.write_text(text + "follow: {detector: moving}\n", "utf-8")
    assert main(["check", str(file)]) == 0
    file.write_text(text + "follow: {detector: movin}\n", "utf-8")
    assert main(["check", str(file)]) == 2
    assert "follow.detector = 'movin': did you mean moving?" in capsys.readouterr().err
    file.write_text(text + "follow: {detector: someone/else}\n", "utf-8")
    assert main(["check", str(file)]) == 0
    assert "someone/else is not on this machine" in capsys.readouterr().err


def test_follow_keeps_the_detector_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text("cameras: [{name: a, source: demo}]\nfollow: {detector: /nowhere}\n", "utf-8")
    assert main(["run", "--config", str(file), "--follow", "--bind", "", "--ui", "none"]) == 4
    assert "/nowhere" in capsys.readouterr().err
