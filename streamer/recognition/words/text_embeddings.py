"""A set of words as numbers: the text embeddings of its outcomes, and how logits become scores.

Each label and each negative is one row; a row's embedding is the mean over its prompts in all templates.
Softmax models (CLIP, X-CLIP): the rows share the score 1. A label that does not beat every negative by the
margin loses its score, and all that no label keeps is "nothing of these". Sigmoid models (SigLIP): each row
has its own score; "nothing of these" is one minus the best score that a label keeps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from streamer.labels.model_labels import ModelLabels
from streamer.recognition.words.prompts import WordSet
from streamer.recognition.words.text_encoder import TextEncoder
from streamer.recognition.words.towers import unit

MARGIN = 0.1  # of softmax scores, where nobody says otherwise; sigmoid scores are small, there it is 0


@dataclass(frozen=True, slots=True)
class TextEmbeddings:
    """Ready to be compared with pictures. `text` is float32 (rows, D): labels first, then negatives."""

    words: WordSet
    labels: tuple[str, ...]  # the outcomes, "nothing of these" last
    text: Tensor
    rivals: Tensor  # bool (labels, negatives): which negative speaks against which label
    margin: float

    @property
    def outcomes(self) -> ModelLabels:
        """For the events: labels, thresholds, and that "nothing of these" is none."""
        return self.words.model_labels

    def scores(self, logits: Tensor, *, independent: bool) -> Tensor:
        """float32 (rows,) logits of one window -> scores (L,) of the outcomes, in [0, 1]."""
        rows = torch.sigmoid(logits) if independent else torch.softmax(logits, -1)
        if not self.words.has_nothing:
            return rows
        count = len(self.rivals)
        own, negatives = rows[:count], rows[count:]
        best = torch.where(self.rivals, negatives, 0.0).amax(1)
        # a margin of -1 keeps every label
        kept = torch.where(own >= best + self.margin, own, 0.0)
        nothing = 1.0 - (kept.max() if independent else kept.sum())
        return torch.cat([kept, nothing.clamp(0.0, 1.0)[None]])


def texts_of(words: WordSet, templates: tuple[str, ...]) -> list[list[str]]:
    """The texts of each row: of the labels, of the common negatives, of each label's own negatives."""
    templates = words.templates or templates
    rows = [word.prompts for word in words.words]
    rows += [(prompt,) for prompt in words.negatives]
    rows += [(prompt,) for word in words.words for prompt in word.negatives]
    return [[template.replace("{}", prompt) for prompt in row for template in templates] for row in rows]


def make_text_embeddings(
    words: WordSet, encoder: TextEncoder, templates: tuple[str, ...], *, normalised: bool, independent: bool
) -> TextEmbeddings:
    """Compute (or find) the embeddings of a set of words.

    Args:
        words: the set.
        encoder: the text model.
        templates: the family's, where the set has none.
        normalised: mean of unit vectors, again of length one (CLIP's prompt ensembles); else the plain mean.
        independent: sigmoid scores.

    Raises:
        ConfigError: a prompt is too long.
        ModelError: the text model failed.
    """
    rows = texts_of(words, templates)
    found = encoder.embeddings([text for row in rows for text in row])
    if normalised:
        found = unit(found)
    means = torch.stack([part.mean(0) for part in torch.split(found, [len(row) for row in rows])])
    if normalised:
        means = unit(means)
    margin = words.margin if words.margin is not None else 0.0 if independent else MARGIN
    return TextEmbeddings(words, words.labels, means, _rivals(words), margin)


def _rivals(words: WordSet) -> Tensor:
    common = len(words.negatives)
    count = common + sum(len(word.negatives) for word in words.words)
    rivals = torch.zeros(len(words.words), count, dtype=torch.bool)
    rivals[:, :common] = True
    start = common
    for index, word in enumerate(words.words):
        rivals[index, start : start + len(word.negatives)] = True
        start += len(word.negatives)
    return rivals
