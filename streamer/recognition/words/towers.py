"""The visual halves of CLIP, SigLIP and X-CLIP, and the text halves, cut out of transformers' models.

The arithmetic is that of transformers' `CLIPModel`, `SiglipModel` and `XCLIPModel.forward`, split where the
words come in: what depends on the picture alone is computed once, whatever the words are.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


def unit(vectors: Tensor) -> Tensor:
    """(..., D), each of length one."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / lengths


class PictureTower(nn.Module):
    """(B, C, H, W) -> (B, D), of length one. Of CLIP (with a projection) and SigLIP (without)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision_model = model.vision_model
        self.projection = getattr(model, "visual_projection", nn.Identity())

    def forward(self, pixel_values: Tensor) -> Tensor:
        found: Tensor = self.projection(self.vision_model(pixel_values=pixel_values).pooler_output)
        return unit(found)


class VideoTower(nn.Module):
    """(B, T, C, H, W) -> (B, 1 + N, D): the video's embedding (not normalised), then its N patches' means.

    Of X-CLIP, whose words are adapted to the patches (`WordsToVideo`).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision_model = model.vision_model
        self.visual_projection = model.visual_projection
        self.mit = model.mit
        self.layernorm = model.prompts_visual_layernorm
        self.projection = model.prompts_visual_projection

    def forward(self, pixel_values: Tensor) -> Tensor:
        batch, frames = pixel_values.shape[:2]
        seen = self.vision_model(pixel_values=pixel_values.flatten(0, 1))
        pooled: Tensor = self.visual_projection(seen.pooler_output)
        video: Tensor = self.mit(pooled.view(batch, frames, -1)).pooler_output
        patches = self.layernorm(seen.last_hidden_state[:, 1:, :]) @ self.projection
        patches = patches.view(batch, frames, -1, video.shape[-1]).mean(1)
        return torch.cat([video[:, None], patches], 1)


class WordsToVideo(nn.Module):
    """X-CLIP's comparison: words (K, D) are adapted to a video's patches (N, D), then compared with it.

    A copy in fp32 on the host: it is small, and the words are there.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.generator = copy.deepcopy(model.prompts_generator).float().cpu().eval()
        self.scale = float(model.logit_scale.detach().float().exp())

    def forward(self, video: Tensor, patches: Tensor, text: Tensor) -> Tensor:
        """(D,), (N, D), (K, D) -> logits (K,)."""
        adapted: Tensor = text + self.generator(text[None], patches[None])[0]
        return self.scale * (unit(adapted) @ unit(video))


class TextTower(nn.Module):
    """Token ids (N, S) -> (N, D), projected, not normalised."""

    def __init__(self, model: Any, *, masked: bool) -> None:
        super().__init__()
        self.text_model = model.text_model
        self.projection = getattr(model, "text_projection", nn.Identity())
        self._masked = masked

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask if self._masked else None  # SigLIP reads its padding too
        found: Tensor = self.projection(
            self.text_model(input_ids=input_ids, attention_mask=mask).pooler_output
        )
        return found
