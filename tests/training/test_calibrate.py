"""Fitting thresholds and temperature, and the config file that comes out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.cli.command_line import main
from streamer.config import EventsConfig, LabelRule, ModelConfig, load_config
from streamer.errors import DatasetError
from streamer.pipeline.model_rules import tempered
from streamer.training.stream_scores import ScoredWindow, VideoResult
from streamer.training.threshold_fitting import count_false, fit_temperature, fit_thresholds
from tests.helpers import checkpoints
from tests.helpers.blinking_video import Bright, blinking
from tests.helpers.media import moving, write_clip

LABELS = ("idle", "wave", "walk")


def idle(*bumps: tuple[float, str, float], seconds: float = 400.0, hop: float = 0.5) -> VideoResult:
    """Idle footage in which a label's score goes up for 5 s at some times."""
    windows = []
    for end in np.arange(1.0, seconds, hop):
        values = np.array([0.9, 0.05, 0.05])
        for at, label, score in bumps:
            if at <= end < at + 5:
                values[:] = 0.0
                values[LABELS.index(label)], values[0] = score, 1 - score
        windows.append(ScoredWindow(end - 1, end, values))
    return VideoResult("idle.mp4", LABELS, tuple(windows), (), seconds)


def test_false_events_are_counted_as_the_program_would_publish_them() -> None:
    footage = idle((100, "wave", 0.8), (200, "wave", 0.7), (300, "walk", 0.6))
    assert dict(count_false([footage], EventsConfig(), ["idle"])) == {"wave": 2, "walk": 1}
    assert dict(count_false([footage], EventsConfig(ignore=("wave",)), ["idle"])) == {"walk": 1}
    assert "idle" in count_false([footage], EventsConfig(), [])


def test_only_the_guilty_label_is_raised_and_no_further_than_needed() -> None:
    footage = idle((100, "wave", 0.8), (200, "wave", 0.7), (300, "walk", 0.6))
    before, raised, left = fit_thresholds([footage], EventsConfig(), ["idle"], 2)
    assert (before, left) == (3, 2)
    assert set(raised) == {"wave"}
    rule = raised["wave"]
    assert rule.enter is not None
    assert 0.6 < rule.enter < 0.72, "above the weaker of the two, not above the stronger"
    assert rule.exit == pytest.approx(rule.enter * 0.35 / 0.5, abs=0.01)
    _, raised, left = fit_thresholds([footage], EventsConfig(), ["idle"], 0)
    assert left == 0
    assert raised.keys() == {"wave", "walk"}
    assert dict(count_false([footage], EventsConfig(thresholds=raised), ["idle"])) == {}


def test_quiet_footage_changes_nothing() -> None:
    assert fit_thresholds([idle()], EventsConfig(), ["idle"], 0) == (0, {}, 0)


def test_a_label_that_no_threshold_stops_is_named() -> None:
    with pytest.raises(DatasetError, match="'walk' has 1 false events even at"):
        fit_thresholds([idle((100, "walk", 1.0))], EventsConfig(), ["idle"], 0)


def test_own_rules_of_a_label_stay_with_it() -> None:
    events = EventsConfig(thresholds={"wave": LabelRule(enter=0.6, exit=0.3, min_on=1.0)})
    _, raised, _ = fit_thresholds([idle((100, "wave", 0.8))], events, ["idle"], 0)
    assert raised["wave"].min_on == 1.0
    assert raised["wave"].exit == pytest.approx((raised["wave"].enter or 0) / 2, abs=0.01)


@pytest.mark.training
@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 4.0), st.integers(0, 3))
def test_the_temperature_that_made_the_scores_is_found(true: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (6000, 5))
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice(5, p=row) for row in scores])
    assert fit_temperature(logits * true, truth) == pytest.approx(true, rel=0.12)


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=6), st.floats(0.2, 5.0))
def test_tempered_scores_are_those_of_divided_logits(logits: list[float], temperature: float) -> None:
    def softmax(values: Any) -> Any:
        powered = np.exp(values - np.max(values))
        return powered / powered.sum()

    values = np.array(logits)
    changed = tempered(softmax(values).astype(np.float32), temperature, independent=False)
    np.testing.assert_allclose(changed, softmax(values / temperature), atol=2e-4)
    sigmoid = 1 / (1 + np.exp(-values))
    independent = tempered(sigmoid.astype(np.float64), temperature, independent=True)
    np.testing.assert_allclose(independent, 1 / (1 + np.exp(-values / temperature)), atol=1e-6)


@pytest.mark.realtime
def test_the_program_uses_the_temperature(tmp_path: Path) -> None:
    from streamer.config import Config
    from streamer.training.play_videos import watch

    video = blinking(tmp_path / "b.mp4", 6.0)
    plain = watch(video, Config(), Bright())
    mild = watch(video, Config(model=ModelConfig(temperature=4.0)), Bright())
    assert len(plain.windows) == len(mild.windows)
    for one, other in zip(plain.windows, mild.windows, strict=True):
        assert other.scores.max() < one.scores.max()
        assert other.scores.argmax() == one.scores.argmax()


@pytest.mark.training
def test_the_command_writes_a_config_that_run_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sharpened random checkpoint says "waving" of everything; calibrated it does not."""
    model = checkpoints.save("timesformer", tmp_path / "model", streamer={"interval": 0.2})
    video = write_clip(tmp_path / "idle.mp4", moving(80), 10)
    words = ["calibrate", str(video), "--model", str(model), "--engine", "torch", "--target", "0"]
    words += ["--set", "events.enter=0.4", "--set", "events.exit=0.2"]
    out = tmp_path / "calibrated.yaml"
    assert main([*words, "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "false events before: " in said
    assert "before: 0" not in said, "a test in which nothing has to be raised shows nothing"
    assert "now: 0" in said
    assert "cannot show less" in said, "eight seconds prove little"
    config = load_config(out, {"cameras": [{"name": "a", "source": str(video)}]})
    assert config.model.id == str(model)
    assert config.events.enter == 0.4
    assert config.events.thresholds
    assert main(["evaluate", "--idle", str(video), "--config", str(out), "--engine", "torch"]) == 0
    assert " 0 false events" in capsys.readouterr().out
    assert main([*words, "-o", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.training
def test_temperature_from_labelled_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = checkpoints.save("timesformer", tmp_path / "model", streamer={"interval": 0.2})
    for label in ("waving", "walking"):
        (tmp_path / "data" / label).mkdir(parents=True)
        write_clip(tmp_path / "data" / label / "a.mp4", moving(20), 10)
    video = write_clip(tmp_path / "idle.mp4", moving(40), 10)
    out = tmp_path / "c.yaml"
    words = ["calibrate", str(video), "--model", str(model), "--engine", "torch", "--target", "1e6"]
    assert main([*words, "--clips", str(tmp_path / "data"), "-o", str(out)]) == 0
    temperature = load_config(out).model.temperature
    assert temperature != 1.0
    assert f"temperature {temperature:g}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone.mp4"], "there is no such video"),
        (["gone.mp4", "--target", "-1"], "0 or more"),
        ([], "required"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", *words]) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]
