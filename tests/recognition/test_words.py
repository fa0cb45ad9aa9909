"""Actions named in words: CLIP and SigLIP on frames, X-CLIP on windows, against plain transformers code."""

from __future__ import annotations

import json
import shutil
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamer.config import ModelConfig
from streamer.errors import ConfigError, ModelLoadError, StreamerError
from streamer.recognition.recognizer import load_recognizer
from streamer.recognition.words import text_encoder as text_module
from streamer.recognition.words.prompts import NEGATIVES, NOTHING, read_words, words_of
from streamer.types import Frame, Window
from tests.helpers import checkpoints
from tests.helpers.made_once import once

torch.set_num_threads(1)
LABELS = ("a person waving", "an empty room", "a dog")


@cache
def folder(family: str) -> Path:
    return once(f"words-{family}", partial(checkpoints.save_words, family))


@pytest.fixture
def plain(tmp_path: Path) -> Any:
    """A file of labels without negatives and templates: what plain transformers code computes."""
    return label_file(tmp_path, {"labels": list(LABELS), "negatives": [], "templates": ["{}"]})


def label_file(tmp_path: Path, content: Any) -> str:
    file = tmp_path / "words.yaml"
    file.write_text(json.dumps(content), "utf-8")  # JSON is YAML
    return str(file)


def load(family: str | Path, labels: Any = LABELS, **more: Any) -> Any:
    placement = family if isinstance(family, Path) else folder(family)
    labels = (labels,) if isinstance(labels, str) else labels
    return load_recognizer(ModelConfig(id=str(placement), labels=labels, device="cpu", **more))


def window(recognizer: Any, first: int = 0, camera: str = "cam", seed: int = 0) -> Window:
    """T frames of noise; the frame with one index is always the same one."""
    frames = []
    for index in range(first, first + recognizer.spec.frames):
        noise = np.random.default_rng((seed, index)).integers(0, 255, (48, 64, 3), np.uint8)
        image = recognizer.reduce(noise)
        time = index * recognizer.spec.interval
        frames.append(Frame(camera, index, 0, time, time, time, None, image))
    return Window(camera, first + 1, tuple(frames), recognizer.spec.interval)


def plain_scores(family: str, clip: Window, texts: list[str]) -> torch.Tensor:
    """What transformers' own model says: float (L,)."""
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder(family)).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder(family))
    padding: dict[str, Any] = {"padding": "max_length", "max_length": 40} if family == "siglip" else {
        "padding": True
    }  # fmt: skip
    inputs = tokenizer(texts, return_tensors="pt", **padding)
    if family == "siglip":
        inputs.pop("attention_mask", None)
    pixels = plain_pixels(family, clip)
    with torch.inference_mode():
        if family == "xclip":
            return model(pixel_values=pixels[None], **inputs).logits_per_video[0].softmax(-1)
        logits = model(pixel_values=pixels, **inputs).logits_per_image.mean(0)  # over the frames
        return torch.sigmoid(logits) if family == "siglip" else logits.softmax(-1)


def plain_pixels(family: str, clip: Window) -> torch.Tensor:
    """The frames are of the model's size: only rescaling and normalising are left. float (T, C, H, W)."""
    processor = json.loads((folder(family) / "preprocessor_config.json").read_text())
    stacked = torch.from_numpy(np.stack([frame.image for frame in clip.frames])).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(processor[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
    return (stacked - mean) / std


# --- scores ---


@pytest.mark.parametrize("family", checkpoints.WORD_FAMILIES)
def test_scores_are_those_of_plain_transformers(family: str, plain: str) -> None:
    recognizer = load(family, plain)
    recognizer.warm_up()
    assert recognizer.spec.labels == LABELS
    clip = window(recognizer)
    ours = recognizer.predict([clip])[0]
    theirs = plain_scores(family, clip, list(LABELS)).numpy()
    assert np.abs(ours - theirs).max() < 1e-4
    assert np.ptp(theirs) > 1e-2, "scores that are all alike would prove nothing"


@pytest.mark.parametrize("family", checkpoints.WORD_FAMILIES)
def test_what_the_family_needs(family: str) -> None:
    spec = load(family).spec
    assert spec.family == family
    assert spec.size == (checkpoints.SIZE, checkpoints.SIZE)
    assert spec.frames == (4 if family == "xclip" else 8)
    assert spec.interval == (1.0 if family == "xclip" else 0.25)
    assert spec.independent == (family == "siglip")
    assert spec.labels == (*LABELS, NOTHING)
    assert spec.ignored == (NOTHING,)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_each_frame_is_computed_once(family: str) -> None:
    """30 frames a second, a hop of one frame: windows share all frames but one."""
    recognizer = load(family)
    for first in range(20):
        recognizer.predict([window(recognizer, first)])
    assert recognizer.computed == recognizer.spec.frames + 19


def test_batches_of_two_cameras_are_kept_apart() -> None:
    recognizer = load("xclip")
    one, two = window(recognizer, camera="a"), window(recognizer, camera="b", seed=5)
    together = recognizer.predict([one, two])
    assert np.allclose(together[0], recognizer.predict([one])[0], atol=1e-5)
    assert np.allclose(together[1], recognizer.predict([two])[0], atol=1e-5)
    assert not np.allclose(together[0], together[1], atol=1e-3)


def test_templates_and_prompts_are_averaged(tmp_path: Path) -> None:
    words = {
        "labels": {"wave": ["waving", "a hand"], "dog": "a dog"},
        "negatives": [],
        "templates": ["{}", "a {}!"],
    }
    recognizer = load("clip", label_file(tmp_path, words))
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder("clip")).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder("clip"))
    rows = []
    with torch.inference_mode():
        for texts in (["waving", "a waving!", "a hand", "a a hand!"], ["a dog", "a a dog!"]):
            inputs = tokenizer(texts, padding=True, return_tensors="pt")
            found = torch.nn.functional.normalize(model.get_text_features(**inputs).pooler_output, dim=-1)
            rows.append(torch.nn.functional.normalize(found.mean(0), dim=-1))
        clip = window(recognizer)
        seen = model.get_image_features(pixel_values=plain_pixels("clip", clip)).pooler_output
        cosines = torch.nn.functional.normalize(seen, dim=-1) @ torch.stack(rows).T
        expected = (cosines * model.logit_scale.exp()).mean(0).softmax(-1)
    assert np.abs(recognizer.predict([clip])[0] - expected.numpy()).max() < 1e-4


@pytest.mark.parametrize("aggregate", ["mean", "max", "recent"])
def test_every_way_to_join_frames(aggregate: Any) -> None:
    scores = load("clip", aggregate=aggregate).predict([window(load("clip"))])[0]
    assert scores.sum() == pytest.approx(1.0, abs=1e-5)


# --- nothing of these ---


@pytest.mark.parametrize("family", checkpoints.WORD_FAMILIES)
def test_a_label_that_does_not_beat_the_negatives_has_no_score(family: str, tmp_path: Path) -> None:
    """The negative is the label's own prompt: it cannot be beaten by a margin."""
    words = {"labels": ["a person waving"], "negatives": ["a person waving"], "margin": 0.05}
    recognizer = load(family, label_file(tmp_path, words))
    scores = recognizer.predict([window(recognizer)])[0]
    assert recognizer.spec.labels == ("a person waving", NOTHING)
    assert scores.tolist() == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("family", checkpoints.WORD_FAMILIES)
def test_a_label_that_wins_keeps_its_score(family: str, tmp_path: Path) -> None:
    words = {"labels": list(LABELS[:2]), "negatives": ["a dog"], "margin": -1.0, "templates": ["{}"]}
    recognizer = load(family, label_file(tmp_path, words))
    clip = window(recognizer)
    scores = recognizer.predict([clip])[0]
    theirs = plain_scores(family, clip, list(LABELS)).numpy()
    assert np.abs(scores[:2] - theirs[:2]).max() < 1e-4
    nothing = 1 - theirs[:2].max() if family == "siglip" else theirs[2]
    assert scores[2] == pytest.approx(nothing, abs=1e-4)


def test_a_labels_own_negatives_speak_against_it_alone(tmp_path: Path) -> None:
    labels = {"wave": {"prompts": "waving", "negatives": "waving"}, "dog": "waving"}
    words = {"labels": labels, "negatives": [], "margin": 0.01}
    scores = load("clip", label_file(tmp_path, words)).predict([window(load("clip"))])[0]
    assert scores[0] == 0.0
    assert scores[1] == pytest.approx(1 / 3, abs=1e-4)
    assert scores[2] == pytest.approx(2 / 3, abs=1e-4)


def test_plain_words_get_the_usual_negatives() -> None:
    assert read_words(["waving"]).negatives == NEGATIVES
    words = read_words(LABELS)
    assert words.negatives == ("nothing", "something else"), "what is looked for speaks against nothing"
    assert words.labels == (*LABELS, NOTHING)


def test_thresholds_of_a_file_reach_the_events(tmp_path: Path) -> None:
    words = {"labels": {"wave": {"prompts": "waving", "threshold": 0.2}, "dog": None}}
    assert load("clip", label_file(tmp_path, words)).spec.thresholds == (("wave", 0.2),)


# --- texts are computed once ---


def test_texts_are_computed_once_and_kept_on_disk() -> None:
    first = load("clip").words.encoder
    assert first.computed == 2 * (len(LABELS) + len(NEGATIVES) - 1)  # two templates; one is a label itself
    again = load("clip")
    assert again.words.encoder.computed == 0
    more = load("clip", (*LABELS, "a cat")).words.encoder
    assert more.computed == 2
    assert np.allclose(again.predict([window(again)])[0], load("clip").predict([window(again)])[0])


def test_a_damaged_cache_is_made_again(warnings_of_streamer: list[str]) -> None:
    recognizer = load("clip")
    file = recognizer.words.encoder._file
    file.write_bytes(b"\x10" + file.read_bytes()[40:])
    assert load("clip").words.encoder.computed > 0
    assert any("made again" in line for line in warnings_of_streamer)
    assert load("clip").words.encoder.computed == 0


def test_another_checkpoint_does_not_use_the_same_texts(tmp_path: Path) -> None:
    load("clip")
    other = tmp_path / "other"
    shutil.copytree(folder("clip"), other)
    from safetensors.torch import load_file, save_file

    weights = load_file(other / "model.safetensors")
    weights["text_projection.weight"] = -weights["text_projection.weight"]
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    assert load(other).words.encoder.computed > 0


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "KEPT", 10)
    encoder = load("clip").words.encoder
    for index in range(6):
        encoder.embeddings([f"number {index} {part}" for part in range(4)])
    assert len(encoder._known) <= 12
    assert load("clip").words.encoder._file.stat().st_size < 10_000


# --- what is wrong, in one line ---


def refused(kind: type[StreamerError], words: str, *args: Any, **more: Any) -> None:
    with pytest.raises(kind) as error:
        load(*args, **more)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", checkpoints.WORD_FAMILIES)
def test_a_model_of_words_without_labels(family: str) -> None:
    refused(ModelLoadError, "--labels", family, None)


def test_labels_for_a_model_that_has_its_own(tmp_path: Path) -> None:
    refused(ModelLoadError, "has its own labels", checkpoints.save("vit", tmp_path / "vit"))


@pytest.mark.parametrize("family", checkpoints.WORD_FAMILIES)
def test_a_missing_tokenizer(family: str, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(folder(family), bare)
    for pattern in ("tokenizer*", "spiece*", "vocab*", "merges*"):
        for file in bare.glob(pattern):
            file.unlink()
    refused(ModelLoadError, "has no tokenizer", bare)


def test_a_damaged_tokenizer(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(folder("clip"), bad)
    (bad / "tokenizer.json").write_text('{"version": "1.0", "model": ')
    refused(ModelLoadError, "tokenizer of bad cannot be read", bad)


def test_a_tokenizer_of_another_checkpoint(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder("clip"), other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    for token in tokenizer["added_tokens"]:
        token["id"] += 1000
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {word: index + 1000 for word, index in vocabulary.items()}
    for special in tokenizer.get("post_processor", {}).get("special_tokens", {}).values():
        special["ids"] = [index + 1000 for index in special["ids"]]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    refused(ModelLoadError, "different checkpoints", other)


@pytest.mark.parametrize("family", checkpoints.WORD_FAMILIES)
def test_a_prompt_that_is_too_long(family: str) -> None:
    refused(ConfigError, "fewer words", family, ("a dog", "waving " * 30))


def test_int8_is_refused() -> None:
    refused(ModelLoadError, "int8", "clip", precision="int8")


def test_wrong_number_of_frames() -> None:
    refused(ModelLoadError, "windows of 4 frames, not 9", "xclip", frames=9)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "at least one label"),
        ([""], "expected words"),
        ([True], "quotes"),
        (["a", "a"], "stands twice"),
        (["a\x00b"], "printable"),
        (["x" * 400], "at most 300"),
        ([NOTHING], "no label of its own"),
        ({"labels": ["a"], "margins": 1}, "unknown key"),
        ({"labels": {"a": {"prompt": "b"}}}, "unknown key"),
        ({"labels": {"a": {"threshold": 2}}}, "from 0 to 1"),
        ({"labels": {"a": {"threshold": float("nan")}}}, "from 0 to 1"),
        ({"labels": ["a"], "templates": ["no place"]}, "must hold {}"),
        ({"labels": 7}, "a list of words"),
        ({"labels": [str(i) for i in range(1001)]}, "at most 1000"),
    ],
)
def test_wrong_labels(value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("{", r"\{").replace("}", r"\}")):
        words_of(value)


def test_wrong_file_says_the_line(tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    file.write_text("labels:\n  waving:\n    prompts: [a]\n    treshold: 0.2\n", "utf-8")
    with pytest.raises(ConfigError, match=r"words\.yaml:4: labels\.waving\.treshold: unknown key"):
        read_words([str(file)])
    with pytest.raises(ConfigError, match="no such file"):
        read_words([str(tmp_path / "gone.yaml")])
