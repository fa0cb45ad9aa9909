"""`streamer doctor`: every finding says what is so and how to mend it; nothing broken stops the others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from streamer.cli import doctor
from streamer.cli.doctor import Finding, findings
from streamer.system.install_extras import command_for
from streamer.system.installed_packages import import_error, in_range, requirements
from tests.helpers.extras_parts import without

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.realtime
def test_the_whole_report_on_this_machine() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamer", "doctor", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    states = {entry["subject"]: entry["state"] for entry in found}
    assert {"Python", "numpy", "torch", "CPU", "FFmpeg", "ZeroMQ", "bus", "terminal", "demo model"} <= set(
        states
    )
    assert [entry for entry in found if entry["state"] == "fail"] == []
    assert done.returncode == 0
    assert all(entry["mend"] for entry in found if entry["state"] != "ok")


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on() -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("ok", "first", "fine")
        raise RuntimeError("libGL.so.1:\ncannot open shared object file")

    def fine() -> Iterator[Finding]:
        yield Finding("ok", "second", "fine")

    first, failed, second = findings([broken, fine])
    assert (first.subject, second.subject) == ("first", "second")
    assert (failed.state, failed.detail) == ("fail", "libGL.so.1: cannot open shared object file")


def test_a_failure_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from streamer.cli import command_line

    monkeypatch.setattr(
        doctor, "CHECKS", (lambda: [Finding("fail", "torch", "is absent", "pip install it")],)
    )
    assert command_line.main(["doctor"]) == 1
    assert capsys.readouterr().out == "FAIL  torch: is absent; pip install it\n"


def test_missing_old_and_broken_packages_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=99", "no-such-thing>=1", "ruamel.yaml>=0.18", "pillow>=10"]
    monkeypatch.setattr(doctor, "requirements", lambda: [Requirement(line) for line in lines])
    monkeypatch.setattr(doctor, "_OPTIONAL", {})
    monkeypatch.setattr(doctor, "import_error", lambda name: "bad ELF" if name == "PIL" else None)
    found = {finding.subject: finding for finding in doctor.packages()}
    assert "is not in the range >=99" in found["numpy"].detail
    assert found["no-such-thing"].detail == "is not installed"
    assert found["ruamel.yaml"].state == "ok"
    assert found["pillow"].detail.endswith("does not import: bad ELF")
    assert found["no-such-thing"].mend == f"{sys.executable} -m pip install 'no-such-thing>=1'"
    assert all("-m pip install " in one.mend for one in found.values() if one.state == "fail")


def test_an_extra_that_is_missing_is_not_called_ok_and_has_its_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "missing", lambda extra: ["paho.mqtt"] if extra == "mqtt" else [])
    found = {finding.subject: finding for finding in doctor._extras()}
    gone = found.pop("extra mqtt")
    assert (gone.state, gone.mend) == ("absent", command_for("mqtt"))
    assert {one.state for one in found.values()} == {"ok"}


def test_two_opencvs_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor, "installed", lambda names: [n for n in names if n.startswith("opencv-python")]
    )
    (found,) = doctor.conflicts()
    assert found.state == "warn"
    assert "opencv-python and opencv-python-headless" in found.detail


def test_import_errors_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_thing.py").write_text("raise OSError('one\\ntwo')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert import_error("broken_thing") == "one two"
    assert import_error("json") is None


@pytest.mark.parametrize(
    ("version", "specifier", "fits"),
    [
        ("2.13.0+cpu", ">=2.5", True), ("2.4", ">=2.5", False), ("2.5", ">=2.5.0", True),
        ("10.0", ">=9", True),
        ("5.0.0.93", ">=4.10", True), ("3.0", ">=2,<3", False), ("2.9rc1", ">=2,<3", True), ("1", "", True),
        ("2026.4.1", ">2026.4.1", False), ("2.0", "<=2", True),
    ],
)  # fmt: skip
def test_version_ranges(version: str, specifier: str, fits: bool) -> None:
    assert in_range(version, specifier) is fits


def test_the_requirements_are_pyprojects_own() -> None:
    names = {one.name: str(one.specifier) for one in requirements()}
    assert names["torch"].startswith(">=")
    assert "pytest" not in names
    assert all(metadata.version(name) for name in names)


def test_the_voice_is_named_or_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.subscribers.speech.voices.sys.platform", "linux")
    monkeypatch.setattr("streamer.subscribers.speech.voices.shutil.which", lambda name: f"/usr/bin/{name}")
    (found,) = doctor.speech()
    assert found.detail == "streamer speak uses espeak-ng"
    monkeypatch.setattr("streamer.subscribers.speech.voices.shutil.which", lambda name: None)
    without(monkeypatch, "pyttsx3")
    (found,) = doctor.speech()
    assert found.state == "absent"
    assert "espeak-ng" in found.detail
    assert "apt install espeak-ng" in found.mend
