"""Our measures against scikit-learn's, on numbers that hypothesis makes up: the same to twelve digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.training import clip_scores, stream_scores
from streamer.training.trainer import numbers

LABELS = 5
pairs = st.lists(st.tuples(st.integers(0, LABELS - 1), st.integers(0, LABELS - 1)), min_size=1, max_size=60)


def oracle() -> Any:
    """scikit-learn's measures; imported here alone, by the one process that asks them."""
    from sklearn import metrics

    return metrics


@settings(deadline=None)
@given(pairs)
def test_precision_recall_and_f1_of_each_label(rows: list[tuple[int, int]]) -> None:
    truth, guess = np.array(rows).T
    matrix = clip_scores.confusion(truth, guess, LABELS)
    np.testing.assert_array_equal(matrix, oracle().confusion_matrix(truth, guess, labels=range(LABELS)))
    theirs = oracle().precision_recall_fscore_support(truth, guess, labels=range(LABELS), zero_division=0)
    for ours, expected in zip(clip_scores.by_label(matrix), theirs, strict=False):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


@settings(deadline=None)
@given(pairs)
def test_macro_averages_over_the_labels_that_occur(rows: list[tuple[int, int]]) -> None:
    truth, guess = np.array(rows).T
    scores = np.eye(LABELS)[guess]
    found = clip_scores.measure_clips(scores, truth, [str(n) for n in range(LABELS)])
    occurring = sorted(set(truth.tolist()))
    expected = oracle().f1_score(truth, guess, labels=occurring, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected, abs=5e-5)  # rounded to four digits
    assert found["top1"] == pytest.approx(oracle().accuracy_score(truth, guess), abs=5e-5)

    class Output:
        predictions, label_ids = scores, truth

    assert numbers(Output)["macro_f1"] == pytest.approx(expected, rel=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_top_k(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = rng.random((40, LABELS)), rng.integers(LABELS, size=40)
    expected = oracle().top_k_accuracy_score(truth, scores, k=k, labels=range(LABELS))
    assert clip_scores.top_k(scores, truth, k) == pytest.approx(expected, rel=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=80))
def test_average_precision_with_ties(rows: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([row[0] for row in rows]) / 20, np.array([row[1] for row in rows])
    ours: Any = stream_scores.average_precision(scores, positive)
    if not positive.any():
        assert ours is None
        return
    assert ours == pytest.approx(oracle().average_precision_score(positive, scores), rel=1e-12)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_f1_of_events(tp: int, fp: int, fn: int) -> None:
    counts = stream_scores.Counts(tp, fp, fn)
    truth = [1] * tp + [0] * fp + [1] * fn
    guess = [1] * tp + [1] * fp + [0] * fn
    if not truth:
        assert counts.f1 is None
        return
    expected = oracle().f1_score(truth, guess, zero_division=0)
    assert counts.f1 == pytest.approx(expected, rel=1e-12)
