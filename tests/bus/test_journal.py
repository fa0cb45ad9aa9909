"""The event history on disk, and `streamer events`: nothing lost by a kill, honest when the disk fails."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from streamer.bus import history, wire
from streamer.bus import journal as journal_module
from streamer.bus.journal import Journal
from streamer.bus.journal_file import default_path
from streamer.bus.position import Position, parse_time
from streamer.cli import events as events_command
from streamer.config import JournalConfig
from streamer.errors import BusError
from streamer.testing import FakeClock
from streamer.types import Phase
from tests.helpers.bus_parts import event, no_leaks, publisher

pytestmark = pytest.mark.usefixtures("no_leaks")
__all__ = ["no_leaks"]


def open_journal(path: Path | str | None, session: str = "s1", **more: object) -> Journal:
    config = JournalConfig(path=None if path is None else str(path), **more.pop("limits", {}))  # type: ignore[arg-type]
    return Journal(config, session, **more)  # type: ignore[arg-type]


def bodies(*names: str, phase: Phase = Phase.START, camera: str = "cam0") -> list[wire.Body]:
    return [wire.event_body(event(name, phase, camera=camera)) for name in names]


def seqs(journal: Journal, after: int = 0, **filters: object) -> list[int]:
    return [row.seq for row in journal.after(after, **filters).rows]  # type: ignore[arg-type]


def test_rows_are_numbered_on_over_restarts(tmp_path: Path) -> None:
    for run in range(3):
        journal = open_journal(tmp_path / "h.db", f"s{run}")
        sent = journal.append(bodies("a", "b"))
        assert [message["seq"] for message, _ in sent] == [2 * run + 1, 2 * run + 2]
        assert journal.durable
        journal.close()


def test_what_is_read_back_is_what_was_sent(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "h.db")
    sent = journal.append(bodies("a", "b", camera="caméra/🎥"))
    assert [row.message for row in journal.after(0).rows] == [data for _, data in sent]
    journal.close()


def test_numbers_are_never_used_twice_even_after_all_rows_expired(tmp_path: Path) -> None:
    clock = FakeClock()
    journal = open_journal(tmp_path / "h.db", clock=clock, limits={"max_days": 1})
    journal.append(bodies("a", "b", phase=Phase.END))
    clock.advance(2 * 86400)
    journal.tidy()
    assert seqs(journal) == []
    journal.close()
    again = open_journal(tmp_path / "h.db", "s2")
    assert again.append(bodies("c"))[0][0]["seq"] == 3
    again.close()


def test_filters_pages_and_since(tmp_path: Path) -> None:
    clock = FakeClock()
    journal = open_journal(tmp_path / "h.db", clock=clock)
    for number in range(10):
        journal.append(
            [wire.event_body(event(f"e{number}", camera=f"cam{number % 2}", label=f"l{number % 5}"))]
        )
        clock.advance(1)
    assert seqs(journal, 3) == list(range(4, 11))
    assert seqs(journal, camera="cam1") == [2, 4, 6, 8, 10]
    assert seqs(journal, camera="cam1", label="l3") == [4]
    page = journal.after(2, limit=3)
    assert ([row.seq for row in page.rows], page.more) == ([3, 4, 5], True)
    assert journal.after(7, limit=3).more is False
    began = clock.wall() - 10
    assert journal.before(began) == 0
    assert journal.before(began + 3.5) == 4
    assert journal.before(clock.wall() + 1) == 10
    journal.close()


def test_a_page_is_bounded_in_bytes(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "h.db")
    journal.append([wire.event_body(event(f"e{number}", label="x" * 100_000)) for number in range(30)])
    page = journal.after(0, limit=5000)
    assert page.more
    assert sum(len(row.message) for row in page.rows) <= journal_module.MAX_PAGE_BYTES
    journal.close()


def test_events_left_open_by_a_crash_get_their_end(tmp_path: Path) -> None:
    clock = FakeClock()
    first = open_journal(tmp_path / "h.db", clock=clock)
    first.append(bodies("done", "open"))
    first.append(bodies("done", phase=Phase.END))
    clock.advance(5)
    ((update, _),) = first.append(bodies("open", phase=Phase.UPDATE))
    first.close()
    clock.advance(3600)
    second = open_journal(tmp_path / "h.db", "s2", clock=clock)
    ((end, _),) = second.append(second.take_open())
    assert end["event"]["id"] == "open"
    assert (end["event"]["phase"], end["event"]["reason"]) == ("end", "program stopped")
    assert end["event"]["ended_at"] == update["sent_at"], (
        "when it was last known to go on, not when we came back"
    )
    assert end["seq"] == 5
    second.close()
    third = open_journal(tmp_path / "h.db", "s3")
    assert third.take_open() == [], "closed once"
    third.close()


WRITER = """
import sys
from streamer.bus import wire
from streamer.bus.journal import Journal
from streamer.config import JournalConfig
from streamer.types import Event, Moment, Phase
journal = Journal(JournalConfig(path=sys.argv[1]), "child",
    on_problem=lambda line: print("problem", line, flush=True))
print("ready", flush=True)
at, n = Moment(0, 1.7e9), 0
while True:
    n += 1
    body = wire.event_body(Event(f"e{n}", "cam0", "m", "waving", Phase.START, 0.5, 0.5, at, at))
    print(journal.append([body])[0][0]["seq"], flush=True)
    if n >= int(sys.argv[2]):
        sys.stdin.read()
"""


def start_writer(path: Path, rows: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(rows)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.realtime
def test_kill_9_loses_nothing_that_was_told(tmp_path: Path) -> None:
    told: list[int] = []
    for _ in range(3):
        with start_writer(tmp_path / "h.db", 1_000_000) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            for _ in range(200):
                told.append(int(child.stdout.readline()))
            child.kill()
            # what stands in the pipe was told too; its last line may be cut
            told += [int(line) for line in child.stdout.read().split("\n")[:-1]]
    journal = open_journal(tmp_path / "h.db", "after")
    found: list[int] = []
    while page := journal.after(found[-1] if found else 0, limit=5000).rows:
        found += [row.seq for row in page]
        for row in page:
            wire.decode(row.message)  # no half-written row
    journal.close()
    assert told == sorted(set(told)), "no number was given out twice"
    assert set(told) <= set(found)
    assert found == list(range(1, found[-1] + 1))
    assert found[-1] - told[-1] <= 1, "at most the row that was being told"


def test_two_programs_on_one_history(tmp_path: Path) -> None:
    """The second is told, and works in memory; a kill -9 of the first frees the file."""
    lines: list[str] = []
    with start_writer(tmp_path / "h.db", 1) as child:
        assert child.stdout is not None
        assert [child.stdout.readline(), child.stdout.readline()] == ["ready\n", "1\n"]
        second = open_journal(tmp_path / "h.db", "s2", on_problem=lines.append)
        assert not second.durable
        assert [message["seq"] for message, _ in second.append(bodies("a"))] == [1]
        second.close()
        child.kill()
    assert len(lines) == 1
    assert f"in use by process {child.pid}" in lines[0]
    third = open_journal(tmp_path / "h.db", "s3", on_problem=lines.append)
    assert (third.durable, third.last, len(lines)) == (True, 1, 1)
    third.close()


def test_two_histories_in_one_program_do_not_share_a_file(tmp_path: Path) -> None:
    lines: list[str] = []
    first = open_journal(tmp_path / "h.db")
    second = open_journal(tmp_path / "h.db", "s2", on_problem=lines.append)
    assert (first.durable, second.durable) == (True, False)
    assert "by this program itself" in lines[0]
    second.close()
    first.close()


def test_a_full_disk_is_said_once_and_nothing_is_lost_when_it_is_over(tmp_path: Path) -> None:
    clock, lines = FakeClock(), []
    journal = open_journal(tmp_path / "h.db", clock=clock, on_problem=lines.append)
    journal.append(bodies("before"))
    pages = journal._file._db.execute("PRAGMA page_count").fetchone()[0]
    journal._file._db.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own "database or disk is full"
    filler = [wire.event_body(event(f"e{n}", label="x" * 1000)) for n in range(40)]
    sent = [message["seq"] for message, _ in journal.append(filler)]
    sent += [message["seq"] for message, _ in journal.append(bodies("later"))]
    assert sent == list(range(2, 43)), "numbers go on in memory"
    assert len(lines) == 1
    assert "full" in lines[0]
    assert not journal.durable
    assert seqs(journal, 0, limit=5000) == list(range(1, 43)), "and are replayed from there"
    journal._file._db.execute("PRAGMA max_page_count = 100000")
    journal.tidy()
    assert not journal.durable, "it is tried every 5 s, not all the time"
    clock.advance(6)
    journal.tidy()
    assert journal.durable
    assert len(lines) == 2
    assert "41 waiting messages are written" in lines[1]
    journal.close()
    again = open_journal(tmp_path / "h.db", "s2")
    assert (again.last, seqs(again, 0, limit=5000)) == (42, list(range(1, 43)))
    again.close()


def test_what_waits_for_a_failing_disk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_WAITING", 10)
    lines: list[str] = []
    journal = open_journal(tmp_path / "h.db", clock=FakeClock(), on_problem=lines.append)
    pages = journal._file._db.execute("PRAGMA page_count").fetchone()[0]
    journal._file._db.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(30):
        journal.append([wire.event_body(event(f"e{number}", label="x" * 9000))])
    assert len(journal._waiting) == 10
    journal.close()
    assert "10 messages could not be written and are lost" in lines[-1]


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
from streamer.bus import wire
from streamer.bus.journal import Journal
from streamer.config import JournalConfig
from streamer.types import Event, Moment, Phase
journal = Journal(JournalConfig(path=sys.argv[1]), "child", on_problem=lambda line: print("problem", line))
at = Moment(0, 1.7e9)
for n in range(400):
    body = wire.event_body(Event(f"e{n}", "cam0", "m", "w" * 1000, Phase.START, 0.5, 0.5, at, at))
    assert journal.append([body])[0][0]["seq"] == n + 1
print("all numbered", journal.durable, len(journal.after(0, limit=5000).rows))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_write_error_of_the_system_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "h.db")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "all numbered False 400"
    assert sum(line.startswith("problem") for line in lines) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    _memory_only(folder / "h.db", "Permission")


def test_a_path_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _memory_only(tmp_path / "file" / "h.db", "cannot use")


def _memory_only(path: Path, why: str) -> None:
    lines: list[str] = []
    journal = open_journal(path, on_problem=lines.append)
    assert journal.append(bodies("a"))[0][0]["seq"] == 1
    assert seqs(journal) == [1]
    assert not journal.durable
    journal.close()
    assert len(lines) == 1
    assert why in lines[0]
    assert str(path) in lines[0]
    assert "memory only" in lines[0]


@pytest.mark.parametrize("damage", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_file_is_moved_aside(tmp_path: Path, damage: bytes) -> None:
    path, lines = tmp_path / "h.db", []
    path.write_bytes(damage)
    journal = open_journal(path, on_problem=lines.append)
    journal.append(bodies("a"))
    assert journal.durable
    journal.close()
    assert len(lines) == 1
    assert "damaged" in lines[0]
    (aside,) = tmp_path.glob("h.db.damaged-*")
    assert aside.read_bytes() == damage, "kept for whoever wants to save something"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_somebody_elses_file_named_by_mistake_is_not_touched(tmp_path: Path) -> None:
    film, other = tmp_path / "holiday.mp4", tmp_path / "contacts.db"
    film.write_bytes(b"\x00\x00\x00\x20ftypisom" * 50)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE people (name TEXT)")
    db.close()
    for path, why in ((film, "not a database"), (other, "another program's database")):
        before = path.read_bytes()
        _memory_only(path, why)
        assert path.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} >= {"holiday.mp4", "contacts.db"}


def test_a_file_that_is_damaged_while_in_use(tmp_path: Path) -> None:
    path, lines, clock = tmp_path / "h.db", [], FakeClock()
    journal = open_journal(path, on_problem=lines.append, clock=clock)
    journal.append([wire.event_body(event(f"e{n}", label="x" * 500)) for n in range(400)])
    first_id = journal.id
    journal._file._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    journal._file._db.execute("PRAGMA cache_size = 0")
    journal._file._db.execute("PRAGMA cache_spill = 1")
    other = open_journal("", "x")
    other.close()
    for number in range(3):
        ((message, _),) = journal.append([wire.event_body(event(f"f{number}", label="y" * 500))])
        assert message["seq"] == 401 + number, "numbers go on"
    assert seqs(journal, 400) == [401, 402, 403]
    assert journal.id != first_id, "and readers can tell that it is another history"
    assert any("damaged" in line for line in lines)
    journal.close()


def test_a_file_removed_while_in_use_is_noticed(tmp_path: Path) -> None:
    path, lines, clock = tmp_path / "h.db", [], FakeClock()
    journal = open_journal(path, on_problem=lines.append, clock=clock)
    journal.append(bodies("a"))
    for ending in ("", "-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    clock.advance(60)
    journal.tidy()
    assert journal.append(bodies("b"))[0][0]["seq"] == 2
    journal.close()
    assert len(lines) == 1
    assert "removed" in lines[0]
    again = open_journal(path, "s2")
    assert (again.last, seqs(again)) == (2, [2])
    again.close()


def test_a_history_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "h.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    lines: list[str] = []
    journal = open_journal(tmp_path / "h.db", on_problem=lines.append)
    assert not journal.durable
    assert "newer" in lines[0]
    journal.close()


def test_age_and_size_are_limited_a_little_at_a_time(tmp_path: Path) -> None:
    clock = FakeClock()
    journal = open_journal(tmp_path / "h.db", clock=clock, limits={"max_mb": 0.5, "max_days": 1})
    for _ in range(4):
        journal.append([wire.event_body(event(f"e{n}", Phase.END, label="x" * 300)) for n in range(500)])
    clock.advance(31)
    steps = 0
    while journal.tidy():
        steps += 1
    assert steps >= 1
    assert journal._file.size() <= 500_000
    left = seqs(journal, limit=5000)
    assert left[-1] == 2000, "the newest stay"
    clock.advance(86401)
    while journal.tidy():
        pass
    assert seqs(journal) == []
    journal.close()


def test_the_file_is_for_its_owner_only_and_in_the_users_state_folder(own_folders: Path) -> None:
    journal = open_journal(None)
    journal.append(bodies("a"))
    path = default_path()
    assert path.is_relative_to(own_folders)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
    journal.close()


# ---- streamer events


@pytest.fixture
def told(tmp_path: Path) -> Path:
    clock = FakeClock()
    journal = open_journal(tmp_path / "h.db", clock=clock)
    for name, camera, label in (
        ("a", "door", "waving"),
        ("b", "yard", "falling\x1b[2J"),
        ("c", "door", "still"),
    ):
        journal.append([wire.event_body(event(name, camera=camera, label=label))])
        clock.advance(60)
    journal.append([wire.event_body(event("a", Phase.END, camera="door", label="waving"))])
    journal.close()
    return tmp_path / "h.db"


def test_one_record_per_event_oldest_first(told: Path) -> None:
    records = history.list_events(told)
    assert [record["id"] for record in records] == ["b", "c", "a"]
    assert [record["ended_at"] is None for record in records] == [True, True, False]
    assert tuple(records[0]) == history.COLUMNS


def test_filters(told: Path) -> None:
    assert [r["id"] for r in history.list_events(told, camera="door")] == ["c", "a"]
    assert [r["id"] for r in history.list_events(told, label="still")] == ["c"]
    assert [r["id"] for r in history.list_events(told, limit=1)] == ["a"], "the newest"
    assert [r["id"] for r in history.list_events(told, since=FakeClock().wall() + 130)] == ["a"]
    assert history.list_events(told, camera="nowhere") == []


def test_no_action_is_left_out_for_people_unless_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(JournalConfig(path=str(tmp_path / "h.db")), "s", clock=FakeClock())
    journal.append([wire.event_body(event("waved", label="waving"))])
    for n in range(60):
        journal.append([wire.event_body(replace(event(f"still{n}", label="still"), background=True))])
    journal.close()

    def labels(*words: str) -> list[str]:
        assert command("--journal", str(tmp_path / "h.db"), *words) == 0
        return re.findall("waving|still(?! on)", capsys.readouterr().out)

    assert labels() == ["waving"], "nor do they use up the newest fifty"
    assert labels("--label", "still", "--limit", "3") == ["still"] * 3
    assert len(labels("--format", "json")) >= 61
    assert labels("--format", "csv", "--limit", "2")[-1] == "still"
    records = history.list_events(tmp_path / "h.db", limit=1)
    assert records[0]["background"] is True


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    events_command.add_arguments(parser)
    return events_command.run(parser.parse_args(words))


def test_the_three_formats(told: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--journal", str(told)) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0].split() == ["started", "lasted", "camera", "label", "peak"]
    assert "still on" in table
    assert "\x1b" not in table, "a label must not steer the terminal"
    assert command("--journal", str(told), "--format", "json") == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["id"] for item in objects] == ["b", "c", "a"]
    assert command("--journal", str(told), "--format", "csv", "--camera", "door") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["id"] for row in rows] == ["c", "a"]


def test_a_part_is_called_one_and_strange_names_are_refused(
    told: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_command, "TABLE_LIMIT", 2)
    assert command("--journal", str(told)) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert captured.err == "streamer: the newest 2 events; --limit 20 or --since shows more\n"
    assert command("--journal", str(told), "--limit", "2") == 0
    assert command("--journal", str(told), "--camera", "door", "--since", "2999-01-01") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.endswith("no events\n")
    for words, said in (
        (("--camera", "dor"), "--camera 'dor': the history has no event of it; did you mean 'door'?"),
        (("--label", "flying"), "--label 'flying': the history has no event of it; it has "),
    ):
        with pytest.raises(BusError) as refused:
            command("--journal", str(told), *words)
        assert str(refused.value).startswith(said)
    config = told.parent / "office.yaml"
    config.write_text("cameras: [{name: new, source: 0}]\n", "utf-8")
    assert command("--journal", str(told), "--config", str(config), "--camera", "new") == 0


def test_events_can_be_listed_while_the_program_writes(tmp_path: Path) -> None:
    with start_writer(tmp_path / "h.db", 5) as child:
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in range(6)][-1] == "5\n"
        assert len(history.list_events(tmp_path / "h.db")) == 5
        child.send_signal(signal.SIGKILL)
    assert len(history.list_events(tmp_path / "h.db")) == 5, "and after it was killed"


def test_a_reader_that_leaves_is_no_error(told: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "streamer", "events", "--journal", str(told), "--format", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert (child.wait(30), child.stderr.read()) == (0, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--journal", "/nowhere/h.db"], "no event history"),
        (["--limit", "0"], "1 or more"),
        (["--since", "yesterday"], "no point in time"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str) -> None:
    with pytest.raises(BusError, match=message) as caught:
        command(*words)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_history(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database" * 100)
    with pytest.raises(BusError, match="cannot read"):
        history.list_events(tmp_path / "x.db")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 910.0), ("1m", 940.0), ("0.25h", 100.0), ("2h", 0.0), ("500", 500.0)]
)
def test_points_in_time(text: str, seconds: float) -> None:
    assert parse_time(text, 1000.0) == seconds


def test_dates_and_numbers() -> None:
    assert parse_time("2026-01-31T14:00+00:00", 0) == 1769868000.0
    assert Position.parse("seq:12", 0) == Position("seq", 12)
    for wrong in ("seq:x", "seq:-1", "seq:", "2 hours", "", "inf", "nan", "-5", "9999999999999999"):
        with pytest.raises(BusError):
            Position.parse(wrong, 0)


def test_appending_is_fast_enough_for_every_event_to_be_written_first(tmp_path: Path) -> None:
    """About 0.1 ms each on two cores; a hundred times that is still far above what cameras can say."""
    journal = open_journal(tmp_path / "h.db")
    body = bodies("a")
    began = time.monotonic()
    for _ in range(300):
        journal.append(body)
    each = (time.monotonic() - began) / 300
    journal.close()
    assert each < 0.01


@pytest.mark.skipif(sys.platform == "win32", reason="rights are another matter there")
def test_a_history_that_others_can_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "down" / "h.db"
    lines: list[str] = []
    for expected in (0, 1):
        with publisher(file, on_problem=lines.append) as bus:
            bus.event(event(f"e{expected}"))
        assert len(lines) == expected
        assert stat.S_IMODE(file.stat().st_mode) == (0o644 if expected else 0o600)
        file.chmod(0o644)
    assert all(stat.S_IMODE(folder.stat().st_mode) == 0o700 for folder in (file.parent, file.parent.parent))
    assert f"chmod 600 {file}" in lines[0]
    assert len(history.list_events(file)) == 2, "it is used all the same"
