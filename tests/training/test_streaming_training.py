"""`streamer train --streaming`: what it learns from, that it survives kill -9, and what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamer.cli.command_line import main
from streamer.errors import DatasetError
from streamer.recognition.checkpoints.checkpoint import open_checkpoint
from streamer.training.clips import TimedClip
from streamer.training.dataset_layout import Clip
from streamer.training.distillation import UNKNOWN, Stretch
from streamer.training.ground_truth import Segment, write_truth
from streamer.training.streaming_data import (
    Footage,
    Teaching,
    find_clips,
    label_of,
    prepare,
    ticks_of,
)
from streamer.training.teacher_answers import KeptStretches, padded, sooner, write_stretches
from tests.helpers import checkpoints, warm_processes
from tests.helpers.checkpoints import LABELS
from tests.helpers.media import moving, write_clip
from tests.helpers.model_parts import edit, load
from tests.helpers.streaming_parts import save_streaming

WORDS = ["--steps", "12", "--batch", "2", "--save-steps", "4", "--device", "cpu", "--interval", "0.2"]
ROOT = Path(__file__).parents[2]
PATIENCE = 90.0  # seconds for a process of its own, on a crowded machine
SECONDS, FPS = 8, 10


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos without any label."""
    folder = tmp_path_factory.mktemp("footage")
    for number in range(3):
        write_clip(folder / f"{number}.mp4", moving((SECONDS + number) * FPS), FPS)
    return folder


@pytest.fixture(scope="module")
def base() -> Path:
    return checkpoints.shared("timesformer")


def command(data: Path, base: Path, out: Path, *more: str) -> list[str]:
    return ["train", "--streaming", str(data), "--model", str(base), "-o", str(out), *WORDS, *more]


@pytest.fixture(scope="module")
def trained(footage: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole run, never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main(command(footage, base, out)) == 0
    return out


# --- ticks, labels, stretches ---


def teaching(**more: Any) -> Teaching:
    return Teaching(
        **{"labels": LABELS, "frames": 4, "interval": 0.2, "lag": 0.0, "background": None, **more}
    )


def timed(times: list[float], clip: Clip | None = None) -> TimedClip:
    return TimedClip(clip or Clip(Path("v.mp4"), ""), tuple(times), times[0], times[-1])


def test_ticks_take_the_nearest_frame_and_begin_anew_after_a_hole() -> None:
    times = [n / 25 for n in range(50)]
    assert ticks_of(timed(times), teaching()) == [list(range(0, 50, 5))]
    later = [*times[:25], *(5 + n / 25 for n in range(25))]
    assert ticks_of(timed(later), teaching()) == [[0, 5, 10, 15, 20], [25, 30, 35, 40, 45]]
    missing = [*times[:6], *times[16:30]]  # nothing between 0.20 and 0.64: a tick shows the newest again
    assert ticks_of(timed(missing), teaching())[0][:5] == [0, 5, 5, 6, 10]


@pytest.mark.parametrize(
    ("end", "lag", "background", "label"),
    [
        (2.6, 0.0, None, "waving"),  # the whole window from 2.0 on lies in it
        (2.4, 0.0, None, None),
        (4.1, 0.0, None, None),
        (3.0, 0.3, None, "waving"),  # speaks of 2.7
        (2.4, 0.3, None, None),  # of 2.1, too near to the change at 2.0
        (2.1, 0.3, "walking", "walking"),  # of 1.8
        (2.1, 0.3, None, None),
        (0.3, 0.3, "walking", None),  # of before the video
    ],
)
def test_labels_near_a_change_are_unknown(
    end: float, lag: float, background: str | None, label: str | None
) -> None:
    piece = Footage(timed([n / 25 for n in range(150)]), (Segment(2.0, 4.0, "waving"),))
    found = label_of(piece, end, teaching(lag=lag, background=background))
    assert found == (UNKNOWN if label is None else LABELS.index(label))


def test_a_labelled_clip_says_nothing_of_what_is_beyond_it() -> None:
    piece = Footage(timed([n / 25 for n in range(50)], Clip(Path("v.mp4"), "walking")), None)
    assert label_of(piece, 1.0, teaching()) == 1
    assert label_of(piece, 0.4, teaching()) == label_of(piece, 2.2, teaching()) == UNKNOWN
    unlabelled = Footage(timed([n / 25 for n in range(50)]), None)
    assert label_of(unlabelled, 1.0, teaching(background="waving")) == UNKNOWN


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def found(*paths: Path) -> list[tuple[str, str, str]]:
    clips, _ = find_clips(paths, LABELS, None)
    return [(clip.path.name, clip.label, clip.split) for clip in clips]


def test_what_lies_in_folders_is_labelled_or_footage(tmp_path: Path) -> None:
    touch(tmp_path / "classes", "waving/a.mp4", "walking/b.mp4")
    touch(tmp_path / "split", "train/waving/a.mp4", "val/walking/b.mp4")
    touch(tmp_path / "cameras", "door/1.mp4", "yard/2/3.mp4")
    touch(tmp_path / "videos", "a.mp4", "notes.txt", ".b.mp4")
    touch(tmp_path / "unsure", "bed/1.mp4", "bed/2.mp4")
    (tmp_path / "unsure" / "labels.csv").write_text("path,label\nbed/1.mp4,waving\nbed/2.mp4,\n")
    assert found(tmp_path / "classes") == [("b.mp4", "walking", ""), ("a.mp4", "waving", "")]
    assert found(tmp_path / "split") == [("a.mp4", "waving", "train"), ("b.mp4", "walking", "val")]
    assert found(tmp_path / "cameras") == [("1.mp4", "", ""), ("3.mp4", "", "")]
    assert found(tmp_path / "videos", tmp_path / "unsure") == [
        ("a.mp4", "", ""), ("1.mp4", "waving", ""), ("2.mp4", "", ""),
    ]  # fmt: skip
    touch(tmp_path / "classes", "juggling/c.mp4")
    with pytest.raises(DatasetError, match="the teacher has no label 'juggling'"):
        found(tmp_path / "classes")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no videos"):
        found(tmp_path / "empty")


def test_videos_are_divided_by_recording_and_cut(footage: Path, tmp_path: Path) -> None:
    def parts(*paths: Path, seed: int = 0) -> Any:
        return prepare(
            paths, teaching(), group=None, allow_leak=False, seed=seed, cache=tmp_path / "c.json", say=str
        )

    data = parts(footage)
    held = {part.footage.timed.clip.path.name for part in data.parts if part.held_out}
    learnt = {part.footage.timed.clip.path.name for part in data.parts if not part.held_out}
    assert len(held) == 1
    assert held | learnt == {"0.mp4", "1.mp4", "2.mp4"}
    assert not held & learnt
    assert data.stretch == 28
    assert all(part.ticks <= 56 for part in data.parts)
    with pytest.raises(DatasetError, match="add a second recording"):
        parts(footage / "0.mp4")
    alone = parts(write_clip(tmp_path / "long.mp4", moving(260), FPS)).parts
    assert [part.held_out for part in alone] == [False, False, True]
    assert [part.before for part in alone] == [0, 3, 3]
    assert [n for part in alone for n in part.wanted[part.before :]] == list(range(0, 260, 2))


def test_the_truth_belongs_to_the_split(footage: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(footage, tmp_path / "copy")

    def split() -> str:
        return prepare(
            [folder], teaching(), group=None, allow_leak=False, seed=0, cache=tmp_path / "c.json", say=str
        ).split

    before = split()
    write_truth(folder / "0.csv", [Segment(1.0, 3.0, "waving")])
    assert split() != before
    write_truth(folder / "0.csv", [Segment(1.0, 3.0, "juggling")])
    with pytest.raises(DatasetError, match="no label 'juggling'"):
        split()


def stretch(ticks: int) -> Stretch:
    frames = np.arange(ticks, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)
    frames[:, :, 0] = 0  # a left side
    scores = np.eye(3, dtype=np.float32)[np.arange(ticks) % 3]
    return Stretch(frames, scores, np.arange(ticks) % 3)


def test_sooner_takes_what_comes_later_and_padding_is_unknown() -> None:
    ahead = sooner(stretch(5), 2)
    assert ahead.labels.tolist() == [2, 0, 1, UNKNOWN, UNKNOWN]
    assert np.isnan(ahead.scores[:, 0]).tolist() == [False] * 3 + [True] * 2
    longer = padded(ahead, 7)
    assert longer.frames[:, 0, 1, 0].tolist() == [0, 1, 2, 3, 4, 4, 4]
    assert longer.labels.tolist()[-2:] == [UNKNOWN] * 2
    assert len(padded(ahead, 3).frames) == 5


def test_stretches_are_written_once_and_for_their_owner_only(footage: Path, tmp_path: Path) -> None:
    data = prepare(
        [footage], teaching(), group=None, allow_leak=False, seed=0, cache=tmp_path / "c.json", say=str
    )
    preprocessor = load(checkpoints.shared("timesformer"), interval=0.2).preprocessor
    asked = []

    def teacher(frames: Any) -> Any:
        asked.append(len(frames))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return np.full((len(frames), 3), len(asked), np.float32)

    def write() -> list[Path]:
        return write_stretches(data.parts, tmp_path / "s", preprocessor, teacher, lambda _n, _part: None)

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["00000.npz"]
    paths = write()
    assert asked == [len(data.parts[0].wanted), *(len(part.wanted) for part in data.parts[1:2] * 2)] + [
        len(part.wanted) for part in data.parts[2:]
    ]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    kept = KeptStretches(paths, [1.0] * len(paths), 28)
    assert [len(one.frames) for one in kept.all()] == [part.ticks for part in data.parts]
    assert len(list(kept.some(2))) == 2


def test_stretches_come_from_files_and_are_mirrored_where_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.training.teacher_answers.MOST_HELD", 1.0)
    files = []
    for number in range(3):
        own = stretch(9)
        files.append(tmp_path / f"{number}.npz")
        np.savez(files[-1], frames=own.frames, scores=own.scores, labels=own.labels)
    for mirror in (False, True):
        kept = KeptStretches(files, [9.0] * 3, 4, mirror=mirror)
        rng = np.random.default_rng(1)
        drawn = [kept.draw(rng) for _ in range(40)]
        turned = {bool(one.frames[:, 0, 0].any()) for one in drawn}  # the dark side is on the right
        assert turned == ({False, True} if mirror else {False})
        assert {len(one.frames) for one in drawn} == {4}
        assert len(kept._held) == 1, "only so much stays in memory"


# --- the command ---


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.training
def test_footage_without_labels_gives_a_checkpoint_that_runs_as_a_stream(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["steps"] == 12
    held = metrics["held_out"]
    assert list(held["by_frames"]) == ["1", "2", "4", "8"]
    assert held["ticks"] > 20
    assert held["right"] is None
    assert 0 <= held["agree"] <= 1
    own = open_checkpoint(str(trained)).own
    assert (own["streaming"], own["interval"], own["frames"]) == (True, 0.2, 4)
    card = (trained / "README.md").read_text()
    assert "What plain transformers loads" in card
    assert metrics["split"] in card
    assert {path.name for path in (trained / "run").iterdir()} == {"recipe.json", "videos.json"}
    recognizer: Any = load(trained)
    assert recognizer.spec.streaming
    recognizer.warm_up()


@pytest.mark.training
def test_a_run_that_is_killed_goes_on_to_the_same_weights(
    trained: Path, footage: Path, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = command(footage, base, out)
    code = "import sys, torch; torch.set_num_threads(1); from streamer.cli import main; sys.exit(main())"
    for line_of_death in (b"before the first step", b"step 4 of 12"):
        process = warm_processes.start([sys.executable, "-c", code, *words], cwd=ROOT, stderr=subprocess.PIPE)
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        assert process.stderr is not None
        for line in process.stderr:
            if line_of_death in line:
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
        timer.cancel()
        process.stderr.close()
        assert process.returncode == -signal.SIGKILL
        assert (out / "run" / "stretches" / "00000.npz").exists()
        words = [*command(footage, base, out), "--resume"]
    assert (out / "run" / "state.pt").exists()
    assert not (out / "metrics.json").exists()
    assert main(words) == 0
    whole, resumed = weights(trained), weights(out)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        torch.testing.assert_close(value, resumed[name], rtol=0, atol=0, msg=name)
    again = json.loads((out / "metrics.json").read_text())
    assert again["held_out"] == json.loads((trained / "metrics.json").read_text())["held_out"]


@pytest.mark.training
def test_labelled_clips_with_bf16_and_a_student_that_is_sooner(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, label in enumerate(LABELS * 2):
        folder = tmp_path / "data" / label
        folder.mkdir(parents=True, exist_ok=True)
        write_clip(folder / f"{number}.mp4", moving(30 + number), 10)
    out = tmp_path / "out"
    assert main(command(tmp_path / "data", base, out, "--ahead", "1", "--bf16", "--steps", "2")) == 0
    printed = capsys.readouterr()
    assert "have a known label" in printed.err
    assert "frames since the reset" in printed.out
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["ahead"] == 1
    assert metrics["held_out"]["right"] is not None


def said(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    assert main(words) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert "Traceback" not in "".join(lines)
    return lines[-1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--epochs", "2"], "--streaming has no --epochs"),
        (["--freeze", "--no-augment"], "--streaming has no --augment, --freeze"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--ahead", "-1"], "--ahead must be at least 0"),
        (["--ahead", "4"], "at most 3"),
        (["--group", "("], "not a regular expression"),
        (["--interval", "2"], "no video to learn from lasts two spans of the teacher (2 x 6.0 s)"),
        (["--background", "fog"], "no label"),
    ],
)
def test_wrong_options_are_one_line(
    footage: Path, base: Path, tmp_path: Path, words: list[str], sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert sentence in said(command(footage, base, tmp_path / "o", *words), capsys)


def test_models_that_cannot_be_streamed_are_refused(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videomae = checkpoints.shared("videomae")
    assert "only TimeSformers" in said(command(footage, videomae, tmp_path / "a"), capsys, 4)
    for kind in ("joint_space_time", "space_only"):
        model = checkpoints.save("timesformer", tmp_path / kind, attention_type=kind)
        assert f"has {kind} attention" in said(command(footage, model, tmp_path / "b"), capsys, 4)
    own = save_streaming(tmp_path / "streaming")
    assert "a streaming model already" in said(command(footage, own, tmp_path / "c"), capsys, 4)
    classes = tmp_path / "classes"
    for number in range(4):
        (classes / LABELS[number % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(footage / f"{number % 3}.mp4", classes / LABELS[number % 2] / f"{number}.mp4")
    plain = ["train", str(classes), "--model", str(own), "-o", str(tmp_path / "e")]
    assert "fine-tune the window model that it was made from" in said(plain, capsys, 4)
    many = shutil.copytree(checkpoints.shared("timesformer"), tmp_path / "many")
    edit(many / "config.json", problem_type="multi_label_classification")
    assert "multi-label" in said(command(footage, many, tmp_path / "d"), capsys, 4)


def test_what_belongs_to_the_other_kind_of_run_is_refused(
    footage: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(footage), "--model", str(base), "-o", str(tmp_path / "o")]
    assert "--steps, --ahead belongs to" in said([*words, "--steps", "3", "--ahead", "1"], capsys)
    assert "name one data set" in said([words[0], str(footage), *words[1:]], capsys)
    kept = tmp_path / "o" / "run"
    kept.mkdir(parents=True)
    (kept / "recipe.json").write_text(json.dumps({"epochs": 20, "split": "x"}))
    line = said([*command(footage, base, tmp_path / "o"), "--resume"], capsys)
    assert "was begun without --streaming" in line
