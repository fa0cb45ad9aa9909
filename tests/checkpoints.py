"""Small random checkpoints of every family, with the processors that real ones have."""

from __future__ import annotations

import atexit
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

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
    torch.nn.init.normal_(
        model.timesformer.embeddings.time_embeddings
    )  # zero, where the order would not show
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
    """The plain checkpoint of a family, made once for the test run; read only."""
    folder = Path(mkdtemp(prefix=f"streamer-{family}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return save(family, folder)
