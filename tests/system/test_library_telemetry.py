"""Nothing that streamer does with OpenVINO is reported to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from streamer.system import library_telemetry

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed"),
    pytest.mark.skipif(sys.platform == "win32", reason="is reported by a forked process elsewhere"),
]

WATCHED = """
import os, sys
def told(event, _):
    if event in ("os.fork", "socket.getaddrinfo", "socket.connect"):
        os.write(1, event.encode() + b"\\n")
        raise RuntimeError("nothing is sent")
sys.addaudithook(told)
"""
OPENVINO_ALONE = "import openvino"
CONVERTED = """
import torch
from streamer.recognition.engines import openvino
openvino._convert(torch.nn.Linear(3, 2).eval(), (torch.zeros(1, 3),))
import nncf, openvino
"""
LOOKED_AT = "from streamer.system.installed_packages import import_error; assert not import_error('openvino')"


def reported(code: str, home: Path) -> str:
    """What a program does that reports, in the home folder of somebody who was never asked."""
    environment = {name: os.environ[name] for name in os.environ.keys() - {"CI", "TF_BUILD", "JENKINS_URL"}}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED + code],
        env=environment | {"HOME": str(home)}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_openvino_by_itself_reports(tmp_path: Path) -> None:
    """Else there is nothing to switch off, and the next test can't fail."""
    assert "os.fork" in reported(OPENVINO_ALONE, tmp_path)


@pytest.mark.parametrize("code", [CONVERTED, LOOKED_AT], ids=["converted", "looked at"])
def test_inside_streamer_it_does_not(tmp_path: Path, code: str) -> None:
    assert reported(code, tmp_path) == ""
    assert not list(tmp_path.rglob("openvino*")), "and keeps no number for this user"


def test_a_program_that_has_imported_the_reporter_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = object()
    monkeypatch.setitem(sys.modules, library_telemetry.REPORTER, theirs)  # type: ignore[arg-type]
    library_telemetry.switch_off()
    assert sys.modules[library_telemetry.REPORTER] is theirs
