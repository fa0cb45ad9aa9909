"""Small random checkpoints of every family, with the processors that real ones have."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tests.helpers.made_once import once

SIZE = 32
LABELS = ("waving", "walking", "falling down")


def _labels() -> dict[str, Any]:
    return {"id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}


def _body(**more: Any) -> dict[str, Any]:
    """A transformer that fits a test, with weights large enough for scores to differ."""
    return {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "initializer_range": 0.2,
        **_labels(),
        **more,
    }


def _crop_processor(**more: Any) -> dict[str, Any]:
    """As facebook/timesformer-* ship it."""
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "do_center_crop": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "resample": 2,
        "size": {"shortest_edge": SIZE},
        "crop_size": {"height": SIZE, "width": SIZE},
        "image_mean": [0.45, 0.45, 0.45],
        "image_std": [0.225, 0.225, 0.225],
        **more,
    }


def _timesformer(**more: Any) -> tuple[Any, dict[str, Any]]:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    config = TimesformerConfig(**{"image_size": SIZE, "patch_size": 8, "num_frames": 4, **_body(), **more})
    model = TimesformerForVideoClassification(config)
    if config.attention_type != "space_only":  # zero, where the order would not show
        torch.nn.init.normal_(model.timesformer.embeddings.time_embeddings)
    return model, _crop_processor()


def _videomae(**more: Any) -> tuple[Any, dict[str, Any]]:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    config = VideoMAEConfig(**{"image_size": SIZE, "patch_size": 8, "num_frames": 6, **_body(), **more})
    imagenet = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    return VideoMAEForVideoClassification(config), _crop_processor(**imagenet)


def _vivit(**more: Any) -> tuple[Any, dict[str, Any]]:
    from transformers import VivitConfig, VivitForVideoClassification

    config = VivitConfig(
        **{"image_size": SIZE, "tubelet_size": [2, 8, 8], "num_frames": 8, **_body(), **more}
    )
    processor = _crop_processor(
        image_processor_type="VivitImageProcessor",
        rescale_factor=1 / 127.5,
        offset=True,
        size={"shortest_edge": 40},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return VivitForVideoClassification(config), processor


def _vjepa2(**more: Any) -> tuple[Any, dict[str, Any]]:
    from transformers import VJEPA2Config, VJEPA2ForVideoClassification

    body = {
        "crop_size": SIZE,
        "patch_size": 8,
        "frames_per_clip": 4,
        "hidden_size": 48,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "pred_hidden_size": 48,
        "pred_num_attention_heads": 2,
        "pred_num_hidden_layers": 1,
        "num_pooler_layers": 1,
        "initializer_range": 0.2,
        **_labels(),
        **more,
    }
    processor = {
        "video_processor_type": "VJEPA2VideoProcessor",
        "do_resize": True,
        "do_center_crop": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "resample": 2,
        "size": {"shortest_edge": 36},
        "crop_size": {"height": SIZE, "width": SIZE},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    return VJEPA2ForVideoClassification(VJEPA2Config(**body)), processor


def _videoprism(**more: Any) -> tuple[Any, dict[str, Any]]:
    from transformers import VideoPrismForVideoClassification, VideoPrismVisionConfig

    body = _body(num_spatial_layers=2, num_temporal_layers=1)
    del body["num_hidden_layers"]
    config = VideoPrismVisionConfig(
        **{"image_size": SIZE, "tubelet_size": [1, 8, 8], "num_frames": 4, **body, **more}
    )
    processor = {
        "video_processor_type": "LlavaOnevisionVideoProcessor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": False,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": SIZE, "width": SIZE},
    }
    return VideoPrismForVideoClassification(config), processor


def _vit(**more: Any) -> tuple[Any, dict[str, Any]]:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(**{"image_size": SIZE, "patch_size": 8, **_body(), **more})
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "resample": 2,
        "size": {"height": SIZE, "width": SIZE},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    return ViTForImageClassification(config), processor


def _resnet(**more: Any) -> tuple[Any, dict[str, Any]]:
    """A frame model that is no transformer, with ConvNeXT's processor as microsoft/resnet-50 has it."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        **{"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], **_labels(), **more}
    )
    processor = {
        "image_processor_type": "ConvNextImageProcessor",
        "crop_pct": 0.875,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "resample": 3,
        "size": {"shortest_edge": SIZE},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    return ResNetForImageClassification(config), processor


_MAKERS: dict[str, Callable[..., tuple[Any, dict[str, Any]]]] = {
    "timesformer": _timesformer,
    "videomae": _videomae,
    "vivit": _vivit,
    "vjepa2": _vjepa2,
    "videoprism": _videoprism,
    "vit": _vit,
    "resnet": _resnet,
}
VIDEO_FAMILIES = ("timesformer", "videomae", "vivit", "vjepa2", "videoprism")
FRAME_FAMILIES = ("vit", "resnet")


def save(family: str, folder: Path, **config: Any) -> Path:
    """Write a random checkpoint of a family; `config` overrides its config.json. Returns the folder."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(7)
    model, processor = _MAKERS[family](**config)
    model.eval().save_pretrained(folder)
    video = "video_processor_type" in processor
    name = "video_preprocessor_config.json" if video else "preprocessor_config.json"
    (folder / name).write_text(json.dumps(processor), "utf-8")
    return folder


@cache
def shared(family: str) -> Path:
    """The plain checkpoint of a family, made once for the test run and all its workers; read only."""
    return once(family, lambda folder: save(family, folder))


# --- models of pictures and words: with a real tokenizer, its vocabulary small ---

TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
LINES = (
    "a person waving", "someone waves a hand", "an empty room", "a photo of nothing", "something else",
    "a person falling down the stairs", "this is a photo of a dog", "a video frame of somebody reading",
)  # fmt: skip


def _bpe_tokenizer(folder: Path, longest: int) -> int:
    """CLIP's tokenizer over bytes with a few merges; returns the size of the vocabulary."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    merges = [("w", "a"), ("wa", "v"), ("i", "n"), ("in", "g</w>"), ("p", "e"), ("pe", "r"), ("a", "n</w>")]
    tokens += ["".join(pair) for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=longest).save_pretrained(folder)
    return len(vocabulary)


def _sentencepiece_tokenizer(folder: Path, longest: int) -> int:
    """SigLIP's tokenizer on a sentencepiece model trained on LINES; returns the size of the vocabulary."""
    import io

    import sentencepiece
    from transformers import SiglipTokenizer

    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 20), model_writer=trained, vocab_size=60, hard_vocab_limit=False,
        pad_id=-1, bos_id=-1, eos_id=1, unk_id=2, minloglevel=2,
    )  # fmt: skip
    with (folder / "spiece.model").open("wb") as file:
        file.write(trained.getvalue())
    tokenizer = SiglipTokenizer(str(folder / "spiece.model"), model_max_length=longest)
    tokenizer.save_pretrained(folder)
    return int(tokenizer.vocab_size)


def _clip(folder: Path) -> tuple[Any, dict[str, Any]]:
    from transformers import CLIPConfig, CLIPModel

    size = _bpe_tokenizer(folder, 48)
    text = {**TEXT, "vocab_size": size, "max_position_embeddings": 48, "initializer_range": 0.2,
            "bos_token_id": size - 2, "eos_token_id": size - 1}  # fmt: skip
    vision = {**TEXT, "image_size": SIZE, "patch_size": 8, "initializer_range": 0.2}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
    return model, _clip_processor()


def _siglip(folder: Path) -> tuple[Any, dict[str, Any]]:
    from transformers import SiglipConfig, SiglipModel

    size = _sentencepiece_tokenizer(folder, 40)
    text = {**TEXT, "vocab_size": size, "max_position_embeddings": 40}
    vision = {**TEXT, "image_size": SIZE, "patch_size": 8}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    torch.nn.init.constant_(model.logit_scale, 1.5)
    torch.nn.init.constant_(model.logit_bias, -0.5)
    processor = {
        "image_processor_type": "SiglipImageProcessor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "resample": 3,
        "size": {"height": SIZE, "width": SIZE},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    return model, processor


def _xclip(folder: Path) -> tuple[Any, dict[str, Any]]:
    from transformers import XCLIPConfig, XCLIPModel

    size = _bpe_tokenizer(folder, 48)
    text = {**TEXT, "vocab_size": size, "max_position_embeddings": 48}
    vision = {**TEXT, "image_size": SIZE, "patch_size": 8, "num_frames": 4, "mit_hidden_size": 32,
              "mit_intermediate_size": 64, "mit_num_attention_heads": 2}  # fmt: skip
    config = XCLIPConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=32,
        prompt_num_attention_heads=2,
        prompt_alpha=0.5,
    )
    imagenet = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    return XCLIPModel(config), _crop_processor(**imagenet)


def _clip_processor() -> dict[str, Any]:
    """As openai/clip-* ship it."""
    return {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "resample": 3,
        "size": SIZE,
        "crop_size": SIZE,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }


_WORD_MAKERS = {"clip": _clip, "siglip": _siglip, "xclip": _xclip}
WORD_FAMILIES = tuple(_WORD_MAKERS)


def save_words(family: str, folder: Path) -> Path:
    """Write a random checkpoint of a family that reads words, with its tokenizer. Returns the folder."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(7)
    folder.mkdir(parents=True, exist_ok=True)
    model, processor = _WORD_MAKERS[family](folder)
    for name, weight in model.named_parameters():  # large enough for scores to differ
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.2)
        elif "alpha" not in name and weight.dim() == 1 and name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.1)
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), "utf-8")
    return folder
