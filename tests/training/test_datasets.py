"""Data sets on disk: layouts, splits without leaks, what cannot be read, and clips as the model sees them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamer.cli.command_line import main
from streamer.errors import DatasetError
from streamer.recognition.checkpoints.processor import from_json
from streamer.recognition.preprocessing import Preprocessor
from streamer.training.clip_sampling import ClipDataset, ClipSettings, Collate, EpochOrder
from streamer.training.clips import (
    Augmentation,
    Sampling,
    TimedClip,
    find_timed_clips,
    indices,
    load_clip,
    names_a_side,
    open_dataset,
    starts,
)
from streamer.training.dataset_layout import (
    Clip,
    check_leak,
    join_copies,
    read_layout,
    split_by_group,
    split_hash,
    too_small,
)
from streamer.training.ground_truth import Segment, read_truth
from streamer.training.synthetic import action_plans, motions, textures
from streamer.training.synthetic import stream_windows as cut_windows
from streamer.training.synthetic.video_files import SPLITS as DEMO_SPLITS
from streamer.training.video_frames import nearest, read_frames, scan, scan_all
from tests.helpers.extras_parts import without
from tests.helpers.media import moving, read_stamp, write_clip, write_sound

NUMBERS = from_json(
    {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "do_normalize": True,
     "image_mean": [0.45] * 3, "image_std": [0.225] * 3, "resample": 2,
     "image_processor_type": "VideoMAEImageProcessor"},
    None, "test",
)  # fmt: skip

SAMPLING = Sampling(4, 0.3)


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def say(text: str) -> None:
    return None


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s at 25 frames/s, each frame stamped with its number."""
    return write_clip(tmp_path_factory.mktemp("video") / "v.mp4", moving(75))


def test_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "wave/a.mp4", "wave/deep/b.MOV", "walk/c.avi", "walk/notes.txt", ".cache/x/y.mp4")
    layout = read_layout(tmp_path)
    assert [(c.label, c.path.name, c.split) for c in layout.clips] == [
        ("walk", "c.avi", ""), ("wave", "a.mp4", ""), ("wave", "b.MOV", ""),
    ]  # fmt: skip
    assert layout.labels == ("walk", "wave")
    assert not layout.pictures


def test_split_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/wave/a.mp4", "validation/wave/b.mp4", "test/wave/c.mp4")
    assert {c.path.name: c.split for c in read_layout(tmp_path).clips} == {
        "a.mp4": "train", "b.mp4": "val", "c.mp4": "test",
    }  # fmt: skip
    touch(tmp_path, "walk/d.mp4")
    with pytest.raises(DatasetError, match="beside walk"):
        read_layout(tmp_path)


def test_a_label_called_test_is_a_label(tmp_path: Path) -> None:
    touch(tmp_path, "test/a.mp4", "walk/b.mp4")
    assert read_layout(tmp_path).labels == ("test", "walk")


def test_csv(tmp_path: Path) -> None:
    file = tmp_path / "d.csv"
    file.write_text("path,label,start,end,split,group\nv/a.mp4,wave,1,2.5,train,g1\nv/a.mp4, walk ,,,,\n")
    one, two = read_layout(file).clips
    assert (one.path, one.label, one.start, one.end) == (tmp_path / "v/a.mp4", "wave", 1.0, 2.5)
    assert (one.split, one.group) == ("train", "g1")
    assert (two.label, two.start, two.split) == ("walk", None, "")
    assert two.group == two.path.as_posix(), "segments of one video are one recording"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("path\na.mp4", "lacks the column label"),
        ("path,label\n,wave", "line 2"),
        ("path,label,split\na.mp4,wave,dev", "found 'dev'"),
        ("path,label,start,end\na.mp4,wave,3,2", "start < end"),
        ("path,label,start\na.mp4,wave,soon", "found 'soon'"),
        ("path,label", "holds no clips"),
    ],
)
def test_a_wrong_csv_names_its_line(tmp_path: Path, rows: str, said: str) -> None:
    (tmp_path / "d.csv").write_text(rows)
    with pytest.raises(DatasetError, match=said):
        read_layout(tmp_path / "d.csv")


def test_a_data_set_that_is_not_there_is_said_before_anything_is_installed_or_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "accelerate")
    assert main(["train", str(tmp_path / "gone"), "--model", "demo", "-o", str(tmp_path / "out")]) == 2
    assert "there is no data set" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


LOOKS = """
import sys
from streamer.cli import train
def need(*_, **__):
    print("transformers" in sys.modules)
    raise SystemExit(0)
train.need = need
from streamer.cli.command_line import main
main(sys.argv[1:])
"""


@pytest.mark.realtime
def test_transformers_is_imported_after_what_it_looks_for_is_installed(tmp_path: Path) -> None:
    touch(tmp_path, "data/a/x.mp4", "data/b/y.mp4")
    words = ["train", str(tmp_path / "data"), "--model", "demo", "-o", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", LOOKS, *words], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("False", 0), done.stderr


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no clips"):
        read_layout(tmp_path)
    with pytest.raises(DatasetError, match="there is no data set"):
        read_layout(tmp_path / "gone")
    touch(tmp_path, "a/x.mp4", "a/y.png")
    with pytest.raises(DatasetError, match="mixes 1 videos and 1 pictures"):
        read_layout(tmp_path)


def groups(root: Path, pattern: str | None = None) -> dict[str, str]:
    return {clip.path.name: clip.group for clip in read_layout(root, pattern).clips}


def test_recordings_are_known_by_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "A/v_A_g01_c01.avi", "A/v_A_g01_c02.avi", "B/cam-7_clip03.mp4", "B/cam-7_part4.mp4",
          "B/clip_01.mp4", "B/clip_02.mp4")  # fmt: skip
    found = groups(tmp_path)
    assert found["v_A_g01_c01.avi"] == found["v_A_g01_c02.avi"] == "v_A_g01"
    assert found["cam-7_clip03.mp4"] == found["cam-7_part4.mp4"] == "cam-7"
    assert found["clip_01.mp4"] != found["clip_02.mp4"], "numbered files are not parts of one recording"
    assert groups(tmp_path, r"/([AB])/")["clip_01.mp4"] == "B"
    with pytest.raises(DatasetError, match="finds nothing"):
        groups(tmp_path, r"person(\d+)")
    with pytest.raises(DatasetError, match="not a regular expression"):
        groups(tmp_path, r"(")


def clips(table: dict[str, Sequence[str]], split: str = "") -> list[Clip]:
    return [
        Clip(Path(f"/{label}/{group}-{n}.mp4"), label, group=group, split=split)
        for label, names in table.items()
        for n, group in enumerate(names)
    ]


names = st.lists(st.sampled_from([f"g{n}" for n in range(12)]), min_size=1, max_size=15)


@given(st.dictionaries(st.sampled_from("abcd"), names, min_size=2), st.integers(0, 5))
def test_no_group_ever_stands_on_both_sides(table: dict[str, list[str]], seed: int) -> None:
    try:
        done = split_by_group(clips(table), seed)
    except DatasetError:
        return  # what can be refused is tested below
    sides: dict[str, set[str]] = {}
    for clip in done:
        sides.setdefault(clip.group, set()).add(clip.split)
    assert all(len(found) == 1 for found in sides.values())
    assert {clip.label for clip in done if clip.split == "train"} == set(table)
    assert done == split_by_group(clips(table), seed), "the same choice every time"


def test_shares_of_the_split() -> None:
    done = split_by_group(clips({"a": [f"a{n}" for n in range(20)], "b": [f"b{n}" for n in range(3)]}))
    count = {(c.label, c.split): 0 for c in done}
    for clip in done:
        count[clip.label, clip.split] += 1
    assert count == {("a", "train"): 14, ("a", "val"): 3, ("a", "test"): 3,
                     ("b", "train"): 1, ("b", "val"): 1, ("b", "test"): 1}  # fmt: skip


def test_data_sets_too_small_to_mean_anything_are_told() -> None:
    def clips(train: int, test: int, each: int = 1) -> list[Clip]:
        sides = [("train", n) for n in range(train)] + [("test", n) for n in range(test)]
        return [
            Clip(Path(f"{side}{n}-{c}.mp4"), "a", group=f"{side}{n}", split=side)
            for side, n in sides
            for c in range(each)
        ]

    assert too_small(clips(10, 5)) == []
    learn, check = too_small(clips(9, 4, each=20))
    assert "fewer than 10 recordings to train with of 'a'" in learn
    assert "fewer than 5 recordings in val and test together of 'a'" in check


def test_val_comes_out_of_a_given_train() -> None:
    table = {"a": [f"a{n}" for n in range(10)], "b": [f"b{n}" for n in range(10)]}
    given_test = clips({"a": ["t1"], "b": ["t2"]}, "test")
    done = split_by_group([*clips(table, "train"), *given_test])
    assert {c.group for c in done if c.split == "test"} == {"t1", "t2"}
    assert {c.label for c in done if c.split == "val"} == {"a", "b"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"a": ["g1"], "b": ["g2", "g3"]}, r"label 'a' has one clip \(/a/g1-0.mp4\)"),
        ({"a": ["g1", "g1"], "b": ["g2", "g3"]}, r"all 2 clips are of one recording \(g1\)"),
        ({"a": ["g1", "g2", "g3"]}, "one label only"),
    ],
)
def test_too_little_is_refused(table: dict[str, Sequence[str]], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        split_by_group(clips(table))


def test_a_leak_in_a_given_split_is_refused_unless_forced() -> None:
    leaking = [*clips({"a": ["g1", "g2"]}, "train"), *clips({"a": ["g2", "g3"]}, "test")]
    with pytest.raises(DatasetError, match=r"the split leaks: 1 recordings .*g2 in test and train"):
        check_leak(leaking)
    assert "leaks" in check_leak(leaking, allowed=True)[0]
    assert check_leak([clip for clip in leaking if clip.group != "g2"]) == []


def test_copies_of_a_file_are_one_recording() -> None:
    three = clips({"a": ["g1", "g2", "g3"]})
    digests = {three[0].path: "x", three[1].path: "y", three[2].path: "x"}
    joined, copies = join_copies(three, digests)
    assert copies == 1
    assert joined[0].group == joined[2].group != joined[1].group
    with pytest.raises(DatasetError, match="leaks"):
        check_leak([replace(c, split=s) for c, s in zip(joined, ("train", "val", "test"), strict=True)])


def test_the_split_hash_knows_content_label_and_side() -> None:
    three = clips({"a": ["g1", "g2", "g3"]}, "train")
    digests = {clip.path: str(n) for n, clip in enumerate(three)}
    first = split_hash(three, digests)
    assert first == split_hash(three[::-1], digests), "not the order"
    assert first != split_hash([replace(three[0], split="val"), *three[1:]], digests)
    assert first != split_hash(three, {**digests, three[0].path: "changed"})


def test_scanning_gives_every_frame_its_time(video: Path) -> None:
    found = scan(video)
    assert np.allclose(found.times, np.arange(75) / 25, atol=1e-3)
    assert found.seconds == pytest.approx(2.96, abs=1e-3)


def test_what_cannot_be_read_is_left_out_and_told(tmp_path: Path, video: Path) -> None:
    folder = tmp_path / "wave"
    folder.mkdir()
    (folder / "good.mp4").write_bytes(video.read_bytes())
    (folder / "cut.mp4").write_bytes(video.read_bytes()[:2000])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video")
    write_sound(folder / "sound.mp4")
    layout, scanned = open_dataset(tmp_path, None, None, say)
    assert [clip.path.name for clip in layout.clips] == ["good.mp4"]
    assert len(scanned) == 1
    assert len(layout.notes) == 4
    for name in ("cut.mp4", "empty.mp4", "text.mp4", "sound.mp4"):
        assert any(name in note for note in layout.notes)
    (folder / "good.mp4").unlink()
    with pytest.raises(DatasetError, match="none of 4 files can be read"):
        open_dataset(tmp_path, None, None, say)


def test_a_scan_is_remembered_until_the_file_changes(tmp_path: Path, video: Path) -> None:
    cache, copy = tmp_path / "c.json", tmp_path / "v.mp4"
    copy.write_bytes(video.read_bytes())
    first, _ = scan_all([copy], cache, lambda *_: None)
    cache.write_text(cache.read_text().replace(first[copy].digest, "remembered"))
    assert scan_all([copy], cache, lambda *_: None)[0][copy].digest == "remembered"
    copy.write_bytes(video.read_bytes() + b"more")
    assert scan_all([copy], cache, lambda *_: None)[0][copy].digest not in ("remembered", first[copy].digest)
    cache.write_text('{"half')
    assert scan_all([copy], cache, lambda *_: None)[0].keys() == {copy}


def test_frames_are_the_ones_asked_for(video: Path) -> None:
    times = scan(video).times
    pictures = read_frames(video, times, [60, 3, 3, 74], lambda image: image)
    assert [read_stamp(picture) for picture in pictures] == [60, 3, 3, 74]


@pytest.mark.training
@pytest.mark.parametrize("b_frames", [0, 2])
def test_far_into_a_long_video_the_frames_are_the_same(tmp_path: Path, b_frames: int) -> None:
    path = write_clip(tmp_path / "long.mp4", moving(400), 20, gop=40, b_frames=b_frames)
    times = scan(path).times
    pictures = read_frames(path, times, [333, 390], lambda image: image)
    assert [read_stamp(picture) for picture in pictures] == [333, 390]


def test_a_file_that_changed_since_it_was_scanned(tmp_path: Path, video: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(video.read_bytes())
    times = scan(path).times
    write_clip(path, moving(10))
    with pytest.raises(DatasetError, match="changed meanwhile"):
        read_frames(path, times, [50], lambda image: image)
    path.unlink()
    with pytest.raises(DatasetError, match=r"v\.mp4"):
        read_frames(path, times, [0], lambda image: image)


def piece_of(
    path: Path, label: str = "wave", start: float | None = None, end: float | None = None
) -> TimedClip:
    found, _ = find_timed_clips([Clip(path, label, start, end)], {path: scan(path)})
    return found[0]


def test_windows_of_a_clip_are_spaced_as_live_ones(video: Path) -> None:
    timed_clip = piece_of(video)
    assert indices(timed_clip, 0.5, SAMPLING) == [
        12,
        20,
        27,
        35,
    ]  # 0.5, 0.8, 1.1, 1.4 s at 25 frames/s; ties: older
    assert starts(timed_clip, SAMPLING.span, 3) == pytest.approx([0.0, 1.03, 2.06], abs=1e-3)
    assert starts(timed_clip, SAMPLING.span, 1) == pytest.approx([1.03], abs=1e-3)


def test_a_window_never_leaves_its_segment(video: Path) -> None:
    timed_clip = piece_of(video, start=1.0, end=1.5)
    assert starts(timed_clip, SAMPLING.span, 5) == pytest.approx([0.8]), "too short: once, in the middle"
    chosen = [timed_clip.times[i] for i in indices(timed_clip, 0.8, SAMPLING)]
    assert chosen == pytest.approx([1.0, 1.08, 1.4, 1.48], abs=1e-3), "ties: the older"
    _, notes = find_timed_clips([Clip(video, "wave", 50.0, 60.0)], {video: scan(video)})
    assert "ends at 3.0 s" in notes[0]


@given(st.lists(st.floats(0, 9), min_size=1, max_size=20, unique=True), st.floats(-1, 10))
def test_nearest_is_nearest(times: list[float], wanted: float) -> None:
    ordered = sorted(times)
    chosen = ordered[nearest(ordered, wanted)]
    assert abs(chosen - wanted) <= min(abs(t - wanted) for t in ordered) + 1e-5


def test_training_and_live_recognition_prepare_pictures_by_the_same_object(video: Path) -> None:
    preprocessor = Preprocessor(NUMBERS)
    timed_clip = piece_of(video)
    clip = load_clip(timed_clip, 0.5, SAMPLING, preprocessor.reduce)
    live = read_frames(video, timed_clip.times, [12, 20, 27, 35], preprocessor.reduce)
    np.testing.assert_array_equal(clip, np.stack(live))
    view = ClipSettings(SAMPLING, preprocessor, ("wave",), 0)
    batch = Collate(preprocessor, single=False)(
        [ClipDataset([timed_clip], view)[0], ClipDataset([timed_clip], view)[0]]
    )
    assert batch["pixel_values"].shape == (2, 4, 3, 32, 32)
    import torch

    whole = load_clip(timed_clip, starts(timed_clip, SAMPLING.span, 1)[0], SAMPLING, preprocessor.reduce)
    torch.testing.assert_close(batch["pixel_values"][0], preprocessor.normalise(torch.from_numpy(whole)))


def test_augmentation_is_the_same_for_all_frames_and_the_same_again(tmp_path: Path) -> None:
    still = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "s.mp4", [still] * 30, 25, options={"crf": "1"})
    preprocessor = Preprocessor(NUMBERS)
    view = ClipSettings(SAMPLING, preprocessor, ("wave",), 3, change=Augmentation())
    data = ClipDataset([piece_of(path)], view)
    one, again, next_epoch = data[0, 0]["clip"], data[0, 0]["clip"], data[1, 0]["clip"]
    np.testing.assert_array_equal(one, again)
    assert (one != next_epoch).any()
    assert np.abs(one.astype(int) - one[:1]).mean() < 3, "a still picture stays still"


def test_pictures_are_mirrored_only_where_no_label_names_a_side() -> None:
    assert names_a_side(["moving left", "waving"])
    assert names_a_side(["TurnRight"])
    assert names_a_side(["left_hand"])
    assert not names_a_side(["waving", "bright light", "leftovers"])


def test_each_epoch_has_its_order_and_balance_makes_labels_equal() -> None:
    labels = [0] * 90 + [1] * 10
    order = EpochOrder(labels, 1, balance=False)
    first = list(order)
    assert sorted(number for _, number in first) == list(range(100))  # type: ignore[misc]
    order.set_epoch(1)
    assert [n for _, n in order] != [n for _, n in first]  # type: ignore[misc]
    assert {epoch for epoch, _ in order} == {1}  # type: ignore[misc]
    drawn = [labels[n] for e in range(10) for _, n in _epoch(EpochOrder(labels, 1, balance=True), e)]
    assert 0.4 < np.mean(drawn) < 0.6


def _epoch(order: EpochOrder, number: int) -> list[Any]:
    order.set_epoch(number)
    return list(order)


def test_pictures_make_a_data_set_for_models_of_single_frames(tmp_path: Path) -> None:
    for label in ("day", "night"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (40, 40), "white" if label == "day" else "black").save(tmp_path / label / "a.png")
    layout, scanned = open_dataset(tmp_path, None, None, say)
    assert layout.pictures
    timed_clips, _ = find_timed_clips(layout.clips, scanned)
    data = ClipDataset(
        timed_clips, ClipSettings(SAMPLING, Preprocessor(NUMBERS), layout.labels, 0, single=True)
    )
    batch = Collate(Preprocessor(NUMBERS), single=True)([data[0], data[1]])
    assert batch["pixel_values"].shape == (2, 3, 32, 32)
    assert batch["pixel_values"][0].mean() > batch["pixel_values"][1].mean()


@pytest.fixture(scope="module")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    options = ["--clips", "1", "--minutes", "0.2", "--idle-minutes", "0.3", "--windows", "12"]
    assert main(["demo", "dataset", str(out), *options]) == 0
    return out


@pytest.mark.training
def test_the_demo_data_set_has_the_layout_that_train_and_evaluate_read(demo_data: Path) -> None:
    layout, _ = open_dataset(demo_data / "clips", None, None, say)
    assert layout.labels == tuple(sorted(motions.LABELS))
    assert {clip.split for clip in layout.clips} == {"train", "val", "test"}
    assert check_leak(layout.clips) == []
    stream = demo_data / "streams" / "stream-00.mp4"
    segments = read_truth(stream.with_suffix(".csv"))
    assert scan(stream).seconds == pytest.approx(12, abs=0.2)
    assert segments
    assert {s.label for s in segments} <= set(motions.LABELS) - {"still"}
    assert len(list((demo_data / "idle").glob("*.mp4"))) == 6
    assert not list(demo_data.rglob(".*")), "nothing half-written stays"
    parts = read_layout(demo_data / "windows").clips
    assert {clip.split for clip in parts} == {"train", "val"}
    assert main(["demo", "dataset", str(demo_data)]) == 2, "what is there is not overwritten"


def test_the_demo_splits_share_no_photograph_and_no_seed() -> None:
    used = [set(textures.PHOTOS[pictures]) for pictures in DEMO_SPLITS.values()]
    assert sum(map(len, used)) == len(set.union(*used))
    assert len({textures.SEEDS[pictures] for pictures in DEMO_SPLITS.values()}) == 3


@pytest.mark.parametrize("name", ["calm", "restless"])
def test_what_acts_is_where_its_label_says(name: str) -> None:
    """The plan against the labels: who moves left ends further left, who comes near ends larger."""
    seen, manner = set(), action_plans.MANNERS[name]
    for seed in range(12):
        plan = action_plans.plan(np.random.default_rng(seed), 60, manner)
        truth = action_plans.segments(plan, 60)
        assert all(a.end <= b.start + 1e-6 for a, b in pairwise(truth))
        for act in plan:
            seen.add(act.label)
            if act.label in action_plans.STEPS:
                assert act.speed * act.seconds > 0.6
                assert act.speed <= manner.speed[1]
            elif act.label in ("approaching", "receding"):
                factor = act.end_size / act.size
                assert (factor > 2.4) if act.label == "approaching" else (factor < 1 / 2.4)
    assert seen == set(motions.LABELS)


def test_a_windows_label_is_what_happens_just_before_its_end() -> None:
    truth = [Segment(2, 5, "waving"), Segment(5, 8, "moving left")]
    assert cut_windows.label_at(truth, 1.0) == "still"
    assert cut_windows.label_at(truth, 3.0) == "waving"
    assert cut_windows.label_at(truth, 6.0) == "moving left"
    assert cut_windows.label_at(truth, 2.05) is None
    assert cut_windows.label_at(truth, 4.95) is None


def test_numbers_of_a_scan_are_plain_json(tmp_path: Path, video: Path) -> None:
    scan_all([video], tmp_path / "c.json", lambda *_: None)
    assert len(json.loads((tmp_path / "c.json").read_text())) == 1
