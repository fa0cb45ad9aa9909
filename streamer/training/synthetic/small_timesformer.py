"""The demo's small TimeSformer and a start from which it learns motion quickly.

Transformers starts time and position embeddings at zero; a small model then sees neither the order nor the
place of what it looks at for thousands of steps. Here both start smooth and as loud as the picture, and the
patch embedding starts as a whitened cosine transform (Ahmed, Natarajan and Rao, 1974): the low
frequencies of brightness and colour that natural pictures are made of.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import TimesformerConfig, TimesformerForVideoClassification

from streamer.training.synthetic import motions

MEAN, STD = 0.45, 0.225  # the published TimeSformer checkpoints' own numbers
LICENCE = "Apache-2.0"


def make_config(hidden: int = 192, layers: int = 4, patch: int = 16) -> TimesformerConfig:
    """The architecture; unknown keys such as ``streamer`` live in config.json and survive a round trip."""
    labels = dict(enumerate(motions.LABELS))
    return TimesformerConfig(
        image_size=motions.SIZE,
        patch_size=patch,
        num_frames=motions.FRAMES,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        intermediate_size=4 * hidden,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.08,
        id2label=labels,
        label2id={name: index for index, name in labels.items()},
        streamer={"interval": motions.INTERVAL, "licence": LICENCE},
    )


def _waves(places: Tensor, dim: int, generator: torch.Generator) -> Tensor:
    """(P, A) coordinates in [-1, 1] -> (P, dim) smooth, loud, mixed features of unit spread."""
    features = [places, places**2 - 1 / 3]
    for order in (1, 2, 3):
        features += [torch.sin(math.pi / 2 * order * places), torch.cos(math.pi / 2 * order * places)]
    for k in range(places.shape[1]):
        features.append(places * places[:, k : k + 1])
    stacked = torch.cat(features, 1)
    mix = torch.randn(stacked.shape[1], dim, generator=generator) / math.sqrt(stacked.shape[1])
    out = stacked @ mix
    return out / out.std()


def _cosines(patch: int, hidden: int) -> Tensor:
    """(hidden, 3, patch, patch): the lowest cosine waves of brightness and two colour differences."""
    k = np.arange(patch)
    basis = np.cos(np.pi * (k[None] + 0.5) * k[:, None] / patch) * np.sqrt(2 / patch)
    basis[0] /= np.sqrt(2)
    colours = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
    order = sorted(
        (u * u + v * v + (30 if c else 0) * (patch / 16) ** 2, u, v, c)
        for u in range(patch)
        for v in range(patch)
        for c in range(3)
    )[:hidden]
    weights = np.zeros((hidden, 3, patch, patch), np.float32)
    for row, (_, u, v, c) in enumerate(order):
        strength = 1.6 * (1.0 if c == 0 else 2.0) * (0.35 + math.hypot(u, v)) / patch
        weights[row] = strength * colours[c][:, None, None] * np.outer(basis[u], basis[v])
    return torch.from_numpy(weights)


def make_model(config: TimesformerConfig, seed: int = 0) -> TimesformerForVideoClassification:
    """A fresh model with the start described above; the same for the same ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = TimesformerForVideoClassification(config)
    embeddings = model.timesformer.embeddings
    hidden, grid = config.hidden_size, config.image_size // config.patch_size
    with torch.no_grad():
        axis = torch.linspace(-1, 1, grid)
        places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
        embeddings.position_embeddings[0, 1:] = 0.7 * _waves(places, hidden, generator)
        times = torch.linspace(-1, 1, config.num_frames)[:, None]
        embeddings.time_embeddings[0] = 1.0 * _waves(times, hidden, generator)
        embeddings.cls_token.normal_(0, 0.5, generator=generator)
        projection = embeddings.patch_embeddings.projection
        rotation = torch.linalg.qr(torch.randn(hidden, hidden, generator=generator))[0]
        cosines = _cosines(config.patch_size, hidden).reshape(hidden, -1)
        projection.weight.copy_((rotation @ cosines).reshape(projection.weight.shape))
        for layer in model.timesformer.encoder.layer:
            for module in (layer.attention.output.dense, layer.output.dense, layer.temporal_dense):
                module.weight.mul_(1 / math.sqrt(config.num_hidden_layers))
    return model


class AuxiliaryHeads(nn.Module):
    """Training's helpers, thrown away afterwards: where is the object in each frame, how large, whereto?

    Dense answers for each frame and patch teach a small model to find objects and to see them move in
    hundreds of steps, where one word for each clip takes tens of thousands.
    """

    def __init__(self, config: TimesformerConfig) -> None:
        super().__init__()
        self.frames, self.grid = config.num_frames, config.image_size // config.patch_size
        self.norms = nn.ModuleList(nn.LayerNorm(config.hidden_size) for _ in range(3))
        self.cover = nn.Linear(config.hidden_size, 1)
        self.motion = nn.Linear(config.hidden_size, 3 * config.num_frames)
        self.flow = nn.Linear(config.hidden_size, 3)

    def forward(self, middle: Tensor, late: Tensor, last: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Mean loss of: each patch's cover by moving objects (from the middle), the motion of what covers it
        (from three quarters up), and the object's track (from the last layer's class token)."""
        tracks, visible = batch["tracks"], batch["visible"]
        covers = torch.stack([cover(tracks[:, k], self.grid) for k in range(tracks.shape[1])])
        covered = covers.amax(0)  # (B, N, T)
        shape = (len(visible), self.grid**2, self.frames)
        logits = self.cover(self.norms[0](middle[:, 1:])).view(shape)  # tokens are patch-major
        entropy = nn.functional.binary_cross_entropy_with_logits
        loss = entropy(logits, covered, reduction="none").mean((1, 2))

        speeds = torch.gradient(tracks, dim=2)[0].transpose(0, 1) * 10  # tenths of a height (or fold) a frame
        flow = torch.einsum("kbnt,kbtc->bntc", covers, speeds) / covers.sum(0).clamp(min=1e-3)[..., None]
        seen = self.flow(self.norms[2](late[:, 1:])).view(*shape, 3)
        error = nn.functional.smooth_l1_loss(seen, flow, beta=0.3, reduction="none").mean(-1)
        loss = loss + (error * covered).sum((1, 2)) / covered.sum((1, 2)).clamp(min=1)

        alone = (tracks[:, 1:, :, 2] < -5).all(2).all(1).float()  # a procession has no one track
        told = self.motion(self.norms[1](last[:, 0])).view(-1, self.frames, 3)
        aim = tracks[:, 0] * torch.tensor([2.0, 2.0, 1.0]) + torch.tensor([0.0, 0.0, 1.0])
        error = nn.functional.smooth_l1_loss(told, aim, beta=0.1, reduction="none").mean((1, 2))
        return ((loss + error * alone) * visible).sum() / visible.sum().clamp(min=1)


def cover(track: Tensor, grid: int) -> Tensor:
    """(B, T, 3) tracks -> (B, grid*grid, T): how much of each patch an object there covers, 0 to 1."""
    edges = torch.linspace(-0.5, 0.5, grid + 1)
    half = 0.42 * track[..., 2:].exp()

    def along(centre: Tensor) -> Tensor:
        low = torch.maximum(centre[..., None] - half, edges[:-1])
        high = torch.minimum(centre[..., None] + half, edges[1:])
        return ((high - low) * grid).clamp(0, 1)

    both = along(track[..., 1])[..., :, None] * along(track[..., 0])[..., None, :]  # (B, T, rows, columns)
    return both.flatten(2).transpose(1, 2)


def to_pixels(clips: Any) -> Tensor:
    """(B, T, H, W, 3) uint8 -> (B, T, 3, H, W) float32, normalised as preprocessor_config.json says."""
    return (torch.as_tensor(clips).permute(0, 1, 4, 2, 3).float() / 255 - MEAN) / STD
