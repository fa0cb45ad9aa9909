"""`streamer doctor`: what works on this machine, what does not, and how to mend it.

Each check is a function that yields findings. A check that breaks is itself a finding: whatever a broken
installation raises, the other checks still run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from streamer.errors import SpeechError
from streamer.system.install_extras import allow_installing, command_for, missing
from streamer.system.installed_packages import (
    import_error,
    in_range,
    installed,
    one_line,
    pinned,
    requirements,
)
from streamer.system.terminal_text import printable, printable_json

if TYPE_CHECKING:
    from packaging.requirements import Requirement

State = Literal["ok", "absent", "warn", "fail"]  # absent: not here, and only some commands need it
_PLACES = {"absent": "none", "warn": "warn", "fail": "FAIL", "ok": "ok"}
_LEAST_PYTHON = (3, 11)
_LEAST_FREE_GB = 2.0
_OPENCV = (
    "opencv-python",
    "opencv-contrib-python",
    "opencv-python-headless",
    "opencv-contrib-python-headless",
)
_MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL", "pyzmq": "zmq"}
_OPTIONAL = {  # extra -> what needs it
    "web": "streamer web, run --web",
    "mqtt": "streamer mqtt",
    "metrics": "run --metrics",
    "video": "clips, streamer collect",
    "train": "streamer train",
    "openvino": "--engine openvino, --precision int8",
    "words": "SigLIP",
}
_PIP = f"{sys.executable} -m pip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `mend` says what to do where something is wrong."""

    state: State
    subject: str
    detail: str
    mend: str = ""


Check = Callable[[], Iterable[Finding]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "What works on this machine, what does not, how to mend it. Exit code 1 on a FAIL."
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print every finding as it is made; 0 when streamer can run here, else 1."""
    allow_installing(False)  # it says how, and leaves it to the reader
    worst = 0
    for finding in findings(CHECKS):
        worst |= finding.state == "fail"
        if args.json:
            print(printable_json(json.dumps(asdict(finding), ensure_ascii=False)), flush=True)
        else:
            mend = f"; {finding.mend}" if finding.mend else ""
            line = f"{_PLACES[finding.state]:<5} {finding.subject}: {finding.detail}{mend}"
            print(printable(line), flush=True)
    return worst


def findings(checks: Iterable[Check]) -> Iterator[Finding]:
    """What each check found, in order; a check that raises is a failure of its own."""
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # noqa: BLE001 - the report's edge: a broken package raises anything
            yield Finding("fail", check.__name__.strip("_"), one_line(error), _install(requirements()))


def python() -> Iterator[Finding]:
    version, at = platform.python_version(), sys.executable
    if sys.version_info < _LEAST_PYTHON:
        yield Finding("fail", "Python", f"{version} ({at})", "streamer needs 3.11 or newer")
    else:
        yield Finding("ok", "Python", f"{version} on {platform.system()} {platform.machine()} ({at})")


def packages() -> Iterator[Finding]:
    """Every dependency of pyproject.toml: there, in its range, and it imports."""
    for requirement in requirements():
        name, specifier = requirement.name, str(requirement.specifier)
        mend = _install([requirement])
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            if not (name == "opencv-python-headless" and installed(_OPENCV)):
                yield Finding("fail", name, "is not installed", mend)
                continue
            name = installed(_OPENCV)[0]
            version = metadata.version(name)
        if not in_range(version, specifier):
            yield Finding("fail", name, f"{version} is not in the range {specifier}", mend)
            continue
        error = import_error(_MODULES.get(name, "cv2" if name in _OPENCV else name))
        if error is None:
            yield Finding("ok", name, version)
        else:
            mend = _mend_opencv(name, error) or f"{mend} --force-reinstall --no-deps"
            yield Finding("fail", name, f"{version} does not import: {error}", mend)
    yield from _extras()


def _extras() -> Iterator[Finding]:
    """What only some commands need."""
    for extra, use in _OPTIONAL.items():
        names = [one.name for one in requirements(extra)]
        here = [f"{name} {metadata.version(name)}" for name in names if installed((name,))]
        if missing(extra):
            gone = ", ".join(name for name in names if not installed((name,))) or "what it imports"
            yield Finding("absent", f"extra {extra}", f"{gone} for {use}", command_for(extra))
        else:
            yield Finding("ok", f"extra {extra}", ", ".join(here))


def conflicts() -> Iterator[Finding]:
    """Packages that break others by being there."""
    both = installed(_OPENCV)
    if len(both) > 1:
        yield Finding(
            "warn",
            "OpenCV",
            f"{' and '.join(both)} are installed over each other",
            _one_opencv(both),
        )
    if installed(("torchvision",)) and (error := import_error("torchvision")) is not None:
        yield Finding("fail", "torchvision", f"does not import: {error}", f"{_PIP} uninstall torchvision")


def torch_devices() -> Iterator[Finding]:
    if import_error("torch") is not None:
        return  # said above
    import torch

    from streamer.recognition.device import has_bf16
    from streamer.system.threads import available_cores

    cpu = "bf16 in hardware" if has_bf16(torch.device("cpu")) else "no bf16 in hardware: fp32 is used"
    level = torch.backends.cpu.get_cpu_capability()
    yield Finding("ok", "CPU", f"{available_cores()} cores for streamer, {level}, {cpu}")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            there = torch.cuda.get_device_properties(index)
            yield Finding("ok", "CUDA", f"{there.name}, {there.total_memory / 2**30:.0f} GiB")
    elif torch.version.cuda is not None and Path("/proc/driver/nvidia").exists():
        yield Finding("warn", "CUDA", "a driver is there but torch finds no GPU", "update the driver")
    if torch.backends.mps.is_available():
        yield Finding("ok", "MPS", "Apple GPU")


def video() -> Iterator[Finding]:
    """Decodes the first frame of the bundled clip."""
    from streamer.capture import opencv
    from streamer.demo.assets import clip_path

    cv2 = opencv.load()
    capture = cv2.VideoCapture(str(clip_path()), cv2.CAP_FFMPEG)
    try:
        read, frame = capture.read()
    finally:
        capture.release()
    if not read:
        yield Finding(
            "fail", "FFmpeg", "the bundled clip (H.264) cannot be decoded", _one_opencv(installed(_OPENCV))
        )
        return
    height, width = frame.shape[:2]
    yield Finding("ok", "FFmpeg", f"decodes H.264 (the bundled clip, {width}x{height})")


def cameras() -> Iterator[Finding]:
    from streamer.capture import list_devices

    devices = list_devices()
    for device in devices:
        detail = f"{device.name} ({device.path}); streamer run {device.index}"
        if device.path.startswith("/dev/") and not os.access(device.path, os.R_OK | os.W_OK):
            mend = "sudo usermod -aG video $USER, then log in again"
            yield Finding("warn", f"webcam {device.index}", f"{device.name}: no permission", mend)
        else:
            yield Finding("ok", f"webcam {device.index}", detail)
    if not devices:
        detail = "none found (files, network cameras and the demo need none)"
        yield Finding("absent", "webcam", detail, "for cameras in the network: streamer add")


def zeromq() -> Iterator[Finding]:
    if import_error("zmq") is not None:
        return  # said above
    import zmq

    curve = zmq.has("curve")
    detail = f"libzmq {zmq.zmq_version()}, {'CURVE' if curve else 'no CURVE'}, "
    detail += "ipc" if zmq.has("ipc") else "no ipc"
    mend = "" if curve else f"encryption needs pyzmq's own wheel: {_PIP} install --force-reinstall pyzmq"
    yield Finding("ok" if curve else "warn", "ZeroMQ", detail, mend)
    context = zmq.Context()
    try:
        socket = context.socket(zmq.PUB)
        socket.setsockopt(zmq.LINGER, 0)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        socket.close()
        yield Finding("ok", "bus", f"a socket can be bound on 127.0.0.1 ({port})")
    except zmq.ZMQError as error:
        yield Finding(
            "fail", "bus", f"no socket can be bound on 127.0.0.1: {one_line(error)}", "see the firewall"
        )
    finally:
        context.destroy(linger=0)


def terminal() -> Iterator[Finding]:
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if not sys.stdout.isatty():
        yield Finding("ok", "terminal", "standard output is not a terminal: --ui auto gives plain text")
    elif encoding != "utf8":
        mend = "set PYTHONUTF8=1, or use a UTF-8 locale"
        yield Finding("warn", "terminal", f"{sys.stdout.encoding} cannot show every name", mend)
    else:
        size = shutil.get_terminal_size()
        colours = os.environ.get("COLORTERM") or os.environ.get("TERM", "?")
        yield Finding("ok", "terminal", f"{size.columns}x{size.lines}, UTF-8, colours: {colours}")


def speech() -> Iterator[Finding]:
    from streamer.subscribers.narration.settings import Settings
    from streamer.subscribers.speech.voices import choose

    try:
        yield Finding("ok", "speech", f"streamer speak uses {choose(Settings.model_validate({})).name}")
    except SpeechError as error:
        what, _, mend = str(error).partition(": ")
        yield Finding("absent", "speech", f"no voice for streamer speak: {what}", mend)


def models() -> Iterator[Finding]:
    from streamer.demo.assets import checkpoint_path
    from streamer.recognition.checkpoints.registry import cached, known, known_detectors

    if not (checkpoint_path() / "model.safetensors").is_file():
        yield Finding(
            "fail", "demo model", f"{checkpoint_path()} is incomplete", "get the whole of streamer again"
        )
    else:
        yield Finding("ok", "demo model", "bundled")
    here = [model.id for model in (*known(), *known_detectors()) if cached(model.id)]
    if here:
        yield Finding("ok", "models", ", ".join(here))
    else:
        get = f"streamer models get {known()[0].id}"
        yield Finding("absent", "models", "none of the published ones (the demo needs none)", get)


def disk() -> Iterator[Finding]:
    """Where models go and where the history is kept: room, and may it be written."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    for subject, folder in (("model cache", cache), ("temporary files", Path(tempfile.gettempdir()))):
        there = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
        free = shutil.disk_usage(there).free / 1e9
        if not os.access(there, os.W_OK):
            yield Finding("warn", subject, f"{folder} cannot be written", "set HF_HOME to a folder of yours")
        elif free < _LEAST_FREE_GB:
            yield Finding("warn", subject, f"{free:.1f} GB free at {folder}", "models need 0.5 to 4 GB each")
        else:
            yield Finding("ok", subject, f"{free:.0f} GB free at {folder}")


CHECKS: tuple[Check, ...] = (
    python, packages, conflicts, torch_devices, video, cameras, zeromq, terminal, speech, models, disk,
)  # fmt: skip


def _install(wanted: Sequence[Requirement]) -> str:
    """The command that installs the tested versions here."""
    return shlex.join([sys.executable, "-m", "pip", "install", *pinned(wanted)])


def _one_opencv(there: Sequence[str]) -> str:
    wanted = [one for one in requirements() if one.name == "opencv-python-headless"]
    return f"{_PIP} uninstall {' '.join(there)}, then {_install(wanted)}"


def _mend_opencv(name: str, error: str) -> str:
    needs_a_screen = any(library in error for library in ("libGL", "libxcb", "libgthread"))
    return _one_opencv([name]) if name in _OPENCV and needs_a_screen else ""
