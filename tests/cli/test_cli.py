"""The command line: commands, options, exit codes, one-line errors, signals."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import streamer
from streamer import errors
from streamer.cli import command_line
from streamer.cli.run import cameras_of, configuration
from streamer.config import Config, Pace, Ui
from streamer.system import program_version
from tests.helpers import warm_processes
from tests.helpers.extras_parts import without

ROOT = Path(__file__).resolve().parents[2]
QUIET = ["--bind", "tcp://127.0.0.1:0", "--requests", "", "--set", "journal.path="]
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")

Captured = pytest.CaptureFixture[str]


def options(*words: str, demo: bool = False) -> Config:
    parser = argparse.ArgumentParser()
    import_module("streamer.cli.run").add_arguments(parser)
    return configuration(parser.parse_intermixed_args([*words, *["--demo-if-none"] * demo]))


# --- help and unknown words ---


def test_help_names_every_command_and_is_quick() -> None:
    """0.05 s of processor time on the machine of docs/performance.md; 0.15 s are promised."""
    took = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), "--help"], capture_output=True, text=True, check=True
        )
        after = os.times()
        took.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
    assert all(f"\n  {name} " in done.stdout for name in command_line.COMMANDS)
    assert min(took) < 0.3


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_every_command_has_help(name: str, capsys: Captured) -> None:
    assert command_line.main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: streamer {name}")


@pytest.mark.parametrize("begins", ["-", "-h", "--", "--name", "-=x"])
def test_a_key_that_begins_like_an_option_is_a_key(tmp_path: Path, capsys: Captured, begins: str) -> None:
    key = begins.ljust(40, "a")
    assert command_line.main(["keys", "allow", key, "--name", "kitchen", f"--dir={tmp_path}"]) == 0
    capsys.readouterr()
    assert command_line.main(["keys", "list", f"--dir={tmp_path}"]) == 0
    assert capsys.readouterr().out == f"kitchen  {key}\n"


def test_version(capsys: Captured) -> None:
    assert command_line.main(["--version"]) == 0
    assert re.fullmatch(r"streamer \d+\.\d+\.\d+( \([0-9a-f]{7,}\))?\n", capsys.readouterr().out)


def test_the_version_names_the_commit_of_a_checkout_and_of_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_version, "_PACKAGE", tmp_path / "streamer")
    monkeypatch.setattr(program_version, "_BAKED", tmp_path / "commit.txt")
    assert program_version.described() == streamer.__version__
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert program_version.described() == streamer.__version__, "no commit yet"
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    assert program_version.described() == f"{streamer.__version__} ({commit})"
    (tmp_path / "commit.txt").write_text("1a2b3c4\n")
    assert program_version.described() == f"{streamer.__version__} (1a2b3c4)"


def test_completion_knows_commands_and_options(capsys: Captured) -> None:
    assert command_line.main(["--print-completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in command_line.COMMANDS)
    assert "--pace" in script
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_completion_is_for_some_shells_and_needs_its_library(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command_line.main(["--print-completion", "fish"]) == 2
    assert capsys.readouterr().err == ("streamer: --print-completion 'fish': expected bash, zsh or tcsh\n")
    without(monkeypatch, "shtab")
    assert command_line.main(["--print-completion", "zsh"]) == 2
    assert "-m pip install shtab==" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["subscrbe"], "'subscrbe' is no command; did you mean subscribe?"),
        (["0"], "'0' is no command; to watch it: streamer run 0"),
        (["rtsp://me:hunter2@h/x"], "'rtsp://***@h/x' is no command; to watch it: streamer run rtsp://***@h/x"),
        (["rtsp:/me:hunter2@h/x"],
         "an address is no command; to watch it: streamer run SCHEME://HOST[:PORT]/PATH"),
        (["run"], "nothing to watch: name a SOURCE (0 is the first webcam, demo needs none), or list "
         "cameras: in a --config FILE"),
        (["run", "0", "--hop", "0"], "--hop: model.hop = '0': expected a number from 0.001 to 3600"),
        (["run", "0", "--device", "gpu"],
         "--device: model.device = 'gpu': expected one of auto, cpu, cuda, mps"),
        (["--config", "none.yaml"], "none.yaml: no such file; give the path of one that exists"),
        (["run", "--frames", "8"], "unrecognized arguments: --frames; see streamer run --help"),
        (["--config"], "argument --config: expected one argument; see streamer run --help"),
        (["check"], "name a config file: streamer check FILE"),
        (["models", "get"], "write streamer models, streamer models show ID, or streamer models get ID"),
        (["models", "show", "nobody/nothing"],
         "'nobody/nothing' is neither in the table nor on this machine (a checkpoint need not be in the "
         "table: streamer models get nobody/nothing fetches it); known: streamer models"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_code_2(words: list[str], line: str, capsys: Captured) -> None:
    assert command_line.main(words) == 2
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", f"streamer: {line}\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), 2), (errors.BusError("x"), 2), (errors.DatasetError("x"), 2),
        (errors.SourceOpenError("x"), 3), (errors.ModelLoadError("x"), 4), (errors.WindowShapeError("x"), 4),
        (KeyboardInterrupt(), 130), (ValueError("rtsp://me:hunter2@h/"), 1),
    ],
)  # fmt: skip
def test_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def raising(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr("streamer.cli.check.run", raising)
    assert command_line.main(["check"]) == code
    said = capsys.readouterr().err
    assert ("Traceback" in said) is (code == 1)
    assert "hunter2" not in said


# --- options of run ---


def test_sources_are_named_in_order() -> None:
    names = [camera["name"] for camera in cameras_of(["0", "demo", "x.mp4", "demo"])]
    assert names == ["cam0", "demo", "cam2", "cam3"]


def test_every_option_reaches_its_key() -> None:
    config = options(
        "0", "--model", "m", "x.mp4", "--device", "cpu", "--precision", "bf16", "--engine", "torch",
        "--hop", "0.2", "--interval", "0.3", "--top", "3", "--bind", "tcp://127.0.0.1:0", "--requests", "",
        "--ui", "json", "--pace", "fast", "--loop", "--duration", "9", "--label", "waving",
        "--label", "still", "--insecure-bind", "--set", "events.enter=0.6",
        "--set", "cameras.cam1.enabled=false",
    )  # fmt: skip
    assert [(camera.source, camera.enabled) for camera in config.cameras] == [(0, True), ("x.mp4", False)]
    model = config.model
    assert (model.id, model.device, model.precision, model.engine) == ("m", "cpu", "bf16", "torch")
    assert (model.hop, model.interval, model.top) == (0.2, 0.3, 3)
    assert (config.bus.bind, config.bus.requests, config.bus.insecure_bind) == ("tcp://127.0.0.1:0", "", True)
    assert (config.ui, config.pace, config.loop, config.duration) == (Ui.JSON, Pace.FAST, True, 9.0)
    assert (config.events.include, config.events.enter) == (("waving", "still"), 0.6)
    assert not config.capture.give_up, "a live source is tried for ever, with SOURCEs too"
    assert options("0", "--give-up").capture.give_up


def test_without_a_command_it_is_the_demo_and_loops() -> None:
    config = options(demo=True)
    assert [(camera.name, camera.source) for camera in config.cameras] == [("demo", "demo")]
    assert config.loop
    assert not options("--no-loop", demo=True).loop
    assert not options("--pace", "fast", demo=True).loop
    assert not options("demo").loop


def test_the_demo_runs_on_the_better_of_its_checkpoints_unless_another_is_asked_for(tmp_path: Path) -> None:
    assert options(demo=True).model.id == "demo-streaming"
    assert options("--model", "demo", demo=True).model.id == "demo"
    assert options("--follow", demo=True).model.id == "demo", "it is better on people"
    file = tmp_path / "c.yaml"
    file.write_text("model: {hop: 0.3}\n", encoding="utf-8")
    assert options("--config", str(file), demo=True).model.id == "demo", "a stream does not take any hop"
    assert options("demo").model.id == "demo"


def test_the_demo_plays_for_as_long_as_was_asked_for() -> None:
    """The clip has 60 s; a run of 80 s ended when it did."""
    assert options("demo", "--duration", "80").loop
    assert options("demo", "demo", "--duration", "80").loop
    assert not options("demo", "--duration", "80", "--no-loop").loop
    assert not options("demo", "--duration", "80", "--set", "loop=false").loop
    assert not options("demo", "--duration", "80", "--pace", "fast").loop
    assert not options("demo", "x.mp4", "--duration", "80").loop


def test_the_demo_gives_way_to_a_files_cameras_and_they_to_sources(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("cameras: [{name: mine, source: 1}]\nevents: {enter: 0.6}\n", encoding="utf-8")
    assert [camera.name for camera in options("--config", str(file), demo=True).cameras] == ["mine"]
    config = options("--config", str(file), "0")
    assert ([camera.name for camera in config.cameras], config.events.enter) == (["cam0"], 0.6)


def test_the_environment_can_name_the_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMER_CAMERAS__0__NAME", "desk")
    monkeypatch.setenv("STREAMER_CAMERAS__0__SOURCE", "2")
    assert [(camera.name, camera.source) for camera in options().cameras] == [("desk", 2)]


@pytest.mark.parametrize(
    "words",
    [
        "evaluate rtsp://me:hunter2@cam/x", "evaluate rtsp:/me:hunter2@cam/x", "evaluate me:hunter2@cam",
        "subscribe rtsp:me:hunter2@cam", "subscribe me:hunter2@cam", "web me:hunter2@cam", "me:hunter2@h",
        "check rtsp:/me:hunter2@cam/x", "run --what me:hunter2@cam", "calibrate me:hunter2@cam",
        "events --journal me:hunter2@cam", "models get me:hunter2@cam", "models show rtsp:me:hunter2@c",
    ],
)  # fmt: skip
def test_an_address_in_the_wrong_place_keeps_its_password(words: str, capsys: Captured) -> None:
    assert command_line.main(words.split()) in (2, 4)
    captured = capsys.readouterr()
    assert "hunter2" not in captured.out + captured.err
    assert len(captured.err.splitlines()) == 1


# --- check and models ---


def test_check_names_the_cameras(capsys: Captured) -> None:
    file = str(ROOT / "configs" / "cameras.yaml")
    assert command_line.main(["check", file]) == 0
    assert capsys.readouterr().out == f"{file}: ok, 2 cameras (front-door, desk), switched off: garage\n"


def test_check_tells_every_mistake(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("ui: x\nloop: x\n", encoding="utf-8")
    assert command_line.main(["check", str(file)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"streamer: {file}:1: ui = 'x'")
    assert second.startswith(f"streamer: {file}:2: loop = 'x'")


def test_check_says_what_a_file_of_speech_is_for(capsys: Captured) -> None:
    file = str(ROOT / "configs" / "speak.yaml")
    assert command_line.main(["check", file]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"take it: streamer speak --config {file}")


def test_check_reads_the_files_that_a_configuration_names(tmp_path: Path, capsys: Captured) -> None:
    file, words = tmp_path / "office.yaml", tmp_path / "words.yaml"
    model = "{id: openai/clip, labels: words.yaml}"
    file.write_text(f"label_set: names.yaml\ncameras: [{{name: a, source: 0, model: {model}}}]\n", "utf-8")
    words.write_text("labels:\n  a dog: {treshold: 1}\n  a cat: {threshold: 2}\n", "utf-8")
    (tmp_path / "names.yaml").write_text("ignore: {a: b}\n", "utf-8")
    assert command_line.main(["check", str(file)]) == 2
    assert capsys.readouterr().err.replace(f"{tmp_path}/", "").splitlines() == [
        "streamer: words.yaml:2: labels.a dog.treshold: unknown key; did you mean threshold?",
        "streamer: words.yaml:3: labels.a cat.threshold = 2: expected a number from 0 to 1",
        "streamer: names.yaml:1: ignore = {...}: expected a list, each item text of 1 to 300 characters",
    ]
    words.write_text("labels: [a dog]", "utf-8")
    (tmp_path / "names.yaml").write_text("ignore: [a]", "utf-8")
    assert command_line.main(["check", str(file)]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ui: plain\n", "no camera is enabled: list one under cameras:, or let streamer add find one"),
        ("cameras: [{name: a, source: 0, enabled: false}]\n", "no camera is enabled"),
        ("cameras: [{name: a, source: nothing.mp4}]\n", "camera a: there is no file "),
        ("cameras: [{name: a, source: 'ftp://h/x'}]\n", "camera a: ftp:// is not known"),
        (
            "cameras: [{name: a, source: 0, events: {ignore: [wavin]}}]\n",
            "camera a: events.ignore: 'wavin' is not a label of demo or a group; did you mean 'waving'?",
        ),
        ("cameras: [{name: a, source: 0, model: {id: ./nothing}}]\n", "there is no such folder"),
    ],
)
def test_check_refuses_what_run_refuses(tmp_path: Path, capsys: Captured, text: str, said: str) -> None:
    file = tmp_path / "office.yaml"
    file.write_text(text, "utf-8")
    assert command_line.main(["check", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"streamer: {file}: ")
    assert said in line


def test_check_notes_what_a_run_waits_for(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "office.yaml"
    model = "{id: facebook/timesformer-base-finetuned-k400}"
    camera = "{name: a, source: 'rtsp://cam/x', user: me, password_file: a.password}"
    file.write_text(f"cameras: [{camera}]\nmodel: {model}\n", "utf-8")
    assert command_line.main(["check", str(file)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{file}: ok, 1 camera (a)\n"
    model_note, password = captured.err.splitlines()
    assert "streamer models get facebook/timesformer-base-finetuned-k400" in model_note
    assert password.endswith("; a run waits for it")


def test_check_opens_every_camera_once(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "office.yaml"
    file.write_text(
        "cameras: [{name: a, source: demo}, {name: b, source: 'rtsp://127.0.0.1:1/x'}]\n", "utf-8"
    )
    assert command_line.main(["check", str(file), "--connect"]) == 3
    captured = capsys.readouterr()
    ok, picture = captured.out.splitlines()
    assert ok == f"{file}: ok, 2 cameras (a, b)"
    assert picture.startswith("camera a: 640x480 after ")
    assert captured.err.startswith("camera b: 127.0.0.1:1 refuses connections; ")
    file.write_text("cameras: [{name: a, source: demo}]\n", "utf-8")
    assert command_line.main(["check", str(file), "--connect"]) == 0


def test_a_tab_is_called_a_tab(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "office.yaml"
    file.write_text("cameras:\n\t- name: a\n", "utf-8")
    assert command_line.main(["check", str(file)]) == 2
    said = capsys.readouterr().err
    assert said == f"streamer: {file}:2: a tab before the text; YAML wants spaces there\n"


def test_check_prints_the_schema(capsys: Captured) -> None:
    assert command_line.main(["check", "--schema"]) == 0
    assert "cameras" in json.loads(capsys.readouterr().out)["properties"]


def test_models_lists_the_demo_as_here_and_the_published_ones(capsys: Captured) -> None:
    assert command_line.main(["models", "--json"]) == 0
    models = {model["id"]: model for model in map(json.loads, capsys.readouterr().out.splitlines())}
    assert models["demo"]["here"] is True
    assert 0 < models["demo-streaming"]["GFLOP"] < models["demo"]["GFLOP"] < 1, "each its own cost"
    base = models["facebook/timesformer-base-finetuned-k400"]
    assert (base["frames"], base["interval"], base["span"], base["licence"]) == (
        8,
        1.067,
        7.47,
        "CC-BY-NC-4.0",
    )


def test_models_table_is_aligned(capsys: Captured) -> None:
    assert command_line.main(["models"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    place = header.index("licence")
    assert all(row[place - 1] == " " and row[place] != " " for row in rows)


# --- processes and signals ---


@pytest.fixture
def start() -> Iterator[Any]:
    running: list[subprocess.Popen[str]] = []

    def process(*words: str) -> subprocess.Popen[str]:
        child = warm_processes.start(
            [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(child)
        return child

    yield process
    for child in running:
        child.kill()
        child.communicate()


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_a_run_cleanly(start: Any, number: int, code: int) -> None:
    child = start("-m", "streamer", "run", "demo", "--ui", "plain", *QUIET)
    assert "publishing on tcp://127.0.0.1:" in child.stderr.readline()
    child.send_signal(number)
    _, said = child.communicate(timeout=15)
    assert (child.returncode, said) == (code, "")


HANGING = """
import sys, threading
from streamer.system.signals import Stopper
with Stopper(grace=float(sys.argv[1])) as stopper:
    say = lambda: stopper.stop.wait() and print("stopping", flush=True)
    threading.Thread(target=say, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait(60)
"""


@posix
def test_the_second_signal_leaves_at_once(start: Any) -> None:
    child = start("-c", HANGING, "60")
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "stopping\n"
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=15)
    assert (child.returncode, said) == (130, "streamer: stopped at once\n")


@posix
def test_what_does_not_stop_is_left_after_the_grace(start: Any) -> None:
    child = start("-c", HANGING, "0.2")
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=15)
    assert (child.returncode, said) == (130, "streamer: something did not end within 0.2 s; left it\n")


@posix
def test_a_reader_that_has_seen_enough_is_no_error(start: Any) -> None:
    child = start("-m", "streamer", "check", "--schema")
    child.stdout.close()
    child.wait(timeout=15)
    assert (child.returncode, child.stderr.read()) == (0, "")


def test_signal_handlers_are_put_back() -> None:
    from streamer.system.signals import Stopper

    before = signal.getsignal(signal.SIGINT)
    with Stopper() as stopper:
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    assert not stopper.stop.is_set()


def test_off_the_main_thread_signals_are_left_alone() -> None:
    from streamer.system.signals import Stopper

    failures: list[BaseException] = []

    def work() -> None:
        try:
            with Stopper():
                pass
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert not failures
