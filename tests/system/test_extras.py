"""Extras install themselves in the checkout's own .venv, by a real pip from a folder of wheels; elsewhere the
command is said. streamer itself is never touched by it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from streamer.errors import ConfigError, ModelError
from streamer.system import install_extras, installed_packages
from streamer.system.file_lock import FileLock
from tests.helpers.extras_parts import without

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]
OURS = {"all", "test", "dev"}  # not for a part of streamer


def test_the_distribution_has_one_name() -> None:
    assert PROJECT["name"] == installed_packages.DISTRIBUTION


def test_each_extra_is_known_with_what_it_is_imported_as() -> None:
    assert set(install_extras.MODULES) == set(OPTIONAL) - OURS
    owners = packages_distributions()
    for extra, modules in install_extras.MODULES.items():
        tops = {module.split(".")[0] for module in modules}
        found = {owner.lower().replace("_", "-") for top in tops for owner in owners.get(top, [top])}
        assert {one.name for one in installed_packages.requirements(extra)} <= found, extra


def test_all_is_every_extra() -> None:
    (line,) = OPTIONAL["all"]
    name, _, inside = line.rstrip("]").partition("[")
    assert (name, set(inside.split(","))) == (installed_packages.DISTRIBUTION, set(OPTIONAL) - OURS)


def test_elsewhere_the_command_for_this_environment_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "starlette", "uvicorn")
    install_extras.allow_installing(True)
    with pytest.raises(ConfigError) as refused:
        install_extras.need("web", "the page")
    pins = [f"{name}=={version}" for name, version in pins_of("starlette", "uvicorn")]
    command = f"{sys.executable} -m pip install {' '.join(pins)}"
    assert str(refused.value) == f"the page needs starlette and uvicorn (extra web): {command}"


def test_the_error_is_the_callers_and_names_the_way_without(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "openvino")
    with pytest.raises(ModelError, match=r"; or do without: --engine torch$"):
        install_extras.need("openvino", "openvino fp32", raising=ModelError, instead="--engine torch")


def test_what_is_there_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_extras, "requirements", None)
    install_extras.need("video", "clips")
    assert install_extras.missing("video") == []


def pins_of(*names: str) -> list[tuple[str, str]]:
    text = (ROOT / "configs" / "constraints.txt").read_text("utf-8")
    return [(name, re.search(rf"^{name}==(.+)$", text, re.M)[1]) for name in names]  # type: ignore[index]


class Checkout:
    """A copy of streamer with a real .venv that lacks shtab, and a folder with a wheel of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wheels = folder, folder / "wheels"
        self.venv = folder / ".venv"
        for name in ("streamer", "configs"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        subprocess.run([sys.executable, "-m", "venv", self.venv], check=True, timeout=100)
        libraries = folder / "libraries"
        libraries.mkdir()
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if not re.match(r"shtab|__editable__|pip|.*\.pth$", entry.name):
                (libraries / entry.name).symlink_to(entry)
        (site,) = self.venv.glob("lib/python*/site-packages")
        (site / "libraries.pth").write_text(f"{libraries}\n{folder}\n")
        self.wheels.mkdir()

    def make_wheel(self) -> None:
        ((name, version),) = pins_of("shtab")
        with zipfile.ZipFile(self.wheels / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("shtab.py", "def complete(parser, shell): return f'a script for {shell}'\n")
            info = f"{name}-{version}.dist-info"
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")

    def start(self, *words: str) -> subprocess.Popen[str]:
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | self.pip
        command = [self.venv / "bin" / "python", "-m", "streamer", *words]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=env, **pipes)

    @property
    def pip(self) -> dict[str, str]:
        return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PIP_CONFIG_FILE": os.devnull}

    def streamer(self, *words: str, python: str | None = None) -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | self.pip
        command = [python or str(self.venv / "bin" / "python"), "-m", "streamer", *words]
        return subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=100
        )  # fmt: skip


@pytest.mark.realtime(about=8)
@pytest.mark.skipif(os.name == "nt", reason="symbolic links")
def test_a_command_installs_what_it_needs_and_continues(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    words = ("--print-completion", "bash")
    forbidden = checkout.streamer(*words, "--no-install")
    assert forbidden.returncode == 2
    assert "pip install shtab==" in forbidden.stderr
    failed = checkout.streamer(*words)
    assert (failed.returncode, failed.stdout) == (2, "")
    log = checkout.venv / "streamer-extras.log"
    assert f"pip's words are in {log}" in failed.stderr.splitlines()[-1]
    assert "ERROR" in log.read_text()
    checkout.make_wheel()
    before = sorted(path.name for path in tmp_path.iterdir())
    first = checkout.streamer(*words)
    assert (first.returncode, first.stdout) == (0, "a script for bash\n")
    (line,) = first.stderr.splitlines()
    assert line == (
        "streamer: --print-completion needs shtab (extra completion): installing the tested versions in"
        f" {checkout.venv}"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "no build/, nothing else"
    assert checkout.streamer(*words).stderr == "", "once"


@pytest.mark.realtime(about=8)
@pytest.mark.skipif(os.name == "nt", reason="symbolic links")
def test_who_comes_second_waits_and_installs_nothing_twice(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    first = FileLock(checkout.venv / "streamer-extras.lock")  # a command that installs
    second = checkout.start("--print-completion", "bash")
    try:
        assert second.stderr is not None
        assert second.stderr.readline() == "streamer: another command is installing; waiting for it\n"
        (site,) = checkout.venv.glob("lib/python*/site-packages")
        (site / "shtab.py").write_text("def complete(parser, shell): return f'a script for {shell}'\n")
    finally:
        first.release()
        out, err = second.communicate(timeout=100)
    assert (second.returncode, out, err) == (0, "a script for bash\n", "")
    assert not (checkout.venv / "streamer-extras.log").exists(), "pip was not run"
