"""Measuring streams and clips: the numbers against cases worked out by hand, the command on real files."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.cli.command_line import main
from streamer.config import Config
from streamer.demo.assets import clip_path, truth
from streamer.errors import DatasetError, ModelError, SourceOpenError
from streamer.recognition.recognizer import load_recognizer
from streamer.training import clip_scores, play_videos, stream_scores
from streamer.training.ground_truth import Segment, background_of, read_truth, write_truth
from streamer.training.play_videos import watch
from streamer.training.stream_scores import Counts, DetectedEvent, ScoredWindow, VideoResult
from streamer.training.timeline_svg import timeline
from tests.helpers import checkpoints
from tests.helpers.blinking_video import LABELS, Bright, blinking
from tests.helpers.media import moving, write_clip


def found(label: str, started: float, ended: float, decided: float | None = None) -> DetectedEvent:
    return DetectedEvent(label, started, started + 0.4 if decided is None else decided, ended)


def test_iou_of_intervals() -> None:
    assert stream_scores.iou((0, 4), (2, 6)) == pytest.approx(2 / 6)
    assert stream_scores.iou((0, 4), (0, 4)) == 1.0
    assert stream_scores.iou((0, 1), (1, 2)) == 0.0
    assert stream_scores.iou((0, 1), (5, 6)) == 0.0


def test_events_are_counted_once_and_best_first() -> None:
    true = [Segment(0, 4, "wave"), Segment(10, 14, "wave"), Segment(20, 24, "walk")]
    events = [
        found("wave", 0.5, 4.5),  # IoU 3.5 / 4.5
        found("wave", 1.0, 3.0),  # the same action again: false
        found("walk", 10, 14),  # wrong label: false, and the wave is missed
        found("walk", 22, 26),  # IoU 2 / 6
    ]
    assert stream_scores.match(true, events, 0.3) == [(0, 0), (2, 3)]
    assert stream_scores.count_events(true, events, 0.3) == Counts(2, 2, 1)
    assert stream_scores.count_events(true, events, 0.5) == Counts(1, 3, 2)
    counts = stream_scores.count_events(true, events, 0.5)
    assert (counts.precision, counts.recall) == (0.25, pytest.approx(1 / 3))
    assert counts.f1 == pytest.approx(2 / 7)


def test_an_event_goes_to_the_action_it_fits_best() -> None:
    true = [Segment(0, 10, "wave"), Segment(8, 14, "wave")]
    assert stream_scores.match(true, [found("wave", 8, 14)], 0.1) == [(1, 0)]


def test_shares_of_nothing_are_unknown_and_not_one() -> None:
    assert stream_scores.count_events([], [], 0.5) == Counts(0, 0, 0)
    assert Counts(0, 0, 0).f1 is None
    assert Counts(0, 0, 3).precision is None
    assert Counts(0, 0, 3).f1 == 0.0


segment = st.tuples(st.integers(0, 50), st.integers(1, 9), st.sampled_from(["wave", "walk"]))


@given(
    st.lists(segment, max_size=8), st.lists(segment, max_size=8), st.sampled_from(stream_scores.IOU_LIMITS)
)
def test_counts_add_up(true: Any, said: Any, limit: float) -> None:
    actions = [Segment(a, a + d, label) for a, d, label in true]
    events = [found(label, a, a + d) for a, d, label in said]
    pairs = stream_scores.match(actions, events, limit)
    counts = stream_scores.count_events(actions, events, limit)
    assert counts.tp + counts.fn == len(actions)
    assert counts.tp + counts.fp == len(events)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    for i, j in pairs:
        assert actions[i].label == events[j].label
    assert counts.tp >= stream_scores.count_events(actions, events, 1.0).tp
    mirrored = stream_scores.count_events(
        [Segment(e.started, e.ended, e.label) for e in events],
        [found(s.label, s.start, s.end) for s in actions],
        limit,
    )
    assert (mirrored.fp, mirrored.fn) == (counts.fn, counts.fp), "truth and events change places"


def test_delays_are_counted_from_the_true_start() -> None:
    true = [Segment(1, 5, "wave"), Segment(11, 15, "wave"), Segment(20, 24, "walk")]
    events = [found("wave", 1.5, 5, 1.9), found("wave", 12.1, 15, 12.5)]
    started, decided = stream_scores.delays(true, events)
    assert sorted(started) == pytest.approx([0.5, 1.1])
    assert sorted(decided) == pytest.approx([0.9, 1.5])
    assert stream_scores.quantiles(started) == {"median": 0.8, "p90": pytest.approx(1.04), "count": 2}
    assert stream_scores.quantiles([]) == {"median": None, "p90": None, "count": 0}


def test_average_precision_by_hand() -> None:
    # ranked: right, wrong, right -> (1/2) x 1 + (1/2) x 2/3
    values, positive = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    assert stream_scores.average_precision(values, positive) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert stream_scores.average_precision(values, np.zeros(4, bool)) is None
    # all equal: one step, so the share of positives, in whatever order they come
    assert stream_scores.average_precision(np.full(4, 0.5), positive) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30), st.randoms())
def test_average_precision_does_not_depend_on_order_or_scale(rows: Any, rng: Any) -> None:
    def value(items: Any) -> float | None:
        score, right = zip(*items, strict=True)
        return stream_scores.average_precision(np.array(score, float) ** 3 / 7, np.array(right, bool))

    shuffled = list(rows)
    rng.shuffle(shuffled)
    one, other = value(rows), value(shuffled)
    assert one == other or one == pytest.approx(other)
    assert one is None or 0.0 < one <= 1.0 + 1e-12


def scored(end: float, best: str, stable: str | None = None) -> ScoredWindow:
    values = np.array([0.9 if label == best else 0.05 for label in LABELS])
    return ScoredWindow(end - 1.0, end, values, stable)


def test_a_stream_measured_by_hand() -> None:
    windows = (
        scored(2, "idle"),
        scored(3, "wave"),  # inside the wave
        scored(4, "walk", "wave"),  # inside the wave, wrong
        scored(5, "wave", "wave"),  # ends with the wave: inside
        scored(6, "wave", "wave"),  # half out: not counted
        scored(62, "idle"),
    )
    watched = VideoResult("a.mp4", LABELS, windows, (found("wave", 3, 6, 3.4), found("idle", 0, 2)), 62.0)
    numbers = stream_scores.measure_streams(
        [(watched, [Segment(2, 5, "wave"), Segment(10, 60, "idle")])], ["idle"]
    )
    assert numbers["actions"] == 1
    assert numbers["windows_inside"] == 3
    assert numbers["window_accuracy"] == pytest.approx(2 / 3, abs=1e-4)
    assert numbers["events"]["0.5"] == {"tp": 1, "fp": 0, "fn": 0, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert numbers["events"]["0.7"]["f1"] == 0.0  # 2 / 4
    assert numbers["delay"]["started"]["median"] == 1.0
    assert numbers["delay"]["decided"]["median"] == 1.4
    assert numbers["label_changes_per_minute"] == {"raw": 4.0, "stable": 2.0, "truth": 1.0}
    # moments 2, 3, 4, 5 lie in the wave; ranked by its score: (3, 5, 6) then (2, 4, 62)
    assert numbers["frame_map"] == pytest.approx(2 / 4 * 2 / 3 + 2 / 4 * 4 / 6, abs=1e-4)


def test_false_events_an_hour_on_idle_footage() -> None:
    one = VideoResult("a.mp4", LABELS, (), (found("wave", 1, 2), found("idle", 3, 4)), 1200.0)
    two = VideoResult("b.mp4", LABELS, (), (), 600.0)
    numbers = stream_scores.measure_idle([one, two], ["idle"])
    assert numbers["false_events"] == 1
    assert numbers["false_events_per_hour"] == 2.0
    assert numbers["false_events_by_file"] == {"a.mp4": 1, "b.mp4": 0}
    assert stream_scores.measure_idle([], [])["false_events_per_hour"] is None


def test_clips_measured_by_hand() -> None:
    values = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.4, 0.5, 0.1]])
    numbers = clip_scores.measure_clips(values, np.array([0, 1, 1, 0]), LABELS)
    assert (numbers["top1"], numbers["top5"]) == (0.5, 1.0)
    assert numbers["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert numbers["macro_f1"] == 0.5
    assert set(numbers["by_label"]) == {"idle", "wave"}, "walk does not occur: it cannot be measured"
    assert clip_scores.top_k(values[2:3], np.array([0]), 2) == 1.0, "equal scores: in the order of the labels"
    assert clip_scores.top_k(values[2:3], np.array([2]), 2) == 0.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("start,end\n0,1\n", "lacks the column label"),
        ("start,end,label\n3,2,wave\n", "line 2"),
        ("start,end,label\nx,2,wave\n", "must be a number of seconds, found 'x'"),
        ("start,end,label\n0,inf,wave\n", "must be a number"),
        ("start,end,label\n0,3,wave\n2,5,wave\n", "overlap"),
        ("start,end,label\n0,3\n", "line 2"),
    ],
)
def test_wrong_truth_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "t.csv"
    file.write_text(text)
    with pytest.raises(DatasetError, match=said):
        read_truth(file)


def test_truth_survives_writing(tmp_path: Path) -> None:
    segments = (Segment(0.5, 2.25, "wave"), Segment(2.25, 3.0, "walk, fast"))
    write_truth(tmp_path / "t.csv", segments)
    assert read_truth(tmp_path / "t.csv") == segments


def test_background_labels() -> None:
    assert background_of(LABELS, None) == ("idle",)
    assert background_of(LABELS, None, own=("walk",)) == ("walk",)
    assert background_of(LABELS, ["wave"]) == ("wave",)
    with pytest.raises(DatasetError, match="no label of the model"):
        background_of(LABELS, ["waving"])


@pytest.mark.usefixtures("no_thread_left")
def test_watching_is_the_program_itself(tmp_path: Path) -> None:
    recognizer = Bright()
    watched = watch(blinking(tmp_path / "b.mp4"), Config(), recognizer)
    assert not recognizer.closed, "it can be used for the next video"
    ends = [window.end for window in watched.windows]
    assert np.allclose(np.diff(ends), 0.1, atol=1e-3), "every hop, nothing skipped"
    waves = [event for event in watched.events if event.label == "wave"]
    assert len(waves) == 1
    assert 4.0 <= waves[0].started <= 4.6
    assert waves[0].decided - waves[0].started == pytest.approx(0.4, abs=0.11)
    numbers = stream_scores.measure_streams([(watched, [Segment(4, 7.9, "wave")])], ["idle"])
    assert numbers["events"]["0.7"]["f1"] == 1.0
    assert numbers["window_accuracy"] == 1.0


def test_groups_of_labels_are_measured_as_one(tmp_path: Path) -> None:
    config = Config.model_validate({"events": {"groups": {"moving": ["wave", "walk"]}}})
    watched = watch(blinking(tmp_path / "b.mp4"), config, Bright())
    assert watched.labels == ("idle", "moving")
    assert {event.label for event in watched.events} == {"idle", "moving"}
    assert all(window.scores.shape == (2,) for window in watched.windows)


def test_numbers_of_a_run_that_lost_messages_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(self: Any, topic: str, message: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(play_videos._Collector, "send", send)
    monkeypatch.setattr("streamer.pipeline.pipeline.Pipeline.warn", lambda *_: None)  # notes do not matter
    with pytest.raises(ModelError, match=r"\d+ messages were lost"):
        watch(blinking(tmp_path / "b.mp4"), Config(), Bright())


@pytest.mark.realtime
def test_what_a_model_kept_of_one_video_is_not_used_for_the_next(tmp_path: Path) -> None:
    """A model of single frames remembers their logits by camera and number: both videos have the same."""
    other, video = write_clip(tmp_path / "a.mp4", moving(120), 10), blinking(tmp_path / "b.mp4")
    config = Config.model_validate({"model": {"id": str(checkpoints.shared("vit"))}})
    recognizer = load_recognizer(config.model)
    alone = watch(video, config, recognizer)
    recognizer.forget("video")
    before = watch(other, config, recognizer)
    after = watch(video, config, recognizer)
    recognizer.close()
    told = [window.scores.tolist() for window in after.windows]
    assert told == [window.scores.tolist() for window in alone.windows]
    assert told[: len(before.windows)] != [window.scores.tolist() for window in before.windows]


def test_a_video_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError, match=r"gone\.mp4"):
        watch(tmp_path / "gone.mp4", Config(), Bright())


def test_the_picture_is_an_svg_with_truth_scores_and_events() -> None:
    windows = tuple(scored(end, "wave", "wave") for end in range(1, 9))
    watched = VideoResult("<a & b>.mp4", LABELS, windows, (found("wave", 2, 6),), 8.0)
    root = ElementTree.fromstring(timeline(watched, [Segment(1, 5, "wave")]))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "<a & b>.mp4" in texts
    assert set(LABELS) <= set(texts)
    assert any("2.0 to 6.0 s" in (t.text or "") for t in root.iter("{http://www.w3.org/2000/svg}title"))


@pytest.mark.training
def test_the_command_on_streams_idle_and_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = checkpoints.save(
        "timesformer", tmp_path / "model", streamer={"interval": 0.2, "background": ["walking"]}
    )
    video = write_clip(tmp_path / "v.mp4", moving(50), 10)
    write_truth(video.with_suffix(".csv"), [Segment(1, 3, "waving")])
    for label in ("waving", "walking"):
        folder = tmp_path / "data" / label
        folder.mkdir(parents=True)
        write_clip(folder / "a.mp4", moving(20), 10)
    out = tmp_path / "out"
    words = [
        str(video),
        str(tmp_path / "data"),
        "--idle",
        str(video),
        "--model",
        str(model),
        "--out",
        str(out),
    ]
    assert main(["evaluate", *words, "--json", "--engine", "torch"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((out / "report.json").read_text())
    assert report["background"] == ["walking"], "the checkpoint's own"
    assert report["streams"]["files"] == report["idle"]["files"] == 1
    assert report["streams"]["windows"] == report["idle"]["windows"] > 20
    assert report["clips"]["clips"] == 2
    assert {"v.svg", "idle-v.svg", "confusion.csv", "confusion.png"} <= {p.name for p in out.iterdir()}
    assert main(["evaluate", str(video), "--model", str(model), "--engine", "torch"]) == 0
    assert "events, IoU" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a data set"),
        (["gone.mp4"], "there is no gone.mp4"),
        ([str(clip_path().with_name("LICENCES.md"))], "has no truth"),
        ([str(clip_path()), "--background", "fog"], "no label of the model"),
        (["--idle", "gone"], "no such video"),
        ([str(clip_path()), "--truth", "gone.csv"], "--truth gone.csv: there is no such file"),
        ([str(clip_path()), "--set", "events.ignore=[fog]"], "is not a label"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--engine", "torch", *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in lines[-1]


def test_truth_with_a_label_that_the_model_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "t.csv"
    write_truth(file, [Segment(0, 1, "flying")])
    assert main(["evaluate", str(clip_path()), "--truth", str(file), "--engine", "torch"]) == 2
    assert "no label 'flying'" in capsys.readouterr().err


def test_the_bundled_truth_has_the_form_that_evaluate_reads() -> None:
    assert [(s.start, s.end, s.label) for s in read_truth(clip_path().with_suffix(".csv"))] == truth()
