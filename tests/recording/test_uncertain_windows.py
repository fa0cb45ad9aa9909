"""Windows worth labelling: which are saved, what people mark as wrong, and a model trained on both."""

from __future__ import annotations

import csv
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamer.bus import Subscriber
from streamer.bus.requests import Peer, RequestError
from streamer.cli.command_line import main
from streamer.config import BusConfig, CameraConfig, Config, EventsConfig, ModelConfig, Pace, UncertainConfig
from streamer.errors import BusError, DatasetError
from streamer.events.tracker import EventTracker
from streamer.pipeline.pipeline import Pipeline
from streamer.recognition.recognizer import load_recognizer
from streamer.recording.uncertain_files import UncertainFolder, write_window
from streamer.recording.uncertain_windows import MOST_WAITING, UncertainWindows, answer
from streamer.testing import FakeClock, FakeRecognizer
from streamer.training.dataset_layout import read_layout
from streamer.training.video_frames import read_frames, scan
from streamer.types import Frame, LaneResult, Prediction, Window
from tests.helpers import checkpoints
from tests.helpers.bus_parts import DEADLINE, FREE, until
from tests.helpers.media import write_clip
from tests.helpers.pipelines import QUIET

pytestmark = pytest.mark.usefixtures("no_thread_left")

LABELS = ("calm", "busy", "loud")
LOCAL = Peer("127.0.0.1", None, local=True)
CLOSE, CLEAR = (0.46, 0.44, 0.1), (0.9, 0.05, 0.05)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Rig:
    """A collector, fed with scores one second apart by a tracker as a lane has it."""

    def __init__(self, folder: Path, camera: str = "cam0", **settings: Any) -> None:
        self.clock = FakeClock()
        self.notes: list[str] = []
        wanted = {"scores": "raw", "every": 10.0, **settings}
        config = UncertainConfig.model_validate({"folder": str(folder), **wanted})
        self.uncertain = UncertainWindows(config, note=self.notes.append, clock=self.clock)
        self.folder = folder
        self.trackers: dict[str, EventTracker] = {}
        self.count = 0
        self.camera = camera
        self.patient = True  # waits for the writer after each window

    def __enter__(self) -> Rig:
        self.uncertain.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.uncertain.stop(10.0)

    def feed(self, *rows: tuple[float, ...], camera: str = "", size: int = 32) -> None:
        name = camera or self.camera
        events = EventsConfig(half_life=0.0, min_on=0.0, min_off=0.0, merge_gap=0.0)
        tracker = self.trackers.setdefault(name, EventTracker(name, "m", LABELS, events))
        for scores in rows:
            self.clock.advance(1.0)
            self.count += 1
            made = Prediction(name, "m", window(name, self.count, self.clock, size), LABELS,
                              np.asarray(scores, np.float32))  # fmt: skip
            tracker.update(made)
            told = {"smoothed": tracker.smoothed, "open_events": tracker.open}
            self.uncertain.result(LaneResult(name, "m", made, **told))
            if self.patient:
                until(lambda: self.uncertain.stats.waiting == 0, "the writer keeps up")

    def rows(self) -> list[dict[str, str]]:
        self.uncertain.stop(10.0)
        return read_table(self.folder)


def window(camera: str, number: int, clock: FakeClock, size: int = 32) -> Window:
    """Four frames, 0.25 s apart: a smooth picture that gets brighter, another hue for each window."""
    rows = np.linspace(20, 120, size)[:, None, None] + np.array([number * 37 % 90, 40, 10])
    frames = []
    for k in range(4):
        image = np.broadcast_to(rows + 20 * k, (size, size, 3)).astype(np.uint8)
        at = clock.monotonic() - (3 - k) * 0.25
        frames.append(Frame(camera, 10 * number + k, 0, at, at, clock.wall() - (3 - k) * 0.25, None, image))
    return Window(camera, number, tuple(frames), 0.25)


def read_table(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def code(call: Callable[[], object]) -> str:
    with pytest.raises(RequestError) as caught:
        call()
    return caught.value.code


# --- which windows are saved ---


def test_a_close_pair_is_saved_once_while_it_stays_close(tmp_path: Path) -> None:
    with Rig(tmp_path / "u", every=2.0) as rig:
        rig.feed(CLEAR, CLOSE, *[CLOSE] * 8)
        rows = rig.rows()
    assert [(r["guess"], r["second"], r["label"], r["reason"]) for r in rows] == [
        ("calm", "busy", "", "close")
    ]
    assert (rows[0]["score"], rows[0]["second_score"], rows[0]["camera"]) == ("0.460", "0.440", "cam0")
    assert rig.uncertain.stats.saved == {"close": 1}
    assert (tmp_path / "u" / rows[0]["path"]).is_file()


def test_the_pair_is_worth_it_again_after_it_was_apart(tmp_path: Path) -> None:
    with Rig(tmp_path / "u", every=2.0) as rig:
        barely_apart = (0.58, 0.36, 0.06)  # 0.22: over the margin, not over twice the margin
        rig.feed(CLOSE, barely_apart, CLOSE, CLOSE, CLEAR, CLOSE)
        assert len(rig.rows()) == 2


def test_another_pair_is_news(tmp_path: Path) -> None:
    with Rig(tmp_path / "u", every=1.0) as rig:
        rig.feed(CLOSE, (0.46, 0.1, 0.44), (0.46, 0.1, 0.44))
        assert [row["second"] for row in rig.rows()] == ["busy", "loud"]


def test_at_most_one_a_camera_in_its_time(tmp_path: Path) -> None:
    with Rig(tmp_path / "u", every=10.0) as rig:
        rig.feed(*[CLOSE, CLEAR] * 8, CLOSE)  # 17 s
        rig.feed(CLOSE, camera="other")
        cameras = [row["camera"] for row in rig.rows()]
    assert cameras == ["cam0", "cam0", "other"]


@pytest.mark.parametrize(
    ("scores", "saved"),
    [
        ((0.35, 0.34, 0.31), True),
        ((0.24, 0.23, 0.22), False),  # nothing is believed at all
        ((0.6, 0.4, 0.0), False),  # 0.2 apart
        ((float("nan"), 0.5, 0.5), False),
    ],
)
def test_two_labels_must_compete(tmp_path: Path, scores: tuple[float, ...], saved: bool) -> None:
    with Rig(tmp_path / "u") as rig:
        rig.feed(scores)
        assert len(rig.rows()) == int(saved)


def test_smoothed_scores_are_compared_where_asked(tmp_path: Path) -> None:
    with Rig(tmp_path / "u", scores="smoothed") as rig:
        rig.trackers["cam0"] = EventTracker("cam0", "m", LABELS, EventsConfig(half_life=60.0))
        rig.feed(CLEAR, CLOSE, CLOSE)  # the average still says calm
        assert rig.rows() == []


def test_a_day_has_its_bound_and_remembers_it_over_a_restart(tmp_path: Path) -> None:
    with Rig(tmp_path / "u", every=1.0, per_day=2) as rig:
        rig.feed(*[CLOSE, CLEAR] * 4)
        assert len(rig.rows()) == 2
    assert rig.uncertain.stats.dropped == {"daily bound": 2}
    with Rig(tmp_path / "u", every=1.0, per_day=2) as rig:
        rig.feed(CLOSE)
        rig.clock.advance(86_400)
        rig.feed(CLEAR, CLOSE)
        assert len(rig.rows()) == 3


def test_a_full_folder_takes_no_more_and_says_so_once(tmp_path: Path) -> None:
    with Rig(tmp_path / "u", every=1.0, max_mb=0.002) as rig:
        rig.feed(*[CLOSE, CLEAR] * 6)
        rows = rig.rows()
    stats = rig.uncertain.stats
    assert 1 <= len(rows) == stats.saved["close"] < 6
    assert stats.dropped == {"folder full": 6 - len(rows)}
    assert [note for note in rig.notes if "uncertain.max_mb" in note] == rig.notes
    assert len(rig.notes) == 1
    assert len(list((tmp_path / "u").rglob("*.mp4"))) == len(rows)


def test_a_slow_disk_costs_clips_and_never_the_thread_that_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    save = UncertainFolder.save
    monkeypatch.setattr(UncertainFolder, "save", lambda self, pick: (go.wait(30), save(self, pick))[1])
    rig = Rig(tmp_path / "u", every=0.0)
    rig.patient = False
    with rig:
        rig.feed(*[CLOSE, CLEAR] * (MOST_WAITING + 5))
        assert rig.uncertain.stats.dropped["queue full"] >= 4
        go.set()
        assert len(rig.rows()) == MOST_WAITING + 5 - rig.uncertain.stats.dropped["queue full"]


def test_a_broken_disk_is_said_once_and_mends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [True]
    write = write_window

    def failing(path: Path, window: Window) -> None:
        if broken[0]:
            raise OSError(28, "No space left on device")
        write(path, window)

    monkeypatch.setattr("streamer.recording.uncertain_files.write_window", failing)
    with Rig(tmp_path / "u", every=1.0) as rig:
        rig.feed(CLOSE, CLEAR, CLOSE, CLEAR)
        until(lambda: rig.uncertain.stats.dropped.get("disk") == 2)
        broken[0] = False
        rig.feed(CLOSE)
        assert len(rig.rows()) == 1
    assert len(rig.notes) == 1
    assert "No space left" in rig.notes[0]


# --- the files ---


@pytest.mark.parametrize("size", [(48, 64), (33, 21)])
def test_a_clip_is_the_windows_very_frames_at_its_interval(tmp_path: Path, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(4)]
    plain = window("cam0", 1, FakeClock())
    frames = tuple(replace(f, image=image) for f, image in zip(plain.frames, noise, strict=True))
    made = replace(plain, frames=frames)
    write_window(tmp_path / "w.mp4", made)
    found = scan(tmp_path / "w.mp4")
    assert found.times == pytest.approx((0.0, 0.25, 0.5, 0.75), abs=0.01)
    images = read_frames(tmp_path / "w.mp4", found.times, range(4), lambda image: image[..., ::-1].copy())
    for image, frame in zip(images, made.frames, strict=True):
        assert np.array_equal(image, frame.image), "lossless"


@pytest.mark.parametrize("name", ["..", "a/../b", "front door 🚪", "Con"])
def test_no_cameras_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    with Rig(tmp_path / "u", camera=name) as rig:
        rig.feed(CLOSE)
        (row,) = rig.rows()
    file = (tmp_path / "u" / row["path"]).resolve()
    assert file.is_file()
    assert (tmp_path / "u").resolve() in file.parents
    assert row["camera"] == name


def test_a_table_that_people_edit_is_respected(tmp_path: Path) -> None:
    """Other columns, another order, no line end: what a spreadsheet makes of it."""
    folder = tmp_path / "u"
    folder.mkdir()
    (folder / "labels.csv").write_text("label,path,time,reason,who\nbusy,old.mp4,2020-01-01,close,me")
    with Rig(folder) as rig:
        rig.feed(CLOSE)
        rows = rig.rows()
    assert (rows[0]["label"], rows[0]["path"], rows[0]["who"]) == ("busy", "old.mp4", "me")
    assert rows[1]["path"].endswith("-close.mp4")
    assert (rows[1]["label"], rows[1]["who"]) == ("", "")


def test_a_table_saved_with_semicolons_meanwhile_loses_no_row_silently(tmp_path: Path) -> None:
    with Rig(tmp_path / "u") as rig:
        (tmp_path / "u" / "labels.csv").write_text("path;label\na.mp4;busy\n")
        rig.feed(CLOSE)
        rig.uncertain.stop(10.0)
    assert (tmp_path / "u" / "labels.csv").read_text() == "path;label\na.mp4;busy\n"
    assert "comma-separated" in rig.notes[0]
    assert list((tmp_path / "u").rglob("*.mp4")) == []


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be written"):
        Rig(tmp_path / "file" / "u")


# --- marks ---


def test_a_marked_event_is_saved_with_its_peak_and_the_label_a_person_gave(tmp_path: Path) -> None:
    with Rig(tmp_path / "u") as rig:
        rig.feed((0.1, 0.7, 0.2), (0.04, 0.95, 0.01), (0.2, 0.7, 0.1))  # window 2 is the peak
        (event,) = rig.trackers["cam0"].open
        told = rig.uncertain.mark("cam0", event.id, "loud")
        assert told == {"type": "marked", "camera": "cam0", "event": event.id, "label": "loud"}
        (row,) = rig.rows()
    assert (row["label"], row["guess"], row["event"], row["reason"]) == ("loud", "busy", event.id, "marked")
    found = scan(tmp_path / "u" / row["path"])
    (image,) = read_frames(tmp_path / "u" / row["path"], found.times, [0], lambda i: i[..., ::-1].copy())
    assert np.array_equal(image, window("cam0", 2, FakeClock()).frames[0].image)


def test_a_mark_without_a_label_has_none_and_a_second_one_gives_it(tmp_path: Path) -> None:
    with Rig(tmp_path / "u") as rig:
        rig.feed((0.1, 0.8, 0.1))
        (event,) = rig.trackers["cam0"].open
        rig.uncertain.mark("cam0", event.id, None)
        until(lambda: [r["label"] for r in read_table(tmp_path / "u")] == [""])
        rig.uncertain.mark("cam0", event.id, "calm")
        rig.uncertain.mark("cam0", event.id, None)  # "wrong" once more takes no label back
        rows = rig.rows()
    assert [row["label"] for row in rows] == ["calm"]
    assert len(list((tmp_path / "u").rglob("*.mp4"))) == 1


def test_only_the_last_events_are_held(tmp_path: Path) -> None:
    with Rig(tmp_path / "u", events=2) as rig:
        ids = []
        for _ in range(3):
            rig.feed((0.1, 0.8, 0.1))
            ids.append(rig.trackers["cam0"].open[0].id)
            rig.feed((0.3, 0.3, 0.3), (0.3, 0.3, 0.3))  # nothing is believed: the event ends
        assert code(lambda: rig.uncertain.mark("cam0", ids[0], None)) == "unknown_event"
        assert code(lambda: rig.uncertain.mark("other", ids[2], None)) == "unknown_event"
        for known in ids[1:]:
            rig.uncertain.mark("cam0", known, "calm")
        assert [row["event"] for row in rig.rows() if row["event"]] == ids[1:]


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        ({}, "bad_request"),
        ({"camera": 1, "event": "e"}, "bad_request"),
        ({"camera": "cam0", "event": None}, "bad_request"),
        ({"camera": "cam0", "event": "e", "label": ""}, "bad_request"),
        ({"camera": "cam0", "event": "e", "label": 3}, "bad_request"),
        ({"camera": "cam0", "event": "e", "label": "x" * 101}, "bad_request"),
        ({"camera": "cam0", "event": "e", "label": "a\x1b[2Jb"}, "bad_request"),
        ({"camera": "cam0", "event": "e", "label": "=cmd"}, "unknown_event"),
        ({"camera": "cam0", "event": "e" * 1000}, "unknown_event"),
    ],
)
def test_what_a_mark_may_say(tmp_path: Path, request_: dict[str, Any], wanted: str) -> None:
    with Rig(tmp_path / "u") as rig:
        assert code(lambda: answer(rig.uncertain, request_, LOCAL)) == wanted


def test_who_may_mark_and_what_a_run_without_it_says(tmp_path: Path) -> None:
    stranger, keyed = Peer("10.0.0.9", None, local=False), Peer("10.0.0.9", "kitchen", local=False)
    wish = {"camera": "cam0", "event": "e"}
    assert code(lambda: answer(None, wish, LOCAL)) == "not_collecting"
    with Rig(tmp_path / "u") as rig:
        assert code(lambda: answer(rig.uncertain, wish, stranger)) == "forbidden"
        assert code(lambda: answer(rig.uncertain, wish, keyed)) == "unknown_event"


# --- the loop is closed ---


def clip(path: Path, seconds: float = 4.0) -> Path:
    grey = np.linspace(40, 200, 48 * 64).reshape(48, 64, 1).repeat(3, 2)
    count = int(seconds * 20)
    return write_clip(
        path, [np.clip(grey + 30 * np.sin(i / 5), 0, 255).astype(np.uint8) for i in range(count)], 20
    )


def test_close_scores_are_labelled_and_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way: a run, its clips, a person with a text editor, `streamer train`, the new checkpoint."""
    folder = tmp_path / "uncertain"
    apart = [False]

    def score(seen: Window) -> tuple[float, float]:
        apart[0] = not apart[0]
        return (0.51, 0.49) if apart[0] else (0.99, 0.01)

    config = Config(
        cameras=(CameraConfig(name="door", source=str(clip(tmp_path / "c.mp4"))),),
        uncertain=UncertainConfig(folder=str(folder), scores="raw", every=0.0),
        **QUIET,
    )
    with Pipeline(config, recognizer=FakeRecognizer(score)) as pipeline:
        assert pipeline.run(threading.Event()).ok
        stats = pipeline.stats().uncertain
    assert stats is not None
    rows = read_table(folder)
    assert len(rows) == stats.saved["close"] >= 7
    assert {row["label"] for row in rows} == {""}
    base = checkpoints.save("timesformer", tmp_path / "tiny")
    words = ["--model", str(base), "-o", str(tmp_path / "out"), "--interval", "0.2", "--device", "cpu"]
    words += ["--max-steps", "2", "--batch", "2", "--workers", "0"]
    assert main(["train", str(folder), *words]) == 2
    assert f"no row of {folder / 'labels.csv'} has a label" in capsys.readouterr().err

    lines = (folder / "labels.csv").read_text().splitlines()
    for number, label in enumerate(["busy", "calm"] * 3, 1):  # what a person does
        path, _, rest = lines[number].split(",", 2)
        lines[number] = f"{path},{label},{rest}"
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    assert len(read_layout(folder).clips) == 6
    assert main(["train", str(folder), *words]) == 0
    said = capsys.readouterr().err
    assert f"left out: {len(rows) - 6} rows of {folder / 'labels.csv'} without a label" in said
    assert "2 labels; clips: " in said
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.realtime
def test_a_mark_over_the_bus(tmp_path: Path) -> None:
    folder = tmp_path / "uncertain"
    config = Config(
        cameras=(CameraConfig(name="door", source=str(clip(tmp_path / "c.mp4"))),),
        uncertain=UncertainConfig(folder=str(folder), per_day=0),
        loop=True,
        **{**QUIET, "bus": BusConfig(bind=FREE), "pace": Pace.REALTIME},
    )
    stop = threading.Event()
    with Pipeline(config, recognizer=FakeRecognizer(lambda _: (0.05, 0.95))) as pipeline:
        running = threading.Thread(target=pipeline.run, args=(stop,))
        running.start()
        try:
            with Subscriber(pipeline.endpoint, topics=["event/"], since=0.0, timeout=DEADLINE) as bus:
                event = next(iter(bus)).raw["event"]
                told = bus.request("mark", camera="door", event=event["id"], label="calm", timeout=DEADLINE)
                wanted = {"type": "marked", "camera": "door", "event": event["id"], "label": "calm"}
                assert wanted.items() <= told.items()
                with pytest.raises(BusError, match="no window of event"):
                    bus.request("mark", camera="door", event="gone", label=None, timeout=DEADLINE)
        finally:
            stop.set()
            running.join(20)
    assert [(row["label"], row["guess"]) for row in read_table(folder)] == [("calm", "busy")]


def test_collect_uncertain_is_a_run_that_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["collect", str(clip(tmp_path / "c.mp4")), "--uncertain", "-o", str(tmp_path / "u")]
    quick = ["pace=fast", "bus.bind=", "journal.path=", "ui=none", "loop=false"]
    quick += ["uncertain.margin=0.9", "uncertain.least=0", "uncertain.every=0", "uncertain.scores=raw"]
    quick += ["model.engine=torch", "model.precision=fp32"]
    assert main([*words, *[word for value in quick for word in ("--set", value)]]) == 0
    rows = read_table(tmp_path / "u")
    assert rows
    assert f"saved in {tmp_path / 'u'}" in capsys.readouterr().err, "pictures go to disk: it says where"
    assert {row["model"] for row in rows} == {"demo"}
    recognizer = load_recognizer(ModelConfig(id="demo", engine="torch", precision="fp32"))
    for row in rows[:5]:
        file = tmp_path / "u" / row["path"]
        images = read_frames(file, scan(file).times, range(recognizer.spec.frames), recognizer.reduce)
        frames = tuple(Frame("c", i, 0, 0.2 * i, 0.0, 0.0, None, image) for i, image in enumerate(images))
        (scores,) = recognizer.predict([Window("c", 1, frames, recognizer.spec.interval)])
        best = int(np.argmax(scores))
        assert recognizer.spec.labels[best] == row["guess"], "training sees what the run saw"
        assert scores[best] == pytest.approx(float(row["score"]), abs=0.002)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--uncertain", "--label", "x"], "do not apply"),
        (["--uncertain", "--every", "0"], "do not apply"),
        (["--label", "x", "--model", "demo"], "go with --uncertain"),
    ],
)
def test_wrong_usage_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "demo", "-o", str(tmp_path / "u"), *words]) == 2
    assert said in capsys.readouterr().err


# --- pictures of people are for their owner only ---


def test_folders_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with Rig(tmp_path / "new" / "u") as rig:
            rig.feed(CLEAR, CLOSE)
            rig.rows()
    finally:
        os.umask(before)
    made = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
    assert {mode for path, mode in made.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in made.items() if path.is_file()} == {0o600}
    assert sum(path.suffix == ".mp4" for path in made) == 1
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert rig.notes == []


def test_a_folder_that_others_can_look_into_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "u"
    with Rig(folder) as rig:
        rig.feed(CLEAR, CLOSE)
        rig.rows()
    folder.chmod(0o755)
    (folder / "labels.csv").chmod(0o644)
    with Rig(folder) as rig:
        rig.feed(CLEAR)
    assert rig.notes == [
        f"uncertain: {folder}: others on this machine can reach the pictures in it; "
        f"mend it: chmod -R go= {folder}"
    ]
    assert stat.S_IMODE((folder / "labels.csv").stat().st_mode) == 0o644
