"""What a training asks of torch, transformers and safetensors before it begins."""

from __future__ import annotations

import torch
from safetensors import SafetensorError

FAILURES = (OSError, RuntimeError, SafetensorError)  # what the libraries raise where a training cannot go on


def be_quiet() -> None:
    """transformers' own lines and bars do not go between ours."""
    # not above: when it is imported it looks for accelerate, once, and `need` may install that later
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def has_fast_bf16(device: str) -> bool:
    """Whether a GPU is there, may be used, and computes in bfloat16."""
    return device != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
