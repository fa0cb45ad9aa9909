"""A data set on disk: which clips there are, their labels, and which part of the split each belongs to.

Layouts: a folder with `train/ val/ test/` of class folders; class folders alone; a CSV file with the columns
path,label and optionally start,end (seconds), split, group, or a folder with such a file called labels.csv.
Rows without a label are clips that nobody has looked at yet: they are left out, and counted in a note. Class
folders hold videos, or pictures (for models of single frames).

A *group* is what must not stand on both sides of a split, because its clips look alike: a recording. It is
the column `group`, what --group finds in the path, UCF101's `v_NAME_gNN`, the name before `_cNN`, `_clipNN`
or `_partNN`, the video that segments are cut from, or else the file itself.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from streamer.errors import DatasetError
from streamer.recording.uncertain_files import LABELS_FILE
from streamer.system.csv_rows import read_rows
from streamer.training.ground_truth import VIDEO_SUFFIXES, seconds

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SPLITS = ("train", "val", "test")
FOLDERS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
           "test": "test", "testing": "test"}  # fmt: skip
SHARES = {"val": 0.15, "test": 0.15}  # of the groups, where nobody has split them
_UCF101 = re.compile(r"(v_.+_g\d+)_c\d+")
_PART = re.compile(r"(.+)[_-](?:c|clip|part|seg)\d+", re.IGNORECASE)
SHOWN = 3  # examples in a message
LEAST_TO_LEARN, LEAST_TO_CHECK = 10, 5  # recordings of a label, below which the user is warned


@dataclass(frozen=True, slots=True)
class Clip:
    """A labelled piece of a file; `start` and `end` in its seconds, None: the whole file."""

    path: Path
    label: str
    start: float | None = None
    end: float | None = None
    group: str = ""
    split: str = ""  # "" = not decided


@dataclass(frozen=True, slots=True)
class Layout:
    """A data set as it lies on disk. `notes`: what the user should know."""

    clips: tuple[Clip, ...] = field(repr=False)
    pictures: bool  # single pictures instead of videos
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the alphabet."""
        return tuple(sorted({clip.label for clip in self.clips}))


def read_layout(path: Path, group: str | None = None, *, unlabelled: bool = False) -> Layout:
    """Find the clips of a data set.

    Args:
        path: a folder or a CSV file.
        group: a regular expression whose first group (or whole match) in a file's path names its recording.
        unlabelled: rows without a label are clips too, with the label "".

    Raises:
        DatasetError: there is none, or it cannot be understood.
    """
    notes: tuple[str, ...] = ()
    table = path / LABELS_FILE if path.is_dir() else path
    if table.is_file():
        clips = _from_csv(table)
        labelled = [clip for clip in clips if clip.label]
        without = len(clips) - len(labelled)
        if without and not labelled and not unlabelled:
            raise DatasetError(f"no row of {table} has a label; fill in the column label")
        if without and not unlabelled:
            clips, notes = labelled, (f"left out: {without} rows of {table} without a label",)
    elif path.is_dir():
        clips = _from_folder(path)
    else:
        raise DatasetError(f"there is no data set {path}: name a folder of class folders, or a CSV file")
    if not clips:
        raise DatasetError(
            f"{path} holds no clips: it needs class folders with videos ({', '.join(VIDEO_SUFFIXES)}), or "
            "train/ val/ test/ with such folders"
        )
    kinds = Counter(clip.path.suffix.lower() in IMAGE_SUFFIXES for clip in clips)
    if len(kinds) > 1:
        raise DatasetError(f"{path} mixes {kinds[False]} videos and {kinds[True]} pictures; keep one kind")
    return Layout(tuple(grouped(clips, group)), kinds[True] > 0, notes)


def grouped(clips: Iterable[Clip], group: str | None) -> list[Clip]:
    """Clips with the name of their recording, where they have none yet.

    Raises:
        DatasetError: `group` (see `read_layout`) is no regular expression, or finds nothing in a path.
    """
    try:
        pattern = re.compile(group) if group else None
    except re.error as error:
        raise DatasetError(f"--group {group!r} is not a regular expression: {error}") from error
    return [clip if clip.group else replace(clip, group=_group(clip, pattern)) for clip in clips]


def _from_folder(root: Path) -> list[Clip]:
    parts = [(FOLDERS.get(folder.name.lower()), folder) for folder in _folders(root)]
    split = [(name, folder) for name, folder in parts if name and _folders(folder)]
    if not split:
        return _classes(root, "")
    others = [folder.name for name, folder in parts if not name]
    if others:
        raise DatasetError(
            f"{root} has {', '.join(f.name for _, f in split)} beside {', '.join(others[:SHOWN])}: a data "
            "set is either split into train, val and test, or class folders alone"
        )
    return [clip for name, folder in split for clip in _classes(folder, name or "")]


def _classes(folder: Path, split: str) -> list[Clip]:
    return [
        Clip(file, " ".join(own.name.split()), split=split)
        for own in _folders(folder)
        for file in sorted(own.rglob("*"))
        if file.suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)
        and not file.name.startswith(".")
        and file.is_file()
    ]


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _from_csv(path: Path) -> list[Clip]:
    """Its clips, with the label "" where a row has none."""
    clips = []
    for number, row in read_rows(path, ("path", "label")):
        where = f"{path}, line {number}"
        label, split = " ".join(row["label"].split()), row.get("split", "").lower()
        if not row["path"]:
            raise DatasetError(f"{where}: a row needs a path")
        if split and split not in FOLDERS:
            raise DatasetError(f"{where}: split is train, val or test, found {row['split']!r}")
        start, end = (
            seconds(row[key], f"{where}, {key}") if row.get(key) else None for key in ("start", "end")
        )
        if (start or 0.0) < 0.0 or (end is not None and end <= (start or 0.0)):
            raise DatasetError(f"{where}: 0 <= start < end in seconds, found {row['start']},{row['end']}")
        file = path.parent / Path(row["path"]).expanduser()
        clips.append(Clip(file, label, start, end, row.get("group", ""), FOLDERS.get(split, "")))
    return clips


def _group(clip: Clip, pattern: re.Pattern[str] | None) -> str:
    stem = clip.path.stem
    if pattern is not None:
        found = pattern.search(clip.path.as_posix())
        if found is None:
            raise DatasetError(f"--group {pattern.pattern!r} finds nothing in {clip.path}; mend the pattern")
        return found.group(1) if found.groups() else found.group()
    for form in (_UCF101, _PART):
        if found := form.fullmatch(stem):
            return found.group(1)
    return clip.path.as_posix()


def join_copies(clips: Sequence[Clip], digests: Mapping[Path, str]) -> tuple[list[Clip], int]:
    """Clips whose files have the same content become one group; and how many copies there are."""
    first: dict[str, str] = {}
    renamed: dict[str, str] = {}

    def root(group: str) -> str:
        while group in renamed:
            group = renamed[group]
        return group

    copies = {clip.path for clip in clips}
    for clip in clips:
        digest = digests.get(clip.path)
        if digest is None:
            continue
        one, other = root(first.setdefault(digest, clip.group)), root(clip.group)
        if one != other:
            renamed[other] = one
    joined = [replace(clip, group=root(clip.group)) for clip in clips]
    return joined, len(copies) - len({digests.get(path, str(path)) for path in copies})


def check_leak(clips: Iterable[Clip], *, allowed: bool = False) -> list[str]:
    """Refuse a given split in which a group is on both sides.

    Raises:
        DatasetError: it does, and is not `allowed`; otherwise a note comes back.
    """
    sides: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.split:
            sides[clip.group].add(clip.split)
    leaks = sorted(group for group, splits in sides.items() if len(splits) > 1)
    if not leaks:
        return []
    shown = "; ".join(f"{Path(g).name} in {' and '.join(sorted(sides[g]))}" for g in leaks[:SHOWN])
    more = f" and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
    text = f"the split leaks: {len(leaks)} recordings stand on both sides ({shown}{more})"
    if not allowed:
        raise DatasetError(
            f"{text}; such accuracy means nothing: put each recording on one side (let streamer split the "
            "class folders by itself, or --group names recordings), or --allow-leak trains all the same"
        )
    return [text]


def split_by_group(clips: Sequence[Clip], seed: int = 0) -> list[Clip]:
    """Give every clip without a split one: no group on both sides, each label in as many parts as it can be.

    About 15 % of each label's groups go to val and to test each (at least one; no test with two groups); the
    choice depends on the seed and the groups' names only. Where train/ is given without val/, val comes out
    of train.

    Raises:
        DatasetError: a label has only one group, or none left for training.
    """
    given = {clip.split for clip in clips} - {""}
    pool = [clip for clip in clips if not clip.split or (clip.split == "train" and "val" not in given)]
    wanted = [name for name in ("val", "test") if name not in given and (name == "val" or not given)]
    if wanted:
        chosen = _choose(pool, wanted, seed)
        pooled = set(map(id, pool))
        clips = [replace(c, split=chosen.get(c.group, "train")) if id(c) in pooled else c for c in clips]
    else:
        clips = [clip if clip.split else replace(clip, split="train") for clip in clips]
    _check_labels(clips)
    return list(clips)


def _choose(pool: Sequence[Clip], wanted: Sequence[str], seed: int) -> dict[str, str]:
    """group -> "val" or "test" (the rest trains). Labels with the fewest groups choose first."""
    groups: dict[str, set[str]] = defaultdict(set)
    for clip in pool:
        groups[clip.label].add(clip.group)
    chosen: dict[str, str] = {}
    for label in sorted(groups, key=lambda name: (len(groups[name]), name)):
        own = sorted(groups[label], key=lambda group: shuffled(group, seed))
        if len(own) < 2:
            _too_few(label, pool)
        for name in wanted[: 1 if len(own) == 2 else 2]:
            aim = max(1, round(SHARES[name] * len(own)))
            have = sum(chosen.get(group) == name for group in own)
            for group in own:
                free = sum(g not in chosen for g in own)
                if have < aim and group not in chosen and free > 1:
                    chosen[group] = name
                    have += 1
    return chosen


def shuffled(group: str, seed: int) -> str:
    """Recordings sorted by this are in an order that depends on the seed and their names alone."""
    name = Path(group).name if "/" in group else group  # the same split wherever the folder lies
    return hashlib.sha256(f"{seed} {name} {group}".encode()).hexdigest()


def _too_few(label: str, clips: Iterable[Clip]) -> None:
    own = [clip for clip in clips if clip.label == label]
    advice = "record more (streamer collect), or leave the label out"
    if len(own) == 1:
        raise DatasetError(
            f"label {label!r} has one clip ({own[0].path}): one to learn from and another one to check with "
            f"are the least; {advice}"
        )
    raise DatasetError(
        f"label {label!r}: all {len(own)} clips are of one recording ({Path(own[0].group).name}), which "
        "cannot stand on both sides of a split (what one streamer collect records is one recording); "
        f"{advice}, at another time, or name recordings with --group or a column group"
    )


def _check_labels(clips: Sequence[Clip]) -> None:
    train = {clip.label for clip in clips if clip.split == "train"}
    if not train:
        raise DatasetError("no clips to train with: train/ is empty or absent")
    for label in sorted({clip.label for clip in clips} - train):
        raise DatasetError(f"label {label!r} has no clip to train with; put some of it into train")
    if not any(clip.split == "val" for clip in clips):
        raise DatasetError("no clips to check with: val/ is empty")
    if len(train) < 2:
        raise DatasetError(
            f"there is one label only ({next(iter(train))}): a model learns to tell labels apart; add clips "
            "of something else (streamer collect --label background records idle footage)"
        )


def too_small(clips: Sequence[Clip]) -> list[str]:
    """A note where the numbers that training ends with rest on too little to mean anything."""
    recordings: dict[tuple[str, str], set[str]] = defaultdict(set)
    for clip in clips:
        recordings[clip.label, "train" if clip.split == "train" else "others"].add(clip.group)
    labels = sorted({clip.label for clip in clips})
    few = [label for label in labels if len(recordings[label, "train"]) < LEAST_TO_LEARN]
    unsure = [label for label in labels if len(recordings[label, "others"]) < LEAST_TO_CHECK]
    notes = []
    if few:
        notes.append(
            f"little to learn from: fewer than {LEAST_TO_LEARN} recordings to train with of {_some(few)}; "
            "what the model learns may be the place and the clothes"
        )
    if unsure:
        notes.append(
            f"little to check with: fewer than {LEAST_TO_CHECK} recordings in val and test together of "
            f"{_some(unsure)}; the accuracy that comes out means little"
        )
    return notes


def _some(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return ", ".join(map(repr, labels[:SHOWN])) + more


def split_hash(clips: Iterable[Clip], digests: Mapping[Path, str]) -> str:
    """16 hexadecimal digits that change with any clip's content, label, bounds or side."""
    rows = sorted(f"{c.split} {c.label} {digests.get(c.path, c.path.name)} {c.start} {c.end}" for c in clips)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
