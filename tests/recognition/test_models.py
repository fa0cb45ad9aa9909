"""Checkpoints are found, fetched once, and described from their own files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints import registry
from streamer.recognition.checkpoints.describe import describe, gflop
from streamer.types import Frame, Window
from tests.helpers.checkpoints import LABELS, SIZE, save, shared
from tests.helpers.hub_server import hub
from tests.helpers.model_parts import edit, load, refused

torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of one's own to change."""
    return save("timesformer", tmp_path / "mine")


# Where a checkpoint comes from


def test_a_folder_by_its_name(folder: Path) -> None:
    recognizer = load(folder)
    assert recognizer.spec.name == "mine"
    assert recognizer.spec.family == "timesformer"
    assert recognizer.spec.labels == LABELS
    assert (recognizer.spec.device, recognizer.spec.precision) == ("cpu", "fp32")


def test_a_hub_id_from_the_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache's own layout, as a download leaves it; the registry's interval and licence apply."""
    model = "facebook/timesformer-base-finetuned-k400"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refused(model, "not on this machine and HF_HUB_OFFLINE forbids")
    assert not registry.cached(model)
    repository = tmp_path / "models--facebook--timesformer-base-finetuned-k400"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = save("timesformer", repository / "snapshots" / commit)
    assert registry.cached(model)
    spec = load(model).spec
    assert (spec.name, spec.licence) == (model, "CC-BY-NC-4.0")
    assert spec.interval == pytest.approx(32 / 30)
    (snapshot / "model.safetensors").unlink()  # an interrupted download is no checkpoint
    assert not registry.cached(model)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("./nowhere", "no such folder"),
        ("/nowhere/at/all", "no such folder"),
        ("a/b/c", "no such folder"),
        ("", "no such folder|has no config.json"),
        ("http://example.org/model", "no such folder"),
        ("owner/unheard-of", "not on this machine"),
    ],
)
def test_a_model_that_is_nowhere(model: str, words: str) -> None:
    refused(model, words)


def in_a_process(code: str, home: Path, **environment: str) -> list[str]:
    """Lines that `code` prints in a process of its own: the Hub's client reads its settings once."""
    given = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**given, "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.realtime
def test_without_a_network_the_answer_comes_at_once_and_in_one_line(tmp_path: Path) -> None:
    code = """
import time
from streamer.config import ModelConfig
from streamer.errors import ModelLoadError
from streamer.recognition.recognizer import load_recognizer
started = time.monotonic()
try:
    load_recognizer(ModelConfig(id="facebook/timesformer-base-finetuned-k400", device="cpu"))
except ModelLoadError as error:
    print(error)
print(time.monotonic() - started < 20)
"""
    # port 9 of loopback is closed
    message, in_time = in_a_process(code, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert "is not on this machine and the Hub cannot be reached" in message
    assert in_time == "True"


@pytest.mark.realtime
def test_a_hub_id_is_fetched_once_and_only_what_a_model_needs(folder: Path, tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "tf_model.h5", "training_args.bin", "model.onnx"):
        (folder / name).write_bytes(b"not wanted")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    fetch = """
from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints import hub, registry
print(registry.cached("owner/model"))
hub.download("owner/model")
try:
    hub.download("owner/other")
except ModelLoadError as error:
    print(error)
"""
    use = """
from streamer.recognition.checkpoints import describe, registry
print(registry.cached("owner/model"), describe.describe("owner/model")["licence"])
"""
    home = tmp_path / "home"
    with hub(folder) as (address, fetched):
        before, other = in_a_process(fetch, home, HF_ENDPOINT=address)
    assert before == "False"
    assert "model owner/other: the Hub has none of that name that you may read" in other
    wanted = ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    assert sorted(fetched) == wanted
    # and from then on without the Hub
    assert in_a_process(use, home, HF_HUB_OFFLINE="1") == ["True mit"]


# What a checkpoint says of itself


def test_where_the_interval_comes_from(tmp_path: Path) -> None:
    """Asked for, before the checkpoint's own, before the published table, before the family's."""
    published = save("timesformer", tmp_path / "timesformer-base-finetuned-ssv2")
    assert load(published).spec.interval == 0.5  # 8 frames over a clip of 4 s
    edit(published / "config.json", streamer={"interval": 0.3, "licence": "MIT"})
    recognizer = load(published)
    assert recognizer.spec.interval == 0.3
    assert recognizer.spec.span == pytest.approx(0.9)
    assert recognizer.spec.notes == ()
    assert load(published, interval=0.7).spec.interval == 0.7
    own = load(save("timesformer", tmp_path / "own"))
    assert own.spec.interval == pytest.approx(32 / 30)
    assert "1.067 s is taken" in own.spec.notes[0]
    assert "--interval changes it" in own.spec.notes[0]


def test_where_the_licence_comes_from(folder: Path) -> None:
    assert load(folder).spec.licence is None
    (folder / "README.md").write_text(
        "---\ntags:\n- video\nlicense: cc-by-nc-4.0\n---\n# A model\nlicense: wrong\n"
    )
    assert load(folder).spec.licence == "cc-by-nc-4.0"
    (folder / "README.md").write_text("# A model\nlicense: not-front-matter\n")
    assert load(folder).spec.licence is None
    edit(folder / "config.json", streamer={"licence": "Apache-2.0"})
    assert load(folder).spec.licence == "Apache-2.0"


def test_labels_are_cleaned_and_told_apart(folder: Path) -> None:
    edit(folder / "config.json", id2label={"0": " waving\n a hand ", "1": "walking", "2": "walking"})
    recognizer = load(folder)
    assert recognizer.spec.labels == ("waving a hand", "walking", "walking (2)")
    assert any("stands 2 times" in note for note in recognizer.spec.notes)
    edit(folder / "config.json", id2label={"0": "", "1": "walking", "2": "x"})
    assert load(folder).spec.labels == ("class 0", "walking", "x")
    edit(folder / "config.json", id2label={f"{i}": f"LABEL_{i}" for i in range(3)})
    assert any("does not name its 3 labels" in note for note in load(folder).spec.notes)
    edit(folder / "config.json", id2label={"0": "a", "1": "a", "2": "a (2)"})
    refused(folder, "cannot be told apart")


def test_what_models_show_tells(folder: Path) -> None:
    edit(folder / "config.json", streamer={"interval": 0.25, "licence": "MIT"})
    told = describe(str(folder))
    assert json.loads(json.dumps(told)) == told
    assert (told["family"], told["kind"], told["licence"]) == ("timesformer", "video", "MIT")
    assert (told["frames"], told["interval"], told["span"]) == (4, 0.25, 0.75)
    assert (told["size"], told["mean"], told["std"]) == ([SIZE, SIZE], [0.45] * 3, [0.225] * 3)
    assert (told["labels"], told["label_names"]) == (3, list(LABELS))
    assert told["gflop"] > 0
    frame_model = describe(str(shared("vit")))
    assert (frame_model["kind"], frame_model["frames"], frame_model["interval"]) == ("frame", 8, 0.25)
    absent = describe("MCG-NJU/videomae-base-finetuned-kinetics")
    assert (absent["frames"], absent["span"], absent["mean"]) == (16, pytest.approx(2.0), None)
    assert "streamer models get" in absent["notes"][0]
    with pytest.raises(ModelLoadError, match="not on this machine"):
        describe("owner/unheard-of")


def test_gflop_are_the_papers() -> None:
    """Multiply-adds of the papers' tables: 196, 1703 and 2380 G for TimeSformer, 180 G for VideoMAE base."""
    timesformer = {"model_type": "timesformer"}
    assert gflop(timesformer, 8, (224, 224)) == pytest.approx(2 * 196, rel=0.01)
    assert gflop(timesformer, 16, (448, 448)) == pytest.approx(2 * 1703, rel=0.01)
    assert gflop(timesformer, 96, (224, 224)) == pytest.approx(2 * 2380, rel=0.01)
    assert gflop({"model_type": "videomae"}, 16, (224, 224)) == pytest.approx(2 * 180, rel=0.01)
    assert gflop({"model_type": "vit"}, 8, (224, 224)) == pytest.approx(2 * 17.6, rel=0.01)
    assert gflop({"model_type": "resnet"}, 8, (224, 224)) is None


def test_gflop_are_what_torch_counts() -> None:
    """The formula against torch's own counter on transformers' forward of the small checkpoints."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForImageClassification, AutoModelForVideoClassification

    for family, shape in {
        "timesformer": (1, 4, 3, SIZE, SIZE),
        "videomae": (1, 6, 3, SIZE, SIZE),
        "vivit": (1, 8, 3, SIZE, SIZE),
        "vit": (1, 3, SIZE, SIZE),
    }.items():
        auto = AutoModelForImageClassification if family == "vit" else AutoModelForVideoClassification
        model = auto.from_pretrained(shared(family), attn_implementation="eager")
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            model(torch.zeros(shape))
        config = json.loads((shared(family) / "config.json").read_text())
        frames = shape[1] if len(shape) == 5 else 1
        assert gflop(config, frames, (SIZE, SIZE)) == pytest.approx(
            counter.get_total_flops() * 1e-9, rel=0.02
        ), family


def test_the_table_of_published_checkpoints_is_sound() -> None:
    models = registry.known()
    assert len({model.id for model in models}) == len(models)
    base = registry.find("facebook/timesformer-base-finetuned-k400")
    assert base is not None
    assert (base.frames, base.size, base.licence) == (8, 224, "CC-BY-NC-4.0")
    assert base.interval == pytest.approx(1.067, abs=1e-3)
    assert base.span == pytest.approx(7.5, abs=0.05)
    assert registry.find("timesformer-base-finetuned-k400") is base  # a folder of that name
    assert registry.find("owner/timesformer-of-mine") is None
    for model in models:
        assert 0 < model.interval < 2
        assert 0 < model.span < 15
        assert model.kind in ("video", "frame", "words")
        if model.family == "timesformer":
            counted = gflop({"model_type": "timesformer"}, model.frames, (model.size, model.size))
            assert model.gflop == pytest.approx(counted, rel=0.01), model.id


def test_the_package_imports_no_torch() -> None:
    code = "import sys, streamer.recognition.recognizer, streamer.recognition.checkpoints.registry\n"
    code += "import streamer.recognition.checkpoints.describe\n"
    code += "print(sorted({'torch', 'transformers', 'cv2', 'PIL'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.soak
def test_a_full_size_timesformer_base(tmp_path: Path) -> None:
    """121 million parameters, 480 MB on disk: the same scores as plain transformers."""
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    torch.manual_seed(0)
    labels = {i: f"action {i}" for i in range(400)}
    model = TimesformerForVideoClassification(TimesformerConfig(id2label=labels)).eval()
    model.save_pretrained(tmp_path)
    processor = json.loads((shared("timesformer") / "preprocessor_config.json").read_text())
    processor |= {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    recognizer = load(tmp_path)
    recognizer.warm_up()
    rng = np.random.default_rng(0)
    images = [recognizer.reduce(rng.integers(0, 256, (720, 1280, 3), np.uint8)) for _ in range(8)]
    frames = tuple(Frame("door", i, 0, float(i), 0.0, 0.0, None, image) for i, image in enumerate(images))
    [scores] = recognizer.predict([Window("door", 0, frames, 1.067)])
    values = recognizer.preprocessor.normalise(torch.from_numpy(np.stack(images)))
    with torch.no_grad():
        expected = model(values[None]).logits.softmax(-1)[0].numpy()
    assert scores == pytest.approx(expected, abs=1e-4)
    assert describe(str(tmp_path))["gflop"] == pytest.approx(392, rel=0.01)
