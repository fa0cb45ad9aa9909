"""What is wrong with a checkpoint is said in one line, and nothing of it is run or guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.checkpoints import save
from tests.helpers.model_parts import edit, load, refused, score

torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of one's own to change."""
    return save("timesformer", tmp_path / "mine")


def test_a_file_is_no_folder(folder: Path) -> None:
    refused(folder / "config.json", "give the folder that holds config.json")


def test_an_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path, "has no config.json")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00", "[" * 100_000])
def test_a_config_that_is_no_json_object(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    refused(folder, "config.json (cannot be read|holds no JSON object)")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": None}, "has no model_type"),
        ({"model_type": "nonsense"}, "does not know models of type 'nonsense'"),
        (
            {"model_type": "nonsense", "auto_map": {"AutoConfig": "own.Config"}},
            "program code, which streamer never runs",
        ),
        ({"model_type": "bert"}, "classifies neither video nor pictures"),
        ({"model_type": "clip", "architectures": ["CLIPModel"]}, "compares pictures with words"),
        ({"image_size": "large"}, "config.json is wrong"),
        ({"hidden_size": 33}, "cannot be loaded|has the shape"),
        ({"num_hidden_layers": 3}, "lacks [0-9]+ weights of a timesformer"),
        ({"num_frames": None}, "has the shape"),
        ({"id2label": {"0": "a", "1": "b"}}, "its weights have 3 labels, id2label in config.json names 2"),
        ({"id2label": {"0": "a", "2": "b", "3": "c"}}, "indices 0 to 2"),
        ({"id2label": ["a", "b", "c"]}, "not a table"),
        ({"id2label": {}}, "indices"),
        ({"streamer": {"interval": -1}}, "streamer.interval must be seconds above 0"),
        ({"streamer": {"interval": "slow"}}, "streamer.interval must be seconds above 0"),
        ({"streamer": {"interval": 0.1, "lag": -1}}, "streamer.lag must be seconds from 0 to the span"),
        (
            {"streamer": {"interval": 0.1, "events": {"halflife": 1}}},
            "streamer.events has halflife; it",
        ),
        ({"streamer": {"interval": 0.1, "events": {"enter": 2}}}, "streamer.events: .*enter"),
        ({"streamer": {"interval": 0.1, "events": 3}}, "streamer.events is no object"),
        ({"streamer": {"interval": 0.1, "lag": 60}}, "streamer.lag must be seconds from 0 to the span"),
    ],
)
def test_a_config_that_does_not_fit(folder: Path, changes: dict[str, Any], words: str) -> None:
    edit(folder / "config.json", **changes)
    refused(folder, words)


def test_another_models_program_code_is_never_run(folder: Path) -> None:
    """Even of a family that is known: config.json's auto_map is not looked at."""
    trap = folder / "trap"
    (folder / "own.py").write_text(f"open({str(trap)!r}, 'w')\nclass Model: pass\nclass Config: pass\n")
    edit(
        folder / "config.json",
        auto_map={"AutoConfig": "own.Config", "AutoModelForVideoClassification": "own.Model"},
    )
    load(folder).warm_up()
    assert not trap.exists()


@pytest.mark.parametrize("damage", ["truncated", "noise", "empty"])
def test_damaged_weights(folder: Path, damage: str) -> None:
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(
        {"truncated": content[: len(content) // 2], "noise": b"\xff" * 300, "empty": b""}[damage]
    )
    refused(folder, "weights in .* are damaged")


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, "has no model.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "model-1.safetensors"}})
    )
    refused(folder, "not all of its parts")


def test_pickled_weights_are_read_but_cannot_run_anything(folder: Path) -> None:
    """The published TimeSformer weights are pickles; torch reads numbers from them and nothing else."""
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    expected = score(load(folder))
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert np.allclose(score(load(folder)), expected, atol=1e-6)
    trap = folder / "trap"

    class Evil:
        def __reduce__(self) -> Any:
            return open, (str(trap), "w")

    torch.save({**weights, "classifier.bias": Evil()}, folder / "pytorch_model.bin")
    refused(folder, "damaged|cannot be loaded")
    assert not trap.exists()


def test_a_checkpoint_without_a_head_is_refused(folder: Path) -> None:
    """transformers would only warn, and classify at random."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    body = {key: value for key, value in weights.items() if not key.startswith("classifier")}
    save_file(body, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, r"no weights for its classification head \(classifier.bias, classifier.weight\)")


def test_no_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    refused(folder, "has no preprocessor_config.json .*copy the file from the checkpoint")


def test_a_processor_in_the_newer_nested_file(folder: Path) -> None:
    """transformers 5 saves image and video processors inside processor_config.json; it goes first."""
    old = json.loads((folder / "preprocessor_config.json").read_text())
    nested = {"processor_class": "X", "video_processor": {**old, "image_mean": [0.1, 0.2, 0.3]}}
    (folder / "processor_config.json").write_text(json.dumps(nested))
    assert load(folder).preprocessor.numbers.mean == (0.1, 0.2, 0.3)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "X"}))
    assert load(folder).preprocessor.numbers.mean == (0.45, 0.45, 0.45)


def test_a_processor_whose_size_the_model_cannot_take(tmp_path: Path) -> None:
    save("videomae", tmp_path)
    edit(
        tmp_path / "preprocessor_config.json",
        crop_size={"height": 64, "width": 64},
        size={"shortest_edge": 64},
    )
    refused(tmp_path, r"cannot compute \(1, 6, 3, 64, 64\)")


def test_devices_and_precisions_that_are_not_there(folder: Path) -> None:
    if not torch.cuda.is_available():
        refused(folder, "device 'cuda' cannot be used: .*available here: .*cpu", device="cuda")
    refused(folder, "fp16 needs a GPU", precision="fp16")


def test_loading_says_nothing_on_stderr_but_notes(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(folder).warm_up()
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
