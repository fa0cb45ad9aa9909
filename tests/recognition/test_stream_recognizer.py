"""A streaming checkpoint as the program uses it: known by its config, its state bounded, run to the end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamer.config import CameraConfig, Config, ModelConfig
from streamer.demo import assets
from streamer.errors import ConfigError, ModelError, WindowShapeError
from streamer.pipeline.model_rules import hop_of
from streamer.recognition.checkpoints.checkpoint import open_checkpoint
from streamer.recognition.engines.torch_stream import TorchStream
from streamer.recognition.families.stream_recognizer import StreamRecognizer
from streamer.types import Frame, Step, Window
from tests.helpers.media import write_beginning
from tests.helpers.model_parts import edit, load, refused
from tests.helpers.pipelines import QUIET, Collect, watch
from tests.helpers.streaming_parts import save_streaming, teacher

SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_streaming(tmp_path_factory.mktemp("checkpoints") / "streaming")


@pytest.fixture
def recognizer(folder: Path) -> StreamRecognizer:
    loaded: StreamRecognizer = load(folder)
    return loaded


def frames(count: int, camera: str = "cam") -> list[Frame]:
    rng = np.random.default_rng(len(camera))
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    return [Frame(camera, i, 0, 0.2 * i, 0.2 * i, 0.0, None, image) for i, image in enumerate(images)]


def window(steps: list[Frame], *, begins: bool = False, stream: int = 0) -> Window:
    seen = tuple(Step(stream, f, begins=begins and n == 0) for n, f in enumerate(steps))
    return Window(steps[0].camera, 1, tuple(steps[-8:]), 0.2, steps=seen)


def test_its_config_says_that_it_streams(recognizer: StreamRecognizer) -> None:
    assert recognizer.spec.streaming
    assert (recognizer.spec.frames, recognizer.spec.interval, recognizer.spec.lag) == (8, 0.2, 0.45)
    recognizer.warm_up()


def test_one_frame_after_the_other_or_several_at_once_are_the_same(recognizer: StreamRecognizer) -> None:
    shown = frames(20)
    singly = [recognizer.predict([window([f], begins=not n)])[0] for n, f in enumerate(shown)]
    recognizer.forget("cam")
    together = [recognizer.predict([window(shown[n : n + 4])])[0] for n in range(0, 20, 4)]
    assert np.allclose(singly[3::4], together, atol=1e-5)
    assert not np.allclose(singly[-1], recognizer.predict([window(shown[-1:], begins=True)])[0], atol=1e-3)


def test_cameras_and_interleaved_streams_do_not_meet(recognizer: StreamRecognizer) -> None:
    one, other = frames(12), frames(12, "another")
    alone = [recognizer.predict([window([f], begins=not n)])[0] for n, f in enumerate(one)]
    recognizer.forget("cam")
    mixed = []
    for n, (mine, theirs) in enumerate(zip(one, other, strict=True)):
        pair = recognizer.predict([window([theirs], begins=not n), window([mine], begins=not n)])
        recognizer.predict([window([theirs], begins=not n, stream=1)])
        mixed.append(pair[1])
    assert np.allclose(alone, mixed, atol=1e-5)


def test_what_it_remembers_is_given_back_and_used_again(recognizer: StreamRecognizer) -> None:
    for number in range(50):
        camera = f"cam{number}"
        recognizer.predict([window(frames(2, camera), begins=True)])
        recognizer.forget(camera)
    engine = recognizer.engine
    assert isinstance(engine, TorchStream)
    assert len(engine.state.frames) == 1
    recognizer.predict([window(frames(1, camera), begins=True) for camera in ("a", "b", "c")])
    assert len(engine.state.frames) == 3


def test_a_window_of_a_labelled_clip_is_a_stream_of_its_own(recognizer: StreamRecognizer) -> None:
    shown = frames(8)
    clip = Window("clips", 1, tuple(shown), 0.2)
    first, again = recognizer.predict([clip])[0], recognizer.predict([clip])[0]
    assert np.array_equal(first, again)
    assert np.allclose(first, recognizer.predict([window(shown, begins=True)])[0], atol=1e-6)


def test_frames_of_another_size_and_a_closed_recognizer_are_refused(recognizer: StreamRecognizer) -> None:
    wrong = Frame("cam", 0, 0, 0.0, 0.0, 0.0, None, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(WindowShapeError, match=r"\(64, 64, 3\)"):
        recognizer.predict([window([wrong])])
    recognizer.close()
    with pytest.raises(ModelError, match="closed"):
        recognizer.predict([window(frames(1), begins=True)])


def test_a_step_that_fails_is_one_error_and_its_stream_begins_anew(recognizer: StreamRecognizer) -> None:
    shown = frames(6)
    recognizer.predict([window(shown[:4], begins=True)])
    engine = recognizer.engine
    assert isinstance(engine, TorchStream)
    norm, engine.model.norm = engine.model.norm, torch.nn.Unflatten(-1, (7, 7))
    with pytest.raises(ModelError, match="failed on"):
        recognizer.predict([window(shown[4:5])])
    engine.model.norm = norm
    after = recognizer.predict([window(shown[5:])])[0]
    assert np.allclose(after, recognizer.predict([window(shown[5:], begins=True)])[0], atol=1e-6)


def test_plain_transformers_still_loads_it_as_a_model_of_windows(folder: Path) -> None:
    from transformers import TimesformerForVideoClassification

    plain = TimesformerForVideoClassification.from_pretrained(folder).eval()
    pixels = torch.randn(1, 8, 3, SIZE, SIZE)
    with torch.inference_mode():
        assert torch.allclose(plain(pixels).logits, teacher()(pixels).logits, atol=1e-5)


def test_a_checkpoint_without_its_tables_is_refused(tmp_path: Path) -> None:
    teacher().save_pretrained(tmp_path)
    edit(tmp_path / "config.json", streamer={"interval": 0.2, "streaming": True})
    source = json.loads((tmp_path / "config.json").read_text())
    assert source["streamer"]["streaming"]
    shutil.copy(assets.checkpoint_path() / "preprocessor_config.json", tmp_path)
    refused(tmp_path, r"says that it is a streaming model, but .*streaming\.\w+ is missing")


@pytest.mark.parametrize(("hop", "given"), [(None, 0.2), (0.1, 0.1), (0.2, 0.2)])
def test_its_hop_is_its_interval_or_a_part_of_it(
    recognizer: StreamRecognizer, hop: float | None, given: float
) -> None:
    assert hop_of(ModelConfig(id="x", hop=hop), recognizer.spec) == given


def test_any_other_hop_is_refused_with_a_sentence(recognizer: StreamRecognizer) -> None:
    with pytest.raises(ConfigError, match=r"its hop is 0\.2 s or that divided by 2, 3"):
        hop_of(ModelConfig(id="x", hop=0.3), recognizer.spec)


@pytest.mark.realtime
@pytest.mark.parametrize("hop", [None, 0.1], ids=["interval", "half of it"])
def test_a_file_played_fast_gives_the_same_every_time_and_misses_no_tick(
    folder: Path, hop: float | None, tmp_path: Path
) -> None:
    film = write_beginning(tmp_path / "demo.mp4", assets.clip_path(), 20)

    def rows() -> list[Any]:
        model, camera = ModelConfig(id=str(folder), hop=hop), CameraConfig(name="demo", source=str(film))
        result, sink = watch(Config(cameras=(camera,), model=model, duration=None, **QUIET))
        assert result.ok
        assert isinstance(sink, Collect)
        return [(m["window"]["media_end"], str(m["top"])) for m in sink.of("prediction")]

    first = rows()
    assert first[0][0] < 0.1  # the first frame is the first prediction
    ends = [end for end, _ in first]
    steps = np.diff(ends)
    assert np.allclose(steps, hop or 0.2, atol=0.05)
    assert len(first) > 20 / (hop or 0.2) - 3
    if hop is None:
        assert rows() == first


def test_its_short_name_is_a_folders_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_checkpoint("streaming").name == assets.STREAMING
    shutil.copytree(assets.checkpoint_path(), tmp_path / "streaming")
    own = open_checkpoint("streaming")
    assert (own.name, own.folder.resolve()) == ("streaming", tmp_path.resolve() / "streaming")


def test_the_bundled_one_is_had_by_name_and_recommends_its_events() -> None:
    recognizer: StreamRecognizer = load(assets.STREAMING)
    spec = recognizer.spec
    assert (spec.name, spec.streaming, spec.interval, spec.precision) == ("demo-streaming", True, 0.2, "fp32")
    assert dict(spec.events)["half_life"] > 0
    assert spec.labels == load(assets.WINDOW).spec.labels
    total = sum(file.stat().st_size for file in assets.FOLDER.rglob("*") if file.is_file())
    assert total < 25e6
