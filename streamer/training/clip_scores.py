"""Numbers for clips: one label each. Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def confusion(truth: NDArray[Any], guess: NDArray[Any], labels: int) -> NDArray[np.int64]:
    """(L, L) counts, truth by row, guess by column. `truth`, `guess`: (N,) indices."""
    matrix = np.zeros((labels, labels), dtype=np.int64)
    np.add.at(matrix, (np.asarray(truth, dtype=np.intp), np.asarray(guess, dtype=np.intp)), 1)
    return matrix


def top_k(scores: NDArray[Any], truth: NDArray[Any], k: int) -> float:
    """Share of the rows of (N, L) scores whose true label (N,) is among the k best; equal scores in the
    order of the labels. 0 of nothing.
    """
    if not len(truth):
        return 0.0
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best == np.asarray(truth)[:, None]).any(1).mean())


def by_label(matrix: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Precision, recall and F1 (L,) of a confusion matrix; 0 where nothing was guessed or true."""
    hits = np.diag(matrix).astype(np.float64)
    guessed, true = matrix.sum(0), matrix.sum(1)
    precision = np.divide(hits, guessed, out=np.zeros_like(hits), where=guessed > 0)
    recall = np.divide(hits, true, out=np.zeros_like(hits), where=true > 0)
    both = guessed + true
    f1 = np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
    return precision, recall, f1


def measure_clips(scores: NDArray[Any], truth: NDArray[Any], labels: Sequence[str]) -> dict[str, Any]:
    """Everything about labelled clips, as one JSON object.

    Args:
        scores: (N, L), higher is better.
        truth: (N,) indices of `labels`.

    The macro averages go over the labels that occur in `truth`: what cannot be measured does not count.
    """
    guess = scores.argmax(1) if len(truth) else np.zeros(0, dtype=np.int64)
    matrix = confusion(truth, guess, len(labels))
    precision, recall, f1 = by_label(matrix)
    occurs = np.flatnonzero(matrix.sum(1))
    return {
        "clips": len(truth),
        "top1": round(top_k(scores, truth, 1), 4),
        "top5": round(top_k(scores, truth, min(5, len(labels))), 4),
        "macro_precision": _macro(precision, occurs),
        "macro_recall": _macro(recall, occurs),
        "macro_f1": _macro(f1, occurs),
        "by_label": {
            labels[i]: {
                "clips": int(matrix[i].sum()),
                "precision": round(float(precision[i]), 4),
                "recall": round(float(recall[i]), 4),
                "f1": round(float(f1[i]), 4),
            }
            for i in occurs.tolist()
        },
        "confusion": matrix.tolist(),
    }


def _macro(values: NDArray[Any], occurs: NDArray[Any]) -> float:
    return round(float(values[occurs].mean()), 4) if len(occurs) else 0.0
