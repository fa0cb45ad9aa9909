"""What the archive decides by itself: names, what is there, settings, the end it foretells, who plays."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from streamer.cluster import archive_progress, archive_settings
from streamer.cluster.archive_jobs import Job, News, What
from streamer.cluster.archive_resume import ResultsFolder, last_line
from streamer.cluster.archive_scheduler import STUCK, ArchiveError, Progress, Scheduler
from streamer.cluster.local_pool import LocalPool
from streamer.config import Config, load_config
from streamer.errors import ConfigError, ModelLoadError
from streamer.testing import FakeClock
from tests.helpers import warm_processes
from tests.helpers.archive_parts import lines_of, recordings

SETTINGS = archive_settings.for_archive(Config())
CPU = {"id": "demo", "device": "cpu", "engine": "torch", "precision": "fp32"}
READY = News(What.READY, models=(CPU,))


def job(number: int, size: int = 1000) -> Job:
    return Job(number, f"/v/{number}.mp4", size, 0, f"{number}.mp4", f"/o/.{number}.part", f"/o/{number}", {})


def finish(one: Job, **more: Any) -> None:
    """Write the result of a job as a player would."""
    last = {
        "type": "recording", "camera": one.camera, "file": one.source, "bytes": one.size,
        "modified": one.modified, "windows": 1, "events": 0, "seconds": 1.0, **one.note, **more,
    }  # fmt: skip
    Path(one.result).write_text('{"type":"prediction"}\n' + json.dumps(last) + "\n")


class Script:
    """A pool whose players do what a script says: (player, job) -> news, at once."""

    def __init__(self, ready: News = READY) -> None:
        self.heard: Queue[tuple[int, News]] = Queue()
        self.ready = ready
        self.began: list[int] = []
        self.started: list[Mapping[str, Any]] = []
        self.played: list[tuple[int, int]] = []
        self.fails: set[int] = set()
        self.kills: set[int] = set()
        self.breaks: set[int] = set()
        self.loads = 10**9  # players whose models can be loaded

    def start(self, player: int) -> None:
        self.began.append(player)

    def load(self, player: int, config: Mapping[str, Any]) -> None:
        self.started.append(config)
        alive = len(self.started) <= self.loads
        self.heard.put((player, self.ready if alive else News(What.GONE, reason="its process ended")))

    def play(self, player: int, one: Job) -> None:
        self.played.append((player, one.number))
        if one.number in self.kills:
            self.heard.put((player, News(What.GONE, reason="its process was ended by SIGSEGV")))
        elif one.number in self.breaks:
            self.heard.put(
                (player, News(What.FAILED, one.number, reason="the model failed", code="ModelError"))
            )
            self.heard.put((player, News(What.GONE, reason="its process ended with code 4")))
        elif one.number in self.fails:
            self.heard.put((player, News(What.FAILED, one.number, reason="it is no video")))
        else:
            self.heard.put((player, News(What.DONE, one.number, 1.0, 1.0, 5, 1)))

    def kill(self, player: int) -> None:
        self.heard.put((player, News(What.GONE, reason="killed")))

    def close(self) -> None: ...


def schedule(pool: Any, jobs: list[Job], most: int = 2, **more: Any) -> Scheduler:
    settings: dict[str, Any] = {
        "explicit": True, "prepare": lambda one, _: one, "changed": lambda _: None, **more,
    }  # fmt: skip
    return Scheduler(pool, SETTINGS, jobs, most, **settings)


# --- who plays what ---


def test_three_attempts_and_then_it_is_left_out() -> None:
    pool = Script()
    pool.fails, pool.kills = {1}, {2}
    archive = schedule(pool, [job(number) for number in range(5)])
    archive.run(threading.Event())
    assert sorted(number for _, number in pool.played) == [0, 1, 1, 1, 2, 2, 2, 3, 4]
    assert {one.job.number: one.reason for one in archive.progress.failed} == {
        1: "it is no video",
        2: "its process was ended by SIGSEGV",
    }
    assert sorted(one.number for one, _ in archive.progress.done) == [0, 3, 4]
    assert archive.progress.retried == 4


def test_a_player_whose_model_failed_gets_nothing_more() -> None:
    """It is about to end: what it were given now would be taken for what killed it."""
    pool = Script()
    pool.breaks = {0}
    archive = schedule(pool, [job(number) for number in range(6)], most=1)
    archive.run(threading.Event())
    assert [one.job.number for one in archive.progress.failed] == [0]
    assert archive.progress.retried == 2
    for broken in {player for player, number in pool.played if number == 0}:
        assert [number for player, number in pool.played if player == broken][-1] == 0
    assert len(pool.began) == 3


def test_long_recordings_first_and_what_failed_after_the_others() -> None:
    pool = Script()
    pool.fails = {2}
    schedule(pool, [job(0, 10), job(1, 30), job(2, 20)], most=1).run(threading.Event())
    assert [number for _, number in pool.played] == [1, 2, 0, 2, 2]


@pytest.mark.parametrize(
    ("device", "explicit", "players"), [("cuda", False, 1), ("cuda", True, 3), ("cpu", False, 3)]
)
def test_one_process_a_gpu_unless_more_are_asked_for(device: str, explicit: bool, players: int) -> None:
    pool = Script(News(What.READY, models=({**CPU, "device": device},)))
    schedule(pool, [job(number) for number in range(40)], 3, explicit=explicit).run(threading.Event())
    assert len(pool.started) == players


def test_what_the_first_chose_holds_for_all() -> None:
    chosen = {**CPU, "engine": "openvino", "precision": "int8"}
    pool = Script(News(What.READY, models=(chosen,)))
    schedule(pool, [job(number) for number in range(40)], 2).run(threading.Event())
    assert [start["model"]["engine"] for start in pool.started] == ["auto", "openvino"]
    assert [start["model"]["precision"] for start in pool.started] == ["auto", "int8"]


def test_a_model_that_cannot_be_loaded_ends_it() -> None:
    with pytest.raises(ModelLoadError, match="no such checkpoint"):
        schedule(Script(News(What.UNFIT, reason="no such checkpoint", code="ModelLoadError")), [job(0)]).run(
            threading.Event()
        )
    pool = Script()
    pool.loads = 0
    with pytest.raises(ArchiveError, match="could not be loaded 3 times in a row: its process ended"):
        schedule(pool, [job(0)]).run(threading.Event())


@pytest.mark.realtime
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_player_that_hangs_is_ended_and_its_recording_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    monkeypatch.setattr(subprocess, "Popen", warm_processes.start)

    clip = recordings(tmp_path / "clips", 1)[0]
    with ResultsFolder(tmp_path / "out") as folder:
        plan = folder.plan([clip], SETTINGS, again=False)
        pool, stopped, clock = LocalPool(1), [], FakeClock()

        def changed(progress: Progress) -> None:
            if progress.playing and not stopped:
                (player,) = progress.playing
                stopped.append(player)
                os.kill(pool._processes[player].pid, signal.SIGSTOP)
            if stopped and not progress.retried:  # again and again: what it said before may still be heard
                clock.advance(STUCK + 1)

        archive = schedule(pool, list(plan.jobs), 1, changed=changed, clock=clock)
        archive.run(threading.Event())
        pool.close()
    assert stopped == [0]
    assert archive.progress.retried == 1
    assert lines_of(tmp_path / "out" / f"{clip.name}.jsonl")[-1]["windows"] > 3


# --- the folder ---


def test_each_recording_has_a_result_of_its_own_whatever_the_order(tmp_path: Path) -> None:
    sources = []
    for place in ("a", "b", "c"):
        (tmp_path / place).mkdir()
        sources.append(tmp_path / place / "same.mp4")
        sources[-1].write_bytes(b"x")
    with ResultsFolder(tmp_path / "out") as folder:
        first = folder.plan(sources[:2], SETTINGS, again=False).jobs
        assert len({one.result for one in first}) == 2
        assert len({one.part for one in first}) == 2
        finish(first[1])  # the one whose name was taken
    with ResultsFolder(tmp_path / "out") as folder:
        plan = folder.plan(list(reversed(sources)), SETTINGS, again=False)
        assert [last["file"] for last in plan.there] == [str(sources[1])]
        assert {one.source for one in plan.jobs} == {str(sources[0]), str(sources[2])}
        assert first[1].result not in {one.result for one in plan.jobs}
        assert len({one.result for one in plan.jobs}) == 2


def test_hostile_names_stay_in_the_folder(tmp_path: Path) -> None:
    names = ["..evil.mp4", "a\nb.mp4", ".hidden.mp4", "x" * 200 + ".mp4", "ü 😀.mp4", "A.mp4", "a.mp4"]
    sources = [tmp_path / name for name in names]
    for source in sources:
        source.write_bytes(b"x")
    with ResultsFolder(tmp_path / "out") as folder:
        jobs = folder.plan(sources, SETTINGS, again=False).jobs
    assert len({one.result.casefold() for one in jobs}) == len(names)
    for one in jobs:
        assert Path(one.result).parent == tmp_path / "out"
        assert not Path(one.result).name.startswith(".")
        archive_settings.for_recording(SETTINGS, one.source, one.camera)  # a name that a camera may have


def test_a_torn_result_is_none(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(b"x")
    with ResultsFolder(tmp_path / "out") as folder:
        one = folder.plan([source], SETTINGS, again=False).jobs[0]
        finish(one)
        whole = Path(one.result).read_bytes()
        assert last_line(Path(one.result)) is not None
        for cut in range(len(whole) - 1):
            Path(one.result).write_bytes(whole[:cut])
            assert last_line(Path(one.result)) is None
        for strange in (b"null\n", b"[]\n", b'{"type":"recording"}\n', b"\xff\n", b"[" * 100_000):
            Path(one.result).write_bytes(strange)
            assert last_line(Path(one.result)) is None


def test_what_differs_is_named(tmp_path: Path) -> None:
    now = archive_settings.described(
        archive_settings.for_archive(load_config(None, ["events.enter=0.7", "model.hop=0.3"]))
    )
    before = archive_settings.described(SETTINGS)
    assert archive_settings.differences(before, now) == [
        "events.enter was the default and is 0.7",
        "model.hop was the default and is 0.3",
    ]
    assert archive_settings.differences(now, now) == []
    other = {**now, "weights": {"demo": "0000"}}
    assert archive_settings.differences(other, now) == ["the checkpoint demo has changed"]


def test_nothing_is_published_recorded_or_served() -> None:
    config = load_config(
        None,
        [
            "pictures=keep",
            "metrics.listen=127.0.0.1:1",
            "bus.bind=tcp://127.0.0.1:1",
            "loop=true",
            "events.enter=0.6",
        ],
    )
    played = Config.model_validate(archive_settings.as_json(archive_settings.for_archive(config)))
    assert (played.bus.bind, played.bus.requests, played.journal.path, played.metrics.listen) == (
        "",
        "",
        "",
        "",
    )
    assert not any((played.recording.snapshots, played.recording.clips, played.preview, played.loop))
    assert played.events.enter == 0.6


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be used"), ResultsFolder(tmp_path / "file" / "out"):
        pass


# --- the end that is foretold ---


def test_the_end_is_foretold_by_pace_and_never_before_the_longest_is_played() -> None:
    jobs = [job(0, 1000), job(1, 1000), job(2, 4000)]
    now = time.monotonic()
    progress = Progress(jobs, players=2, began=now - 10.0)
    progress.done.append((jobs[0], News(What.DONE, 0, 98.0, 100.0)))
    progress.playing[0] = jobs[1], News(What.AT, 1, 50.0, 100.0)
    progress.playing[1] = jobs[2], News(What.AT, 2, 50.0, None)
    found = archive_progress.estimate(progress, now)
    assert found.done == 200.0
    assert found.total == pytest.approx(100 + 100 + 400, rel=0.4)  # the third is guessed from its size
    pace = 200.0 / 10.0
    longest = (found.total - 200.0 - 50.0) / (pace / 2)
    assert found.left == pytest.approx(longest)
    assert found.left > (found.total - found.done) / pace


def test_nothing_is_foretold_before_something_is_known() -> None:
    jobs = [job(0)]
    assert archive_progress.estimate(Progress(jobs), 5.0).left is None
    progress = Progress(jobs, began=100.0)
    progress.playing[0] = jobs[0], News(What.AT, 0, 1.0, 50.0)
    assert archive_progress.estimate(progress, 101.0).left is None
    assert archive_progress.estimate(progress, 105.0).left == pytest.approx(245.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min"), (250, "4 min 10 s"), (750, "12 min"), (7500, "2 h 5 min")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert archive_progress.duration(seconds) == text
