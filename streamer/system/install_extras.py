"""What optional parts of streamer need: found, installed into the checkout's .venv, or said how to install.

Into .venv go the extra's own requirements, by name and tested version: streamer itself is no argument of that
pip, so its editable install stays as it is and nothing is built in the checkout.
"""

from __future__ import annotations

import importlib
import logging
import shlex
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

from streamer.errors import BusError, ConfigError, StreamerError
from streamer.system.file_lock import FileLock
from streamer.system.installed_packages import CHECKOUT, constraints_file, one_line, pinned, requirements
from streamer.system.redaction import redact

log = logging.getLogger(__name__)

# what the distributions of each extra of pyproject.toml are imported as
MODULES: dict[str, tuple[str, ...]] = {
    "video": ("av",),
    "train": ("accelerate", "av"),
    "openvino": ("openvino", "nncf"),
    "demo": ("av", "skimage"),
    "words": ("sentencepiece", "google.protobuf"),
    "speak": ("pyttsx3",),
    "web": ("starlette", "uvicorn"),
    "mqtt": ("paho.mqtt",),
    "cluster": ("ray",),
    "alert": ("apprise",),
    "completion": ("shtab",),
    "metrics": ("prometheus_client",),
}
_LOG = "streamer-extras.log"  # what pip said, in .venv
_LOCK = "streamer-extras.lock"  # held by who installs there

_allowed = False  # a library installs nothing by itself; the command line does


def allow_installing(allowed: bool) -> None:
    """Whether `need` may install. The command line's, said once at its start."""
    global _allowed
    _allowed = allowed


def need(extra: str, what: str, *, raising: type[StreamerError] = ConfigError, instead: str = "") -> None:
    """See that the modules of `extra` can be imported, and install them where that is allowed.

    Args:
        extra: of pyproject.toml.
        what: the subject of the sentence about it, such as "the page".
        raising: the error where they are missing all the same, in one line with the command.
        instead: the option that does without them.
    """
    if not missing(extra):
        return
    names = [requirement.name for requirement in requirements(extra)]
    told = f"{what} needs {_listed(names)} (extra {extra})"
    folder = own_environment() if _allowed else None
    if folder is None:
        without = f"; or do without: {instead}" if instead else ""
        raise raising(f"{told}: {command_for(extra)}{without}")
    try:
        lock = _turn(folder)
    except OSError as error:
        raise raising(
            f"{told}, which cannot be installed here ({one_line(error)}): {command_for(extra)}"
        ) from error
    try:
        importlib.invalidate_caches()
        if missing(extra):  # another command may have installed it meanwhile
            _say(f"{told}: installing the tested versions in {folder}")
            _install(extra, told, folder, raising)
    finally:
        lock.release()
    if gone := missing(extra):
        raise raising(f"{told}: installed, but {_listed(gone)} cannot be imported; see {folder / _LOG}")


def missing(extra: str) -> list[str]:
    """The modules of an extra that are not there."""
    return [module for module in MODULES[extra] if not _is_there(module)]


def command_for(*extras: str) -> str:
    """What a person types to install the tested versions of these extras into this environment."""
    wanted = [one for extra in extras for one in pinned(requirements(extra))]
    return shlex.join([sys.executable, "-m", "pip", "install", *dict.fromkeys(wanted)])


def own_environment() -> Path | None:
    """The checkout's .venv where this program runs in it, else None."""
    folder = CHECKOUT / ".venv"
    ours = (CHECKOUT / "pyproject.toml").is_file() and not folder.is_symlink()
    return folder if ours and Path(sys.prefix).resolve() == folder.resolve() else None


def _turn(folder: Path) -> FileLock:
    """Two pips at once would spoil the environment: the later one waits. Raises OSError."""
    try:
        return FileLock(folder / _LOCK)
    except BusError:
        _say("another command is installing; waiting for it")
        return FileLock(folder / _LOCK, wait=True)


def _install(extra: str, told: str, folder: Path, raising: type[StreamerError]) -> None:
    # -P: a file in this folder that is called like a module is none of pip's
    pip = [sys.executable, "-P", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    if (constraints := constraints_file()) is not None:
        pip += ["-c", str(constraints)]
    try:
        done = subprocess.run(
            [*pip, *pinned(requirements(extra))],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        (folder / _LOG).write_text(redact(done.stdout), encoding="utf-8")
    except OSError as error:
        raise raising(f"{told}, which could not be installed: {one_line(error)}") from error
    if done.returncode != 0:
        raise raising(
            f"{told}, which could not be installed; is the network there? pip's words are in {folder / _LOG};"
            f" by hand: {command_for(extra)}"
        )
    importlib.invalidate_caches()


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # the package around it; or marked as absent
        return False


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _say(text: str) -> None:
    if threading.current_thread() is threading.main_thread():
        print(f"streamer: {text}", file=sys.stderr, flush=True)
    else:  # a screen may be up by now; it holds back what is logged
        log.warning("%s", text)
