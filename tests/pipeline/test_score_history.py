"""Why something was or was not an event: the scores that are kept, and what the bus answers."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.bus.subscriber import Subscriber
from streamer.config import BusConfig, Config, EventsConfig, JournalConfig
from streamer.errors import BusError
from streamer.pipeline import score_history
from streamer.pipeline.pipeline import Pipeline
from streamer.pipeline.score_history import MOST_POINTS, ScoreHistory
from streamer.testing import FakeCamera, FakeRecognizer
from streamer.types import Frame, LaneResult, Prediction, Track, Window
from tests.helpers.bus_parts import DEADLINE


def result(at: float, camera: str = "door", person: int | None = None, **scores: float) -> LaneResult:
    frame = Frame(camera, 1, 0, at, at, at, None, np.zeros((2, 2, 3), np.uint8))
    track = None if person is None else Track(person, (0.1, 0.1, 0.2, 0.5))
    window = Window(camera, 1, (frame,), 0.1, track=track)
    found = np.array(list(scores.values()), np.float32)
    prediction = Prediction(camera, "m", window, tuple(scores), found)
    return LaneResult(camera, "m", prediction, smoothed=scores, track=track)


def test_the_label_that_is_asked_for_comes_with_the_strongest_others() -> None:
    history = ScoreHistory()
    for n in range(10):
        history.result(result(100.0 + n, a=0.1, b=0.2 + n / 100, c=0.6, d=0.05))
    curves = history.curves("door", "m", None, "d", 103.0, 105.0)
    assert curves is not None
    assert curves.times == (103.0, 104.0, 105.0)
    assert list(curves.scores) == ["d", "c", "b"]
    assert curves.scores["b"] == pytest.approx((0.23, 0.24, 0.25), abs=1e-3)
    assert curves.since == 100.0
    best = history.curves("door", "m", None, None, 103.0, 105.0)
    assert best is not None
    assert next(iter(best.scores)) == "c"
    assert history.curves("door", "m", None, "nobody", 0.0, 1e9) is None
    assert history.curves("yard", "m", None, None, 0.0, 1e9) is None
    empty = history.curves("door", "m", None, "a", 5.0, 6.0)
    assert empty is not None
    assert empty.times == ()


def test_it_is_bounded_and_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_history, "MOST_ROWS", 20)
    history = ScoreHistory()
    for n in range(50):
        history.result(result(float(n), a=n / 100))
    curves = history.curves("door", "m", None, "a", 0.0, 1e9)
    assert curves is not None
    assert curves.times == tuple(float(n) for n in range(30, 50))
    for n in range(300):
        history.result(result(1.0, camera=f"cam{n}", a=0.5))
    assert len(history._rings) == score_history.MOST_KEPT


def test_a_long_answer_keeps_its_peaks() -> None:
    history = ScoreHistory()
    for n in range(3000):
        history.result(result(float(n), a=0.9 if n == 1234 else 0.1))
    curves = history.curves("door", "m", None, "a", 0.0, 1e9)
    assert curves is not None
    assert len(curves.times) <= MOST_POINTS
    assert max(curves.scores["a"]) == pytest.approx(0.9, abs=1e-3)
    assert list(curves.times) == sorted(curves.times)


def test_each_person_has_scores_of_their_own() -> None:
    history = ScoreHistory()
    for n in range(10):
        history.result(result(float(n), a=0.1))
        history.result(result(float(n), person=7, a=0.9))
        history.result(result(float(n), person=8, a=0.5))
    for person, score in ((None, 0.1), (7, 0.9), (8, 0.5)):
        curves = history.curves("door", "m", person, "a", 0.0, 1e9)
        assert curves is not None
        assert curves.scores["a"] == pytest.approx((score,) * 10, abs=1e-3)
    assert history.curves("door", "m", 9, None, 0.0, 1e9) is None
    assert history.models("door") == ["m"]


def test_people_who_come_and_go_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_history, "MOST_PEOPLE", 20)
    history = ScoreHistory()
    history.result(result(0.0, a=0.5))
    history.result(result(0.0, person=0, a=0.5))
    for n in range(1, 300):
        history.result(result(float(n), person=n, a=0.5))
        history.result(result(float(n), person=0, a=0.5))  # stays all the time
    assert [key[2] for key in history._people] == [*range(281, 300), 0]
    assert history.curves("door", "m", None, "a", 0.0, 1e9) is not None, "people push out no camera"
    stays = history.curves("door", "m", 0, "a", 0.0, 1e9)
    assert stays is not None
    assert stays.times == tuple(map(float, range(300)))
    monkeypatch.setattr(score_history, "MOST_BYTES_OF_PEOPLE", 20_000)
    for n in range(300, 2000):
        history.result(result(float(n), person=n // 100, a=0.5))
        held = sum(ring.nbytes for ring in history._people.values())
        assert held == history._bytes_of_people <= 20_000


def test_other_words_begin_anew() -> None:
    history = ScoreHistory()
    history.result(result(1.0, a=0.5))
    history.result(result(2.0, b=0.5))
    assert history.curves("door", "m", None, "a", 0.0, 9.0) is None
    assert history.curves("door", "m", None, "b", 0.0, 9.0) is not None


@pytest.mark.realtime
def test_the_bus_tells_scores_with_their_rules_and_what_the_run_offers(tmp_path: Path) -> None:
    stop = threading.Event()
    with FakeCamera(lambda n: np.full((48, 64, 3), 140 + n % 60, np.uint8)) as camera:
        config = Config(
            cameras=({"name": "yard", "source": camera.url},),  # type: ignore[arg-type]
            bus=BusConfig(bind="tcp://127.0.0.1:0"),
            journal=JournalConfig(path=""),
            events=EventsConfig(enter=0.6, thresholds={"busy": {"min_on": 1.5}}),  # type: ignore[dict-item]
            recording={"folder": str(tmp_path / "none")},  # type: ignore[arg-type]
        )
        recognizer = FakeRecognizer(lambda window: (0.7, 0.3))
        with Pipeline(config, recognizer=recognizer) as pipeline:
            running = threading.Thread(target=pipeline.run, args=(stop,))
            running.start()
            try:
                with Subscriber(pipeline.endpoint, topics=["prediction/", "heartbeat/"]) as subscriber:
                    check(subscriber)
            finally:
                stop.set()
                running.join(10)


def check(subscriber: Subscriber) -> None:
    message: Any = None
    while getattr(message, "camera", None) != "yard":
        message = subscriber.receive(20.0)
    now = time.time()

    def ask(**more: Any) -> Any:
        return subscriber.request(
            "scores", **{"camera": "yard", "since": now - 60, "until": now + 60, "timeout": DEADLINE, **more}
        )

    told = ask(label="busy")
    first, other = told["series"]
    assert (first["label"], other["label"]) == ("busy", "calm")
    assert first["rule"] == {"enter": 0.6, "exit": 0.35, "min_on": 1.5, "min_off": 0.6}
    assert other["rule"]["min_on"] == 0.4
    assert len(told["times"]) == len(first["scores"]) >= 1
    assert first["scores"] == pytest.approx([0.3] * len(first["scores"]), abs=1e-3)
    assert ask()["series"][0]["label"] == "calm"
    for wrong in (
        {"label": 5},
        {"since": "x"},
        {"until": now + 1e6},
        {"label": "nobody"},
        {"camera": 7},
        {"track": 9},
    ):
        with pytest.raises(BusError, match=r"\((bad_request|unknown)\)"):
            ask(**wrong)
    for wrong in ({"track": "7"}, {"track": True}, {"track": 7.0}):
        with pytest.raises(BusError, match="person's number"):
            ask(**wrong)
    features = subscriber.request("features", timeout=DEADLINE)
    assert features["pictures"] == {"live": False, "snapshots": False, "clips": False, "folder": None}
    assert features["marks"] is False
    assert features["models"] == {"demo": "demo"}
    assert features["labels"] == ["calm", "busy"]
