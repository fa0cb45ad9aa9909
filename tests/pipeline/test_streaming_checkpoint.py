"""A streaming checkpoint in the rest of the program: evaluate, calibrate, motion gate, beside another model,
uncertain windows, recording.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from streamer.bench import machine_limits, measure
from streamer.bench.streaming_runners import StreamingRunners
from streamer.cli.command_line import main
from streamer.config import (
    CameraConfig,
    Config,
    EventsConfig,
    ModelConfig,
    RecordingConfig,
    UncertainConfig,
    load_config,
)
from streamer.demo import assets
from streamer.training.video_frames import read_frames, scan
from tests.helpers.media import moving, write_beginning, write_clip
from tests.helpers.pipelines import QUIET, watch
from tests.helpers.streaming_parts import save_streaming

pytestmark = pytest.mark.realtime  # videos are played through the whole program
REACH = (4 + 1) * (8 - 1) + 1  # frames that its answer depends on
SECONDS = 20  # of the demo's clip: five of its actions
TICKS = 5 * SECONDS  # about: one each 0.2 s


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_streaming(tmp_path_factory.mktemp("checkpoints") / "streaming")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of the demo's clip, with its labels beside it."""
    path = write_beginning(tmp_path_factory.mktemp("film") / "clip.mp4", assets.clip_path(), SECONDS)
    labels = [row for row in assets.truth() if row[1] <= SECONDS]
    rows = ["start,end,label", *(",".join(map(str, row)) for row in labels)]
    path.with_suffix(".csv").write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of one picture."""
    picture = next(moving(1))
    return write_clip(tmp_path_factory.mktemp("still") / "still.mp4", [picture] * 120, 10)


def on(model: Path, **more: Any) -> ModelConfig:
    return ModelConfig(id=str(model), device="cpu", **more)


def camera(path: Path) -> CameraConfig:
    return CameraConfig(name="c", source=str(path))


def test_evaluate_measures_it_against_its_teacher(
    streaming: Path, film: Path, still: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["evaluate", str(film), "--idle", str(still), "--model", str(streaming)]
    words += ["--against", "demo", "--device", "cpu", "--out", str(out)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "figure" in shown
    report = json.loads((out / "report.json").read_text())
    assert [report["model"]["name"], report["against"]["model"]["name"]] == ["streaming", "demo"]
    for one in (report, report["against"]):
        assert abs(one["streams"]["windows"] - TICKS) < 10
        assert one["streams"]["window_accuracy"] is not None
    row = next(line for line in shown.splitlines() if line.lstrip().startswith("windows inside an action, r"))
    shares = [float(word) for word in row.replace("%", "").split()[-3:]]
    assert shares[0] == pytest.approx(100 * report["streams"]["window_accuracy"], abs=0.06)
    assert shares[1] == pytest.approx(100 * report["against"]["streams"]["window_accuracy"], abs=0.06)
    assert shares[2] == pytest.approx(shares[0] - shares[1], abs=0.11)
    assert {path.name for path in (out / "against").iterdir()} == {"clip.svg", "idle-still.svg"}


def test_evaluate_against_itself_differs_nowhere(
    streaming: Path, still: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--idle", str(still), "--model", str(streaming), "--against", str(streaming)]
    assert main([*words, "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].split() == ["figure", "streaming", "streaming", "(against)", "difference"]
    assert [line.split()[-1] for line in lines[-2:]] == ["+0.000", "+0.000"]


def test_evaluate_takes_labelled_clips_as_streams_of_their_own(
    streaming: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("waving", "still"):
        (tmp_path / label).mkdir()
        write_clip(tmp_path / label / "a.mp4", moving(30), 10)
    assert main(["evaluate", str(tmp_path), "--model", str(streaming), "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clips"]["clips"] == 2


def test_calibrate_fits_thresholds_for_it(streaming: Path, still: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.yaml"
    words = ["calibrate", str(still), "--model", str(streaming), "--device", "cpu", "--target", "0"]
    assert main([*words, "-o", str(out)]) == 0
    assert load_config(out).model.id == str(streaming.resolve())


def gated(path: Path, model: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What it says of a file without the motion gate, and with it."""
    found = []
    for gate in (False, True):
        config = Config(cameras=(camera(path),), model=on(model, motion_gate=gate), **QUIET)
        result, sink = watch(config)
        assert result.ok
        found.append(sink.of("prediction"))
    return found[0], found[1]


def test_a_held_tick_is_not_seen_by_the_model(streaming: Path, still: Path) -> None:
    every, held = gated(still, streaming)
    assert [m["window"]["media_end"] for m in held] == [m["window"]["media_end"] for m in every]
    assert [m.get("held", False) for m in held] == [False] * REACH + [True] * (len(held) - REACH)
    assert len(held) > REACH + 15
    assert held[REACH - 1]["top"] == held[-1]["top"]


def test_what_is_held_is_what_it_says_once_it_has_forgotten_the_movement(
    streaming: Path, tmp_path: Path
) -> None:
    """T still frames are not enough: its deeper layers still know of the movement before them."""
    times = scan(assets.clip_path()).times
    frames = read_frames(assets.clip_path(), times, range(25 * 25, 33 * 25), np.copy)
    path = write_clip(tmp_path / "v.mp4", [*frames, *[frames[-1]] * 25 * 10], 25)
    every, held = gated(path, streaming)
    pairs = [(m, n) for m, n in zip(every, held, strict=True) if n.get("held")]
    assert len(pairs) > 5
    for computed, said in pairs:
        scores = [{item["label"]: item["score"] for item in m["top"]} for m in (computed, said)]
        assert scores[0] == pytest.approx(scores[1], abs=0.01)


def test_beside_a_window_model_on_one_camera(streaming: Path, film: Path) -> None:
    models = [{"id": str(streaming)}, {"id": "demo", "hop": 0.2}]
    cameras = [{"name": "demo", "source": str(film), "models": models}]
    result, sink = watch(Config.model_validate({**QUIET, "cameras": cameras}))
    assert result.ok
    counts: dict[str, int] = {}
    for message in sink.of("prediction"):
        counts[message["model"]] = counts.get(message["model"], 0) + 1
    assert len(counts) == 2
    assert all(abs(count - TICKS) < 15 for count in counts.values())


def test_uncertain_windows_of_it_are_saved(streaming: Path, film: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unsure"
    uncertain = UncertainConfig(folder=str(folder), margin=0.99, least=0.0, every=1.0, scores="raw")
    result, _ = watch(Config(cameras=(camera(film),), model=on(streaming), uncertain=uncertain, **QUIET))
    assert result.ok
    rows = (folder / "labels.csv").read_text().splitlines()
    assert len(rows) > 1
    clips = list(folder.glob("*/*/*.mp4"))
    assert len(clips) == len(rows) - 1


def test_its_events_are_recorded(streaming: Path, film: Path, tmp_path: Path) -> None:
    recording = RecordingConfig(folder=str(tmp_path / "clips"), clips=True, pre_roll=0.5, post_roll=0.5)
    events = EventsConfig(enter=0.2, exit=0.1, min_on=0.0)
    config = Config(cameras=(camera(film),), model=on(streaming), events=events, recording=recording, **QUIET)
    result, sink = watch(config)
    assert result.ok
    assert any(message["event"]["phase"] == "end" for message in sink.of("event"))
    assert list((tmp_path / "clips").rglob("*.mp4"))


def test_its_memory_is_what_the_formula_says(streaming: Path) -> None:
    from transformers import TimesformerForVideoClassification

    from streamer.recognition.families.streaming_timesformer import StreamingTimesformer

    model = TimesformerForVideoClassification.from_pretrained(streaming)
    state = StreamingTimesformer(model, fused=False).new_state(3)
    layers, ages, patches, width = 4, 8, 16, 192
    assert state.bytes_per_camera == layers * ages * (2 * patches + 1) * width * np.float32().itemsize


def test_bench_measures_its_steps(
    streaming: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    class Ways(StreamingRunners):
        def __init__(self, recognizer: Any, eager: Any, clip: Any, tensors: Any = None) -> None:
            given.append(tensors)
            super().__init__(recognizer, eager, clip, tensors)

    monkeypatch.setattr(measure, "StreamingRunners", Ways)
    monkeypatch.setattr(machine_limits, "ROWS", 64)  # the machine's own peak is not what is asked for here
    words = ["--device", "cpu", "--engines", "torch", "--precisions", "fp32", "--size", "160x120"]
    assert (
        main(["bench", "--model", str(streaming), *words, "--rounds", "1", "--cameras", "1", "--json"]) == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert [result["way"] for result in report["results"]] == ["transformers", "streaming"]
    assert all(result["model_ms"] > 0 for result in report["results"])
    assert any("computes its weights as a model of windows" in note for note in report["notes"])
    own = {
        name: tensor
        for name, tensor in load_file(streaming / "model.safetensors").items()
        if name in given[0]
    }
    assert own.keys() == given[0].keys()
    assert all(torch.equal(own[name], given[0][name]) for name in own), "the checkpoint's own tables"


def test_models_show_says_that_it_streams(streaming: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for model in (str(streaming), "demo"):
        assert main(["models", "show", model, "--json"]) == 0
        shown.append(json.loads(capsys.readouterr().out))
    assert any("a streaming model" in note for note in shown[0]["notes"])
    assert 7 < shown[1]["gflop"] / shown[0]["gflop"] <= 8.1, "one frame instead of eight"
