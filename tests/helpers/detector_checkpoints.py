"""Small checkpoints of object detection with random weights, in transformers' own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def nano_config(**more: Any) -> Any:
    """D-FINE-N's shape, as ustc-community/dfine-nano-coco has it."""
    from transformers import DFineConfig

    backbone = {
        "model_type": "hgnet_v2",
        "stem_channels": [3, 16, 16],
        "stage_in_channels": [16, 64, 256, 512],
        "stage_mid_channels": [16, 32, 64, 128],
        "stage_out_channels": [64, 256, 512, 1024],
        "stage_num_blocks": [1, 1, 2, 1],
        "stage_downsample": [False, True, True, True],
        "stage_light_block": [False, False, True, True],
        "stage_kernel_size": [3, 3, 5, 5],
        "stage_numb_of_layers": [3, 3, 3, 3],
        "hidden_sizes": [64, 256, 512, 1024],
        "depths": [3, 4, 6, 3],
        "use_learnable_affine_block": True,
        "out_features": ["stage3", "stage4"],
    }
    shape = {
        "backbone_config": backbone,
        "encoder_in_channels": [512, 1024],
        "feat_strides": [16, 32],
        "num_feature_levels": 2,
        "d_model": 128,
        "encoder_hidden_dim": 128,
        "encoder_ffn_dim": 512,
        "decoder_in_channels": [128, 128],
        "decoder_ffn_dim": 512,
        "decoder_layers": 3,
        "decoder_n_points": [6, 6],
        "encode_proj_layers": [1],
        "hidden_expansion": 0.34,
        "depth_mult": 0.5,
        "eval_idx": -1,
    }
    labels = {0: "person", 1: "bicycle", 2: "car"}
    return DFineConfig(**{**shape, "id2label": labels, **more})


def save_detector(folder: Path, size: int = 64, **more: Any) -> Path:
    """A D-FINE with random weights that takes pictures of `size`."""
    from transformers import DFineForObjectDetection
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    torch.manual_seed(0)
    DFineForObjectDetection(nano_config(**more)).save_pretrained(folder)
    RTDetrImageProcessorPil(size={"height": size, "width": size}).save_pretrained(folder)
    return folder
