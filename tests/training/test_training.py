"""Fine-tuning on real small files: it learns them, survives kill -9, streams, and says what is wrong."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamer.cli.command_line import main
from streamer.config import CameraConfig, Config, ModelConfig
from streamer.pipeline.pipeline import Pipeline
from streamer.recognition.checkpoints.checkpoint import open_checkpoint
from streamer.recognition.recognizer import load_recognizer
from streamer.training.recipe import Recipe, save_recipe
from streamer.training.starting_checkpoint import load_model, open_starting_checkpoint
from streamer.training.trainer import last_checkpoint, numbers, parameter_groups
from tests.helpers import checkpoints, warm_processes
from tests.helpers.media import write_clip
from tests.helpers.pipelines import QUIET, Collect

COLOURS = {"red light": (20, 20, 220), "blue light": (220, 20, 20), "background": (90, 90, 90)}
WORDS = ["--batch", "4", "--lr", "2e-3", "--workers", "0", "--device", "cpu", "--interval", "0.25"]
ROOT = Path(__file__).parents[2]
PATIENCE = 90.0  # seconds for a process of its own, on a crowded machine


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def coloured(path: Path, label: str, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    ground = np.full((48, 64, 3), COLOURS[label]) + rng.normal(0, 12, 3)
    images = [np.clip(ground + rng.normal(0, 12, ground.shape), 0, 255).astype(np.uint8) for _ in range(18)]
    return write_clip(path, images, 10)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for label in COLOURS:
        for number in range(7):
            coloured(root / label / f"{number}.mp4", label, number)
    return root


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save("timesformer", tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def trained(data: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole run, never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main(["train", str(data), "--model", str(base), "-o", str(out), "--epochs", "4", *WORDS]) == 0
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.training
def test_labels_may_speak_of_a_moment_within_the_clip(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(data), "--model", str(base), "--max-steps", "1", *WORDS]
    assert main([*words, "-o", str(tmp_path / "out"), "--lag", "0.5"]) == 0
    assert open_checkpoint(str(tmp_path / "out")).own["lag"] == 0.5
    assert main([*words, "-o", str(tmp_path / "late"), "--lag", "60"]) == 2
    assert "--lag 60: a window spans" in capsys.readouterr().err


@pytest.mark.training
def test_it_reaches_its_labels_and_writes_a_plain_checkpoint(trained: Path, data: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["test"]["top1"] == metrics["val"]["top1"] == 1.0
    assert metrics["labels"] == sorted(COLOURS)
    own = open_checkpoint(str(trained)).own
    assert (own["interval"], own["frames"], own["background"]) == (0.25, 4, ["background"])
    assert own["split"] == metrics["split"]
    names = {path.name for path in trained.iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "README.md", "split.csv",
            "confusion.csv", "confusion.png"} <= names  # fmt: skip
    assert not list(trained.glob("run/checkpoint-*")), "copies for a resume are not left behind"
    from transformers import AutoModelForVideoClassification

    model = AutoModelForVideoClassification.from_pretrained(trained)
    assert [model.config.id2label[i] for i in range(3)] == sorted(COLOURS)
    card = (trained / "README.md").read_text()
    assert metrics["split"] in card
    assert "red light" in card


@pytest.mark.training
def test_it_streams_with_its_own_interval(trained: Path, data: Path) -> None:
    sink = Collect()
    camera = CameraConfig(name="c", source=str(data / "red light" / "0.mp4"))
    config = Config(cameras=(camera,), model=ModelConfig(id=str(trained), engine="torch"), **QUIET)
    with Pipeline(config, sinks=[sink]) as pipeline:
        assert pipeline.run(threading.Event()).ok
    predictions = sink.of("prediction")
    assert predictions[0]["window"]["span"] == 0.75
    assert {m["top"][0]["label"] for m in predictions} == {"red light"}
    assert [m["event"]["label"] for m in sink.of("event") if m["event"]["phase"] == "start"] == ["red light"]


@pytest.mark.training
def test_its_split_is_what_evaluate_measures(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(trained / "split.csv"), "--model", str(trained), "--json", "--engine", "torch"]
    assert main(["evaluate", *words]) == 0
    report = json.loads(capsys.readouterr().out)
    metrics = json.loads((trained / "metrics.json").read_text())
    assert report["clips"] == metrics["test"]
    assert report["background"] == ["background"]


@pytest.mark.training
def test_killed_and_resumed_it_ends_with_the_same_weights(
    trained: Path, data: Path, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["train", str(data), "--model", str(base), "-o", str(out), "--epochs", "4", *WORDS]
    code = "import sys, torch; torch.set_num_threads(1); from streamer.cli import main; sys.exit(main())"
    process = warm_processes.start([sys.executable, "-c", code, *words], cwd=ROOT, stderr=subprocess.PIPE)
    timer = threading.Timer(PATIENCE, process.kill)
    timer.start()
    assert process.stderr is not None
    for line in process.stderr:  # the line comes before that epoch's checkpoint is written
        if b"epoch 2" in line:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    timer.cancel()
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL
    before = last_checkpoint(out / "run")
    assert before is not None
    broken = shutil.copytree(before, before.with_name("checkpoint-999"))
    (broken / "trainer_state.json").write_text('{"half')
    assert last_checkpoint(out / "run") == before, "what was half-written is passed over"
    shutil.rmtree(broken)
    assert not (out / "metrics.json").exists()
    assert main([*words, "--resume"]) == 0
    whole, resumed = weights(trained), weights(out)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        torch.testing.assert_close(value, resumed[name], rtol=0, atol=1e-6, msg=name)
    assert (
        json.loads((out / "metrics.json").read_text())["test"]
        == json.loads((trained / "metrics.json").read_text())["test"]
    )


@pytest.mark.training
def test_a_folder_is_never_overwritten_and_a_run_not_mixed(
    trained: Path, data: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> str:
        assert main(["train", str(data), "--model", str(base), *WORDS, *words]) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "is not empty: name a new folder" in said("-o", str(data))
    assert "nothing to continue" in said("-o", str(trained), "--resume")
    assert "holds no run" in said("-o", str(tmp_path / "none"), "--resume")
    begun = tmp_path / "begun"
    (begun / "run").mkdir(parents=True)
    save_recipe(Recipe(str(data), str(base), seed=5), "x", begun / "run" / "recipe.json")
    assert "--resume continues its run" in said("-o", str(begun))
    assert "has changed since" in said("-o", str(begun), "--resume")
    text = json.loads((begun / "run" / "recipe.json").read_text())
    text["split"] = json.loads((trained / "metrics.json").read_text())["split"]
    (begun / "run" / "recipe.json").write_text(json.dumps(text))
    assert "seed 5 then, 0 now" in said("-o", str(begun), "--resume")


@pytest.mark.training
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--lr", "nan"], "--lr must be at least"),
        (["--layer-decay", "2"], "at most 1"),
        (["--background", "fog"], "no label"),
        (["--group", "("], "not a regular expression"),
    ],
)
def test_wrong_options(
    data: Path, base: Path, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(data), "--model", str(base), "-o", str(tmp_path / "o"), *WORDS, *words]) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


def lines_of(data: Path, base: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    words = ["train", str(data), "--model", str(base), "-o", str(out), "--max-steps", "1", *WORDS]
    code = main(words)
    return code, capsys.readouterr().err.strip().splitlines()


@pytest.mark.training
def test_a_label_with_one_readable_clip(
    data: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    for number in range(1, 7):
        (copy / "red light" / f"{number}.mp4").write_bytes(b"broken")
    code, said = lines_of(copy, base, tmp_path / "out", capsys)
    assert code == 2
    assert "label 'red light' has one clip" in said[-1]


@pytest.mark.training
def test_a_leaking_split(data: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, chosen in (("train", (0, 1, 2)), ("test", (2, 3))):
        for label in COLOURS:
            for number in chosen:
                target = tmp_path / "data" / split / label / f"{split}{number}.mp4"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(data / label / f"{number}.mp4", target)
    code, said = lines_of(tmp_path / "data", base, tmp_path / "out", capsys)
    assert code == 2
    assert "the split leaks: 3 recordings" in said[-1], "copies under other names are found too"
    assert "--allow-leak" in said[-1]


@pytest.mark.training
def test_broken_files_are_told_and_left_out(
    data: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    (copy / "red light" / "6.mp4").write_bytes((copy / "red light" / "6.mp4").read_bytes()[:600])
    code, said = lines_of(copy, base, tmp_path / "out", capsys)
    assert code == 0
    assert any("left out" in line and "6.mp4" in line for line in said)
    assert any("clips: 14 train, 3 val, 3 test" in line for line in said)


@pytest.mark.training
def test_a_disk_that_fills_up(
    data: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The system refuses files above 100 kB, as a full disk refuses them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        code, said = lines_of(data, base, tmp_path / "out", capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    assert not [line for line in said if "Traceback" in line]
    assert "is full" in said[-1]
    assert "--resume" in said[-1]


@pytest.mark.training
def test_too_little_room_is_said_before_hours_of_work(
    data: Path,
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    code, said = lines_of(data, base, tmp_path / "out", capsys)
    assert code == 2
    assert "GB free, this run needs about" in said[-1]


@pytest.mark.training
def test_frozen_body_stays_and_layers_learn_at_their_own_rate(base: Path) -> None:
    opened = open_starting_checkpoint(str(base), 0.5)
    model = load_model(opened, ("a", "b"), {"interval": 0.5})
    recipe = Recipe("d", "m", lr=1.0, layer_decay=0.5)
    rate = {id(p): group["lr"] for group in parameter_groups(model, recipe) for p in group["params"]}
    by_name = {name: rate[id(p)] for name, p in model.named_parameters()}
    assert by_name["classifier.weight"] == 1.0
    assert by_name["timesformer.encoder.layer.1.output.dense.weight"] == 1.0
    assert by_name["timesformer.encoder.layer.0.output.dense.weight"] == 0.5
    assert by_name["timesformer.embeddings.position_embeddings"] == 0.25
    assert len(rate) == len(list(model.parameters()))


@pytest.mark.training
def test_the_head_is_kept_for_the_same_labels_and_new_for_others(base: Path) -> None:
    opened = open_starting_checkpoint(str(base), None)
    old = weights(base)["classifier.weight"]
    same = load_model(opened, checkpoints.LABELS, {})
    torch.testing.assert_close(same.classifier.weight.data, old)
    renamed = load_model(opened, ("a", "b", "c"), {})
    assert (renamed.classifier.weight.data != old).any(), "as many labels, but others"


@pytest.mark.training
def test_of_equally_right_weights_the_surer_are_chosen() -> None:
    class Output:
        def __init__(self, logits: Any) -> None:
            self.predictions, self.label_ids = np.array(logits), np.array([0, 1])

    sure, unsure, wrong = Output([[4, 0], [0, 4]]), Output([[1, 0], [0, 1]]), Output([[9, 0], [1, 0]])
    chosen = [numbers(output)["chosen"] for output in (sure, unsure, wrong)]
    assert chosen[0] > chosen[1] > chosen[2]
    assert numbers(sure, "loss")["chosen"] > numbers(unsure, "loss")["chosen"]
    assert numbers(wrong)["top1"] == 0.5


@pytest.mark.training
@pytest.mark.parametrize("family", ["videomae", "vit"])
def test_other_families_learn_too_with_their_body_frozen(
    family: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = checkpoints.save(family, tmp_path / "base")
    words = ["--freeze", "--balance", "--accumulate", "2", "--checkpointing", "--bf16", "--epochs", "14"]
    assert main(["train", str(data), "--model", str(base), "-o", str(tmp_path / "o"), *WORDS, *words]) == 0
    recognizer = load_recognizer(ModelConfig(id=str(tmp_path / "o"), engine="torch"))
    assert recognizer.spec.labels == tuple(sorted(COLOURS))
    assert recognizer.spec.interval == 0.25
    recognizer.close()
    before, after = weights(base), weights(tmp_path / "o")
    body = [name for name in before if name.startswith(f"{family}.")]
    assert len(body) > 10
    assert all(torch.equal(before[name], after[name]) for name in body), "frozen"
    numbers = json.loads((tmp_path / "o" / "metrics.json").read_text("utf-8"))
    assert numbers["test"]["top1"] > 1.5 / len(COLOURS), "better than a guess"


@pytest.mark.training
def test_pictures_need_a_model_of_pictures(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    for label in ("day", "night"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (40, 40), (200 * (label == "day"), number, 0)).save(
                tmp_path / "data" / label / f"{number}.png"
            )
    code, said = lines_of(tmp_path / "data", base, tmp_path / "out", capsys)
    assert code == 2
    assert "take a model of pictures" in said[-1]
    vit = checkpoints.save("vit", tmp_path / "vit")
    assert lines_of(tmp_path / "data", vit, tmp_path / "out2", capsys)[0] == 0
