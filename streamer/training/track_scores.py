"""Numbers for tracks against ground truth: who was found, and whether they kept their number. Pure functions.

- Recall and precision of boxes, and MOTA: Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking
  Performance: The CLEAR MOT Metrics", 2008. A pair that matched in the frame before goes first.
- IDF1: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", 2016:
  each true person is given one track for all of the video.
- HOTA: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", 2021.

Why not a library: of the two that are known (both MIT) trackeval 1.3 requires opencv-python, which cannot be
installed beside opencv-python-headless, matplotlib and pycocotools; motmetrics 1.4 (2022) requires pandas and
calls what numpy 2 no longer has. The tests hold these numbers to those of trackeval.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamer.types import Box

LIMIT = 0.5  # least intersection over union of a pair
ALPHAS = np.arange(0.05, 0.99, 0.05)  # HOTA is the mean over these limits

Boxes: TypeAlias = Sequence[tuple[Hashable, Box]]  # whose, where


@dataclass(frozen=True, slots=True)
class SeenMoment:
    """One picture: who is in it, and who was said to be."""

    truth: Boxes
    said: Boxes
    time: float = 0.0  # seconds of the file


@dataclass(slots=True)
class _Indexed:
    """Numbers instead of names, and how far boxes overlap."""

    truth: list[NDArray[np.intp]] = field(default_factory=list)
    said: list[NDArray[np.intp]] = field(default_factory=list)
    alike: list[NDArray[np.float64]] = field(default_factory=list)
    true_names: dict[Hashable, int] = field(default_factory=dict)
    said_names: dict[Hashable, int] = field(default_factory=dict)


def ious(a: Sequence[Box], b: Sequence[Box]) -> NDArray[np.float64]:
    """Intersection over union of each pair of boxes, (len(a), len(b))."""
    if not a or not b:
        return np.zeros((len(a), len(b)))
    one, other = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    low = np.maximum(one[..., :2], other[..., :2])
    high = np.minimum(one[..., :2] + one[..., 2:], other[..., :2] + other[..., 2:])
    common = np.prod(np.maximum(0.0, high - low), axis=-1)
    union = np.prod(one[..., 2:], axis=-1) + np.prod(other[..., 2:], axis=-1) - common
    return np.asarray(common / np.maximum(union, 1e-12))


def measure_tracks(moments: Sequence[SeenMoment]) -> dict[str, Any]:
    """Everything about the tracks of one video (or of several whose names differ), as one JSON object."""
    data = _indexed(moments)
    clear = _clear(data)
    true, said = clear["boxes"], clear["found"] + clear["false"]
    kept = _identity(data)
    return {
        "moments": len(moments),
        "people": len(data.true_names),
        "tracks": len(data.said_names),
        **clear,
        "recall": _share(clear["found"], true),
        "precision": _share(clear["found"], said),
        "idf1": _share(2 * kept, true + said),
        "mota": _share(clear["found"] - clear["false"] - clear["switches"], true),
        "hota": _hota(data),
    }


def person_of_tracks(moments: Sequence[SeenMoment]) -> dict[Hashable, Hashable]:
    """Whom each track is of: the true person with whom it shares most pictures; none: it is left out."""
    data = _indexed(moments)
    common = _common(data)
    true = list(data.true_names)
    return {
        name: true[int(common[:, number].argmax())]
        for name, number in data.said_names.items()
        if common.shape[0] and common[:, number].max() > 0
    }


def _indexed(moments: Sequence[SeenMoment]) -> _Indexed:
    data = _Indexed()
    for moment in moments:
        for names, numbers, boxes in (
            (data.true_names, data.truth, moment.truth),
            (data.said_names, data.said, moment.said),
        ):
            numbers.append(np.array([names.setdefault(name, len(names)) for name, _ in boxes], np.intp))
        data.alike.append(ious([box for _, box in moment.truth], [box for _, box in moment.said]))
    return data


def _clear(data: _Indexed) -> dict[str, int]:
    from scipy.optimize import linear_sum_assignment

    found = false = boxes = switches = 0
    last: dict[int, int] = {}  # true person -> the track that was theirs last
    before: dict[int, int] = {}  # the same, in the moment before
    for truth, said, alike in zip(data.truth, data.said, data.alike, strict=True):
        keeps = np.array([[before.get(int(t)) == s for s in said] for t in truth], float).reshape(alike.shape)
        score = np.where(alike >= LIMIT - 1e-9, 1000.0 * keeps + alike, 0.0)
        rows, columns = linear_sum_assignment(score, maximize=True)
        pairs = [(int(truth[r]), int(said[c])) for r, c in zip(rows, columns, strict=True) if score[r, c] > 0]
        switches += sum(t in last and last[t] != s for t, s in pairs)
        last.update(pairs)
        before = dict(pairs)
        found += len(pairs)
        false += len(said) - len(pairs)
        boxes += len(truth)
    return {"boxes": boxes, "found": found, "missed": boxes - found, "false": false, "switches": switches}


def _common(data: _Indexed) -> NDArray[np.float64]:
    """In how many pictures each true person and each track match, (people, tracks)."""
    common = np.zeros((len(data.true_names), len(data.said_names)))
    for truth, said, alike in zip(data.truth, data.said, data.alike, strict=True):
        rows, columns = np.nonzero(alike >= LIMIT)
        common[truth[rows], said[columns]] += 1
    return common


def _identity(data: _Indexed) -> int:
    """Most pictures in which tracks and people can match, one track a person."""
    from scipy.optimize import linear_sum_assignment

    common = _common(data)
    rows, columns = linear_sum_assignment(common, maximize=True)
    return int(common[rows, columns].sum())


def _hota(data: _Indexed) -> float | None:
    """The geometric mean of detection and association, over `ALPHAS`."""
    from scipy.optimize import linear_sum_assignment

    true = np.zeros((len(data.true_names), 1))
    said = np.zeros((1, len(data.said_names)))
    likely = np.zeros((true.size, said.size))
    for t, s, alike in zip(data.truth, data.said, data.alike, strict=True):
        shared = alike.sum(0)[None] + alike.sum(1)[:, None] - alike
        likely[np.ix_(t, s)] += np.divide(alike, shared, out=np.zeros_like(alike), where=shared > 1e-12)
        true[t] += 1
        said[0, s] += 1
    if not true.sum() + said.sum():
        return None
    aligned = likely / np.maximum(1e-12, true + said - likely)
    matches = np.zeros((len(ALPHAS), true.size, said.size))
    for t, s, alike in zip(data.truth, data.said, data.alike, strict=True):
        rows, columns = linear_sum_assignment(aligned[np.ix_(t, s)] * alike, maximize=True)
        over = alike[rows, columns] >= ALPHAS[:, None] - 1e-9
        for alpha in range(len(ALPHAS)):
            np.add.at(matches[alpha], (t[rows[over[alpha]]], s[columns[over[alpha]]]), 1)
    found = matches.sum((1, 2))
    detection = found / np.maximum(1, true.sum() + said.sum() - found)
    kept = matches / np.maximum(1, true + said - matches)
    association = (matches * kept).sum((1, 2)) / np.maximum(1, found)
    return round(float(np.sqrt(detection * association).mean()), 4)


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
