"""Checkpoints made to do harm: refused in one line, before anything is allocated or fetched for them."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints import limits
from streamer.recognition.checkpoints.checkpoint import Checkpoint, open_checkpoint
from streamer.recognition.checkpoints.describe import describe
from streamer.recognition.checkpoints.metadata import labels_of
from streamer.recognition.model_config import check_size, model_config
from streamer.training.starting_checkpoint import load_model, open_starting_checkpoint
from tests.helpers.checkpoints import save, save_words, shared
from tests.helpers.model_parts import edit, load, refused, score

torch.set_num_threads(1)
MB = 1_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of one's own to change."""
    return save("timesformer", tmp_path / "mine")


ABSURD: tuple[Any, ...] = (  # (changes, what is said)
    ({"id2label": None, "label2id": None, "num_labels": 10**9}, "'num_labels' is 1000000000"),
    ({"id2label": None, "label2id": None, "num_labels": 1e9}, "'num_labels' is 1000000000.0"),
    ({"num_hidden_layers": 10**9}, "'num_hidden_layers' is"),
    ({"num_hidden_layers": 5000}, "'num_hidden_layers' is"),
    ({"hidden_size": 2**40}, "'hidden_size' is"),
    ({"intermediate_size": 10**9}, "'intermediate_size' is"),
    ({"image_size": 10**6}, "'image_size' is"),
    ({"image_size": 4096, "patch_size": 1}, "patches a window"),
    ({"num_frames": 10**9}, "'num_frames' is"),
    ({"unheard_of": 10**12}, "'unheard_of' is"),
    ({"id2label": {str(n): f"label {n}" for n in range(150_000)}}, "100,000|150,000 labels|so many values"),
    ({"vision_config": {"hidden_size": 10**9}}, "'hidden_size' is"),
    ({"streamer": {"interval": 0.1, "frames": float("inf")}}, "'frames' is inf"),
    ({"layer_norm_eps": float("nan")}, "'layer_norm_eps' is nan"),
    # within every limit, and still far more than the files hold
    ({"hidden_size": 8192, "intermediate_size": 65_536}, "million weights, its files hold"),
    pytest.param(
        {"num_hidden_layers": 900, "hidden_size": 512},
        "million weights, its files hold|has the shape",
        marks=pytest.mark.training,
    ),
    ({"id2label": {str(n): f"label {n}" for n in range(90_000)}, "hidden_size": 1024}, "million weights"),
    ({"quantization_config": {"quant_method": "fp8"}}, "quantised weights"),
)


@pytest.mark.parametrize(("changes", "words"), ABSURD)
def test_absurd_numbers_are_refused(folder: Path, changes: dict[str, Any], words: str) -> None:
    edit(folder / "config.json", **changes)
    began = time.process_time()
    refused(folder, words)
    assert time.process_time() - began < 20


@pytest.mark.training
def test_refusing_costs_no_memory(folder: Path) -> None:
    """In a process of its own: `num_labels: 1e9` took 5.6 GB before it was refused."""
    edit(folder / "config.json", id2label=None, label2id=None, num_labels=10**9)
    wide = save("timesformer", folder.parent / "wide")
    edit(wide / "config.json", hidden_size=8192, intermediate_size=65_536)
    code = (
        "import resource, sys\n"
        "from streamer.cli.command_line import main\n"
        f"assert main(['evaluate', '--model', {str(shared('timesformer'))!r}, '--idle', 'gone.mp4']) != 0\n"
        "import torch, transformers\n"
        "from streamer.config import ModelConfig\n"
        "from streamer.errors import ModelLoadError\n"
        "from streamer.recognition.recognizer import load_recognizer\n"
        f"load_recognizer(ModelConfig(id={str(shared('timesformer'))!r}, device='cpu'))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"for folder in ({str(folder)!r}, {str(wide)!r}):\n"
        "    try:\n"
        "        load_recognizer(ModelConfig(id=folder, device='cpu'))\n"
        "    except ModelLoadError:\n"
        "        continue\n"
        "    sys.exit('was not refused')\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200, "MB"


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("name", ["evil/kernel", "flash_attention_2", "kernels-community/flash-attn2"])
def test_a_checkpoint_does_not_choose_which_attention_code_runs(folder: Path, key: str, name: str) -> None:
    reference = load(folder)
    edit(folder / "config.json", **{key: name})
    changed = load(folder)  # nothing is asked for, nothing is fetched
    assert score(changed).tolist() == score(reference).tolist()


def test_neither_does_a_part_of_its_config(tmp_path: Path) -> None:
    from streamer.recognition.checkpoints.checkpoint_files import CONFIG

    clip = save_words("clip", tmp_path / "clip")
    parts = json.loads((clip / CONFIG).read_text("utf-8"))
    for part in ("text_config", "vision_config"):
        parts[part]["attn_implementation"] = "evil/kernel"
    (clip / CONFIG).write_text(json.dumps(parts), "utf-8")
    config = model_config(open_checkpoint(str(clip)))
    assert config.vision_config._attn_implementation is None
    assert config.text_config._attn_implementation is None


def test_training_takes_the_same_care(folder: Path) -> None:
    edit(folder / "config.json", hidden_size=8192, intermediate_size=65_536)
    with pytest.raises(ModelLoadError, match="million weights, its files hold"):
        load_model(open_starting_checkpoint(str(folder), None), ("a", "b"), {})


def test_an_adapter_is_not_loaded_behind_the_back(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/model"}')
    refused(folder, "holds an adapter")


def test_deep_and_wide_configs(folder: Path) -> None:
    nested: Any = 1
    for _ in range(50):
        nested = {"inner": nested}
    edit(folder / "config.json", deep=nested)
    refused(folder, "so many values, one in the other")
    edit(folder / "config.json", deep=[[0] * 1000] * 600)
    refused(folder, "so many values")
    (folder / "config.json").write_bytes(b'{"model_type": "timesformer", "x": "' + b"x" * 6 * MB + b'"}')
    refused(folder, "6,000,0.. bytes, which no such file is")


@pytest.mark.parametrize(
    "head",
    [
        b"\xff" * 8,
        struct.pack("<Q", 90 * MB) + b"{",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 30) + b'{"a": {"shape": [1e999, "x"]}}',
        struct.pack("<Q", 8) + b'{"a": 1}',
        b"",
    ],
)
def test_a_header_of_weights_that_lies(folder: Path, head: bytes) -> None:
    (folder / "model.safetensors").write_bytes(head)
    refused(folder, "are damaged")


def test_a_header_that_promises_more_than_the_file_holds(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    refused(folder, "are damaged")


@pytest.mark.parametrize("part", ["../other.safetensors", "/etc/passwd", "..", 7, ["a"], {"a": 1}, ""])
def test_a_list_of_parts_that_leads_elsewhere(folder: Path, part: Any) -> None:
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": part}}))
    refused(folder, "has no model.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"size": {"shortest_edge": 10**9}},
        {"crop_size": {"height": 10**9, "width": 64}},
        {"size": {"shortest_edge": float("inf")}},
        {"image_mean": [float("nan")] * 3},
        {"rescale_factor": float("inf")},
        {"image_std": [[[0.5]]] * 3},
        {"crop_size": []},
        {"crop_size": {"height": "x", "width": "y"}},
    ],
)
def test_a_processor_of_absurd_numbers(folder: Path, changes: dict[str, Any]) -> None:
    edit(folder / "preprocessor_config.json", **changes)
    refused(folder, "impossible numbers|is not a processor's file|has no|damaged")


def test_a_window_that_would_fill_the_memory(folder: Path) -> None:
    edit(folder / "config.json", num_frames=4000, image_size=64)
    edit(folder / "preprocessor_config.json", size={"height": 2048, "width": 2048}, do_center_crop=False)
    refused(folder, "a window of 4000 frames of .* takes .* MB|belong to different|patches a window")


def test_labels_cannot_steer_a_terminal(folder: Path) -> None:
    edit(
        folder / "config.json",
        id2label={"0": "wav\x1b[2Jing", "1": "\x9b31mred\u202e", "2": "x" * 5000},
        streamer={"interval": 0.1, "licence": "MIT\x1b]0;title\x07"},
    )
    labels, notes = labels_of(open_checkpoint(str(folder)))
    told = describe(str(folder))
    for text in (*labels, *notes, told["licence"], *told["label_names"]):
        assert text.isprintable()
    assert len(labels[2]) == limits.MAX_LABEL


def test_labels_that_differ_in_such_characters_only_stay_apart() -> None:
    made = Checkpoint("m", Path("m"), {"id2label": {"0": "a\x1b", "1": "a\x9b"}})
    labels, _ = labels_of(made)
    assert len(set(labels)) == 2


def test_a_readme_without_an_end(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: mit\n---\n" + "x" * 30 * MB)
    assert describe(str(folder))["licence"] == "mit"


def test_odd_values_are_no_traceback(folder: Path) -> None:
    said: list[str] = []
    for changes in (
        {"id2label": None, "num_labels": "many"},
        {"num_attention_heads": 0},
        {"patch_size": 0},
        {"image_size": [{}, []]},
        {"hidden_size": "wide"},
        {"architectures": 7},
        {"problem_type": {"a": 1}},
        {"attention_type": []},
    ):
        copy = save("timesformer", folder.parent / f"odd-{len(list(folder.parent.iterdir()))}")
        edit(copy / "config.json", **changes)
        for attempt in (lambda: load(copy).warm_up(), lambda: describe(str(copy))):  # noqa: B023
            try:
                attempt()
            except ModelLoadError as error:
                said.append(str(error))
    assert said
    assert not any("\n" in line for line in said)


def test_every_usual_family_passes() -> None:
    from transformers import AutoModelForVideoClassification

    for family in ("timesformer", "videomae", "vivit"):
        found = open_checkpoint(str(shared(family)))
        check_size(found, AutoModelForVideoClassification, model_config(found))  # raises where it is refused
        assert found.family == family


def test_evaluate_prints_no_escape_sequence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from streamer.cli.command_line import main

    edit(folder / "config.json", model_type="evil\x1b]0;title\x07\x9b2J")
    assert main(["evaluate", "--model", str(folder), "--idle", str(folder / "config.json")]) == 4
    assert main(["models", "show", str(folder)]) in (0, 4)
    out, err = capsys.readouterr()
    assert all(c.isprintable() or c == "\n" for c in out + err)
