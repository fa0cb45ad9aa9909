"""run.py on a machine that has nothing yet: set-up, second start, repair, and failures in one line.

pip and venv are played by scripts, so nothing is downloaded; run.py itself and its processes are real.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
posix = pytest.mark.skipif(os.name == "nt", reason="the stand-ins for venv and pip are shell scripts")

VENV = """
import pathlib, shutil, sys
if {failing!r}:
    sys.exit({failing!r})
print("made", sys.argv[1:])
folder = pathlib.Path(sys.argv[-1])
shutil.rmtree(folder, ignore_errors=True)
(folder / "bin").mkdir(parents=True)
shutil.copy({python!r}, folder / "bin" / "python")
"""
PYTHON = """#!/bin/sh
log="$(dirname "$0")/../../log"
case "$*" in
    "-m pip --version") exit 0 ;;
    "-m pip install"*) echo "$@" >> "$log"; echo Collecting things; {install} ;;
    *) echo "inside: $@" ;;
esac
"""


class Checkout:
    """A copy of run.py with a stand-in for what it starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stubs = folder / "stubs"
        self.stubs.mkdir(parents=True)
        (folder / "configs").mkdir()
        (folder / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
        (folder / "configs" / "constraints.txt").write_text("torch==1\n", encoding="utf-8")
        shutil.copy(ROOT / "run.py", folder)
        self.stand_ins()

    def stand_ins(self, venv: str = "", install: str = "exit 0") -> None:
        """`venv`: what it fails with; `install`: the shell command that ends pip."""
        python = self.stubs / "python"
        python.write_text(PYTHON.format(install=install), encoding="utf-8")
        python.chmod(0o755)
        code = VENV.format(failing=venv, python=str(python))
        (self.stubs / "venv.py").write_text(code, encoding="utf-8")

    def start(self, *words: str, bare: bool = True) -> subprocess.CompletedProcess[str]:
        # -S: without site-packages no dependency is found, whatever this Python has
        command = [sys.executable, *["-S"] * bare, str(self.folder / "run.py"), *words]
        env = {**os.environ, "PYTHONPATH": str(self.stubs), "PYTHONDONTWRITEBYTECODE": ""}
        return subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=60, cwd=self.folder.parent
        )

    @property
    def installs(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "a checkout")


@posix
def test_the_first_start_sets_up_and_the_second_does_not(checkout: Checkout) -> None:
    first = checkout.start("run", "0", "--ui", "json")
    assert first.returncode == 0
    assert first.stdout == f"inside: {checkout.folder}/run.py run 0 --ui json\n", (
        "stdout is the program's own"
    )
    assert "setting up streamer in" in first.stderr
    assert "Collecting" not in first.stderr
    assert (checkout.folder / ".venv" / "streamer-setup.log").read_text() == "Collecting things\n"
    assert checkout.installs == [
        "-m pip install --disable-pip-version-check --no-compile"
        f" -c {checkout.folder}/configs/constraints.txt -e {checkout.folder}"
    ]
    second = checkout.start("--duration", "1")
    assert (second.stdout, second.stderr) == (f"inside: {checkout.folder}/run.py --duration 1\n", "")
    assert len(checkout.installs) == 1


@posix
def test_an_environment_that_is_a_link_is_not_changed(checkout: Checkout, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "kept").touch()
    (checkout.folder / ".venv").symlink_to(theirs)
    refused = checkout.start("run", "0")
    assert refused.returncode == 1
    assert refused.stderr.endswith("it is a link, and another checkout may live in it; remove the link\n")
    assert len(refused.stderr.splitlines()) == 1
    assert [path.name for path in theirs.iterdir()] == ["kept"]
    assert not checkout.installs


@posix
def test_tests_get_their_extras_once_and_starts_after_that_need_none(checkout: Checkout) -> None:
    checkout.start("run", "0")
    done = checkout.start("test", "-k", "events")
    assert done.stdout == f"inside: {checkout.folder}/run.py test -k events\n"
    assert checkout.installs[1].endswith(f"-e {checkout.folder}[test,openvino]")
    checkout.start("test")
    checkout.start("run", "0")
    assert len(checkout.installs) == 2


def test_what_a_run_of_tests_compiles_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its processes would compile streamer and every test file anew."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.chdir(ROOT)
    started: list[tuple[list[str], bool]] = []
    main = runpy.run_path(str(ROOT / "run.py"))["main"]
    main.__globals__.update(
        is_there=lambda _module: True,
        is_set_up=lambda _testing: True,
        restart=lambda command: started.append((command, "PYTHONDONTWRITEBYTECODE" in os.environ)),
        hand_over=lambda _words: 0,
    )
    main(["test", "--quick"])
    command, told_to_forget = started[-1]
    assert command[1:3] == ["-m", "pytest"]
    assert not told_to_forget


def test_whole_runs_are_shared_out_and_parts_of_them_are_not() -> None:
    words = runpy.run_path(str(ROOT / "run.py"))["pytest_words"]
    cores = os.cpu_count() or 1
    by_file = ["--dist=loadfile", "--no-loadscope-reorder"]
    shared = ["-n", str(min(8, 2 * cores)), *by_file]
    assert words([]) == shared
    assert words(["-k", "events"]) == [*shared, "-k", "events"]
    assert words(["tests/events/test_events.py::test_x"]) == ["tests/events/test_events.py::test_x"]
    assert words(["-n", "2"]) == ["-n", "2"]
    marked = ["-m", "not (realtime or browser or rtsp or training or soak)"]
    many = str(min(16, 4 * cores) if sys.platform == "linux" else min(8, 2 * cores))
    assert words(["--quick", "tests/events"]) == ["-n", many, *by_file, "tests/events", *marked]


@posix
@pytest.mark.parametrize("what", ["interrupted", "new versions", "python gone"])
def test_what_is_not_current_is_set_up_again(checkout: Checkout, what: str) -> None:
    checkout.start("test")
    if what == "interrupted":
        (checkout.folder / ".venv" / "streamer-setup").unlink()
    elif what == "new versions":
        (checkout.folder / "configs" / "constraints.txt").write_text("torch==2\n", encoding="utf-8")
    else:
        (checkout.folder / ".venv" / "bin" / "python").unlink()
    assert checkout.start("run", "0").returncode == 0
    assert len(checkout.installs) == 2
    kept = what != "interrupted"  # what the tests need stays once it is there
    assert checkout.installs[1].endswith("[test,openvino]") is kept


@posix
@pytest.mark.parametrize(
    ("venv", "install", "line"),
    [
        ("ensurepip is not available", "exit 0", "sudo apt install python3-venv"),
        ("Error: [Errno 28] No space left on device", "exit 0", "the disk is full"),
        ("Error: [Errno 13] Permission denied: '.venv'", "exit 0", "cannot be written"),
        ("", "echo 'ERROR: No matching distribution found for torch' >&2; exit 1", "is the network there"),
        (
            "",
            "echo 'ERROR: Could not install: [Errno 28] No space left on device' >&2; exit 1",
            "disk is full",
        ),
        ("", "echo 'ERROR: odd https://me:hunter2@host/' >&2; exit 1", "ERROR: odd https://***@host/"),
    ],
)
def test_a_failed_set_up_ends_in_one_line_and_can_be_repeated(
    checkout: Checkout, venv: str, install: str, line: str
) -> None:
    checkout.stand_ins(venv, install)
    failed = checkout.start("run", "0")
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("streamer: ")
    assert line in last
    assert "Traceback" not in failed.stderr
    if install != "exit 0":
        log = checkout.folder / ".venv" / "streamer-setup.log"
        assert last.endswith(f"; all that pip said is in {log}")
        assert "ERROR: " in log.read_text()
        assert "hunter2" not in log.read_text()
    checkout.stand_ins()
    shutil.rmtree(checkout.folder / ".venv", ignore_errors=True)
    assert checkout.start("run", "0").returncode == 0


@posix
@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["--nonsense"], 2, "streamer: unrecognized arguments: --nonsense; see streamer run --help"),
        (["run", "--nonsense", "0"], 2, "unrecognized arguments: --nonsense"),
        (["rnu", "0"], 2, "streamer: 'rnu' is no command; did you mean run?"),
        (["run", "--pace"], 2, "--pace: expected one argument"),
        (["run", "--help"], 0, ""),
    ],
)
def test_wrong_usage_is_said_before_anything_is_installed(
    checkout: Checkout, words: list[str], code: int, line: str
) -> None:
    (checkout.folder / "streamer").symlink_to(ROOT / "streamer")
    done = checkout.start(*words)
    assert done.returncode == code
    assert line in done.stderr
    assert ("usage: " in done.stdout) is (code == 0)
    assert not checkout.installs
    assert not (checkout.folder / ".venv").exists()


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_help_needs_no_set_up(words: list[str]) -> None:
    command = [sys.executable, "-S", str(ROOT / "run.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "streamer" in done.stdout


def test_where_everything_imports_it_hands_over_at_once(checkout: Checkout) -> None:
    (checkout.folder / "streamer").symlink_to(ROOT / "streamer")
    done = checkout.start("check", str(ROOT / "configs" / "demo.yaml"), bare=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok, 1 camera (demo)" in done.stdout


def test_an_old_python_is_one_line() -> None:
    code = f"import runpy, sys; sys.version_info = (3, 10, 4); runpy.run_path({str(ROOT / 'run.py')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("streamer: needs Python 3.11 or newer; this is ")
    assert len(done.stderr.splitlines()) == 1


def test_run_py_looks_for_all_that_pyproject_names() -> None:
    run_py = runpy.run_path(str(ROOT / "run.py"))
    owners = packages_distributions()
    looked_for = {
        kind: {_name(owner) for module in run_py[kind] for owner in owners.get(module, [module])}
        for kind in ("MODULES", "TEST_MODULES")
    }
    extras = PROJECT["optional-dependencies"]
    assert looked_for["MODULES"] == {_name(line) for line in PROJECT["dependencies"]}
    # protobuf is part of a namespace package, which cannot be looked for where no part of it is installed
    testing = {_name(line) for line in extras["test"] + extras["openvino"]} - {"protobuf"}
    assert looked_for["TEST_MODULES"] == testing


def test_the_constraints_pin_every_dependency_within_its_range() -> None:
    from streamer.system.installed_packages import in_range

    text = (ROOT / "configs" / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    pins = dict(line.lower().split("==") for line in lines)
    assert pins["torch"] == "2.13.0"
    wanted = PROJECT["dependencies"] + [
        line for extra, lines in PROJECT["optional-dependencies"].items() if extra != "all" for line in lines
    ]
    for line in wanted:
        specifier = line.lower().replace(_name(line), "", 1)
        assert in_range(pins[_name(line)], specifier), line


def _name(line: str) -> str:
    bare = line.lower().split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip()
    return bare.replace("_", "-")  # either is the same distribution
