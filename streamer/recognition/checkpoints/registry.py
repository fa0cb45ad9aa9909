"""The published checkpoints: what each needs, costs and is for. No torch here.

Frames and sampling come from the authors' own training configurations (facebookresearch/TimeSformer
configs and README, VideoMAE MODEL_ZOO, model cards); GFLOP are two per multiply-add for one window (for
frame and word models: one frame), counted from the shapes. Checkpoints of Something-Something v2 were
trained on frames spread *uniformly over the clip*, however long; its clips last about 4 s, so their
interval here is 4 s / frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FPS = 30.0  # Kinetics; sampling rates of the papers are counted in its frames
SSV2_CLIP = 4.0  # seconds, about the mean length of a Something-Something v2 clip
NON_COMMERCIAL = "CC-BY-NC-4.0"

Kind = Literal["video", "frame", "words", "detector"]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One published checkpoint. `interval` in seconds, `size` in pixels (square), `gflop` per window."""

    id: str
    family: str  # transformers' model_type
    frames: int
    interval: float
    size: int
    licence: str | None  # None: see the checkpoint's own page
    gflop: float | None
    use: str  # what it is for, one line
    kind: Kind = "video"

    @property
    def span(self) -> float:
        """(T-1) x interval, seconds."""
        return (self.frames - 1) * self.interval


@dataclass(frozen=True, slots=True)
class Family:
    """What is assumed of a checkpoint that says nothing itself."""

    interval: float | None  # seconds
    why: str


FAMILIES: dict[str, Family] = {
    "timesformer": Family(32 / FPS, "every 32nd frame at 30 fps, as TimeSformer base on Kinetics"),
    "videomae": Family(4 / FPS, "every 4th frame at 30 fps, as VideoMAE on Kinetics"),
    "vivit": Family(2 / FPS, "every 2nd frame at 30 fps, as ViViT on Kinetics"),
    "vjepa2": Family(4 / FPS, "every 4th frame at 30 fps, as V-JEPA 2's probes on Kinetics"),
    "videoprism_vision_model": Family(0.25, "16 frames over 4 s"),
}
# Models of pictures and words; with a classification head of their own they are frame models.
WORD_FAMILIES = ("clip", "siglip", "siglip2", "xclip", "videoprism")
FRAME_FAMILY = Family(0.25, "four frames a second")
FRAMES_OF_FRAME_MODELS = 8  # how many frames one window of a frame model averages


_EVERYDAY = "400 everyday actions (Kinetics-400)"
_HANDS = "174 motions of hands and things (Something-Something v2)"
_WORDS = "actions named in your own words"


def _timesformer() -> list[KnownModel]:
    """Base and HR are Meta's own; the L variants were put on the Hub by the author of transformers' port."""
    sets = {"k400": _EVERYDAY, "k600": "600 everyday actions (Kinetics-600)", "ssv2": _HANDS}
    variants = (  # prefix, frames, sampling rate in frames, size, GFLOP of a frame, remark
        ("facebook/timesformer-base", 8, 32, 224, 49.0, ""),
        ("facebook/timesformer-hr", 16, 16, 448, 212.9, ", high resolution"),
        ("fcakyon/timesformer-large", 96, 4, 224, 49.58, ", long span"),
    )
    found = []
    for prefix, frames, rate, size, gflop, remark in variants:
        for name, use in sets.items():
            count, interval = frames, rate / FPS
            if name == "ssv2":
                count = 64 if frames == 96 else frames
                interval = SSV2_CLIP / count
            cost = round(gflop * count)
            hub_id = f"{prefix}-finetuned-{name}"
            licence, what = NON_COMMERCIAL, use + remark
            found.append(KnownModel(hub_id, "timesformer", count, interval, size, licence, cost, what))
    return found


def _videomae() -> list[KnownModel]:
    found = []
    quick = f"{_EVERYDAY}, quick ones: two seconds"
    for size, gflop in {"small": 114, "base": 361, "large": 1194, "huge": 2382}.items():
        for name, interval, use in (("kinetics", 4 / FPS, quick), ("ssv2", SSV2_CLIP / 16, _HANDS)):
            if name == "ssv2" and size not in ("small", "base"):
                continue  # not published
            hub_id = f"MCG-NJU/videomae-{size}-finetuned-{name}"
            found.append(KnownModel(hub_id, "videomae", 16, interval, 224, NON_COMMERCIAL, gflop, use))
    return found


_OTHERS: tuple[tuple[str, str, int, float, int, str | None, float, str, Kind], ...] = (
    # id, family, frames, interval, size, licence, GFLOP, use, kind
    ("google/vivit-b-16x2-kinetics400", "vivit", 32, 2 / FPS, 224, "MIT", 903, _EVERYDAY, "video"),
    ("facebook/vjepa2-vitl-fpc16-256-ssv2", "vjepa2", 16, SSV2_CLIP / 16, 256, "MIT", 1656, _HANDS, "video"),
    (
        "facebook/vjepa2-vitg-fpc64-384-ssv2",
        "vjepa2",
        64,
        SSV2_CLIP / 64,
        384,
        None,
        113_800,
        _HANDS,
        "video",
    ),
    ("facebook/vjepa2-vitl-fpc32-256-diving48", "vjepa2", 32, 2 / FPS, 256, None, 4136, "48 dives", "video"),
    ("google/vit-base-patch16-224", "vit", 8, 0.25, 224, "Apache-2.0", 35, "1000 things, by frame", "frame"),
    ("microsoft/xclip-base-patch32", "xclip", 8, 0.5, 224, "MIT", 79, _WORDS, "words"),
    ("microsoft/xclip-base-patch16-zero-shot", "xclip", 32, 0.125, 224, "MIT", 1160, _WORDS, "words"),
    ("openai/clip-vit-base-patch32", "clip", 8, 0.25, 224, "MIT", 9, _WORDS, "words"),
    ("openai/clip-vit-base-patch16", "clip", 8, 0.25, 224, "MIT", 35, _WORDS, "words"),
    ("google/siglip-base-patch16-224", "siglip", 8, 0.25, 224, "Apache-2.0", 35, _WORDS, "words"),
)

_PEOPLE = "finds people: --follow --set follow.detector=ID"
_DETECTORS = (  # id, family, size, GFLOP of a picture; all of them Apache-2.0
    ("ustc-community/dfine-nano-coco", "d_fine", 640, 7.0),
    ("PekingU/rtdetr_v2_r18vd", "rt_detr_v2", 640, 60.0),
    ("PekingU/rtdetr_r50vd", "rt_detr", 640, 136.0),
    ("hustvl/yolos-tiny", "yolos", 512, None),
)
DETECTORS = tuple(
    KnownModel(name, family, 1, 0.0, size, "Apache-2.0", gflop, _PEOPLE, "detector")
    for name, family, size, gflop in _DETECTORS
)

_KNOWN: tuple[KnownModel, ...] = (*_timesformer(), *_videomae(), *(KnownModel(*row) for row in _OTHERS))
_BY_ID = {model.id: model for model in (*_KNOWN, *DETECTORS)}
_BY_FOLDER = {model.id.rsplit("/", 1)[1]: model for model in (*_KNOWN, *DETECTORS)}


def known() -> list[KnownModel]:
    """Every published checkpoint in the table."""
    return list(_KNOWN)


def known_detectors() -> list[KnownModel]:
    """Every published detector in the table, for people who are followed."""
    return list(DETECTORS)


def find(name: str) -> KnownModel | None:
    """The entry of a Hub id, or of a folder called like the last part of one; None when there is none."""
    return _BY_ID.get(name) or _BY_FOLDER.get(name)


def cached(model_id: str) -> bool:
    """True when the Hub's cache on this machine holds the whole checkpoint: it loads without a network."""
    from streamer.recognition.checkpoints.checkpoint_files import cached_folder

    return cached_folder(model_id) is not None
