"""`streamer evaluate` with truth that tells where people are: drawn people in real videos are followed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streamer.cli.command_line import main
from streamer.training.ground_truth import Segment
from streamer.training.people_scores import measure_people
from streamer.training.person_truth import PersonTruth, TrueBox
from streamer.training.stream_scores import DetectedEvent, TrackedPicture, VideoResult
from streamer.types import Track
from tests.helpers.media import write_clip
from tests.helpers.people_parts import HEIGHT, WIDTH, Walker, scene, walking

RATE, SECONDS = 20, 6.0
WALKERS = (
    Walker(walking(10.0, 40.0), top=20.0, seed=1),
    Walker(walking(280.0, -40.0), top=150.0, seed=2),
)
QUICK = ["--follow", "--engine", "torch", "--precision", "fp32", "--device", "cpu"]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people who walk past each other, 6 s."""
    images = [scene(WALKERS, number / RATE) for number in range(round(SECONDS * RATE))]
    return write_clip(tmp_path_factory.mktemp("film") / "film.mp4", images, RATE, options={"crf": "15"})


def mot(path: Path) -> Path:
    rows = []
    for number in range(round(SECONDS * RATE)):
        for who, walker in enumerate(WALKERS, 1):
            left, top, width, height = walker.box(number / RATE) or (0, 0, 0, 0)
            box = f"{left * WIDTH:.1f},{top * HEIGHT:.1f},{width * WIDTH:.1f},{height * HEIGHT:.1f}"
            rows.append(f"{number + 1},{who},{box},1,1,1")
    path.write_text("\n".join(rows) + "\n")
    return path


def ours(path: Path, label: Sequence[str] = ("moving right", "moving left")) -> Path:
    rows = ["start,end,label,track,left,top,width,height"]
    for number in range(round(SECONDS * RATE)):
        for who, walker in enumerate(WALKERS):
            box = ",".join(f"{part:.4f}" for part in walker.box(number / RATE) or ())
            rows.append(f"{number / RATE:.3f},{(number + 1) / RATE:.3f},{label[who]},person {who},{box}")
    path.write_text("\n".join(rows) + "\n")
    return path


def evaluated(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["evaluate", *words, *QUICK, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["people"]


@pytest.mark.training
def test_a_mot_file(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = evaluated(capsys, str(film), "--truth", str(mot(tmp_path / "gt.txt")))
    assert (told["people"], told["files"]) == (2, 1)
    assert told["recall"] > 0.7, "all but the first moments, at IoU 0.5"
    assert told["precision"] > 0.8
    assert told["idf1"] > 0.7
    assert told["switches"] == 0
    assert 0.4 < told["hota"] <= 1.0
    assert told["events"] is None, "MOT does not tell what they do"
    assert told["moments"] == pytest.approx(SECONDS * 10, abs=65), "each picture that was looked at"


@pytest.mark.training
def test_a_file_of_ours_with_what_each_does(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = ours(tmp_path / "truth.csv")
    told = evaluated(capsys, str(film), "--truth", str(truth))
    assert (told["people"], told["recall"] > 0.7) == (2, True)
    assert set(told["events"]) == {"0.3", "0.5", "0.7"}
    assert told["events"]["0.3"]["tp"] + told["events"]["0.3"]["fn"] == 2
    assert main(["evaluate", str(film), "--truth", str(truth), *QUICK]) == 0
    lines = capsys.readouterr().out
    assert "people: 1 file, 0.1 minutes, 2 people" in lines
    assert "HOTA" in lines
    assert "events of people, IoU" in lines


def test_truth_with_boxes_needs_following(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(film), "--truth", str(mot(tmp_path / "gt.txt"))]) != 0
    assert "measure it with --follow" in capsys.readouterr().err
    wrong = ours(tmp_path / "wrong.csv", ("dancing", "moving left"))
    assert main(["evaluate", str(film), "--truth", str(wrong), *QUICK]) != 0
    assert "the model has no label 'dancing'" in capsys.readouterr().err


def test_an_event_counts_for_the_person_whose_track_it_has() -> None:
    here, there = (0.1, 0.1, 0.1, 0.3), (0.6, 0.1, 0.1, 0.3)
    truth = PersonTruth(
        (TrueBox(0.0, 10.0, "ann", here), TrueBox(0.0, 10.0, "bob", there)),
        {"ann": (Segment(2.0, 6.0, "waving"),), "bob": ()},
    )
    pictures = tuple(TrackedPicture(n / 10, (Track(1, here), Track(2, there))) for n in range(100))

    def counts(*events: DetectedEvent) -> tuple[int, int, int]:
        told = measure_people([(VideoResult("v", (), (), events, 10.0, pictures), truth)], ("still",))
        return tuple(told["events"]["0.5"][key] for key in ("tp", "fp", "fn"))  # type: ignore[return-value]

    waves = DetectedEvent("waving", 2.1, 2.5, 6.0, track=1)
    assert counts(waves) == (1, 0, 0)
    assert counts(DetectedEvent("waving", 2.1, 2.5, 6.0, track=2)) == (0, 1, 1), "the other's"
    assert counts(waves, DetectedEvent("waving", 2.1, 2.5, 6.0, track=9)) == (1, 1, 0), "nobody's"
    assert counts(waves, DetectedEvent("waving", 2.1, 2.5, 6.0)) == (1, 0, 0), "the whole picture's"
    assert counts(waves, DetectedEvent("still", 7.0, 7.5, 9.0, track=2)) == (1, 0, 0), "no action"
