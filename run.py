#!/usr/bin/env python3
"""Starts streamer from a fresh checkout.

    python3 run.py [COMMAND ...]             as `streamer [COMMAND ...]`
    python3 run.py test [PYTEST ARGUMENTS]   runs the tests; --quick: only those that need seconds

Where streamer's dependencies import, it hands over at once. Otherwise it makes .venv beside itself, installs
the tested versions there and starts again inside. Wrong usage is said before that. Standard library only.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - said before anything below can fail on an old Python
    sys.exit(f"streamer: needs Python 3.11 or newer; this is {sys.version.split()[0]} ({sys.executable})")

import hashlib
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
MARKER = VENV / "streamer-setup"  # written last: what is installed, and for which files
CONSTRAINTS = ROOT / "configs" / "constraints.txt"
LOG = VENV / "streamer-setup.log"  # what pip said
# what each distribution of pyproject.toml is imported as
MODULES = ["numpy", "cv2", "torch", "transformers", "safetensors", "PIL", "rich", "zmq", "pydantic"]
MODULES += ["msgspec", "scipy", "httpx2", "ruamel.yaml", "packaging", "platformdirs", "ifaddr"]
TEST_MODULES = [
    "av",
    "skimage",
    "sklearn",
    "pytest",
    "pytest_cov",
    "pytest_timeout",
    "hypothesis",
    "jsonschema",
]
TEST_MODULES += [
    "xdist",
    "shtab",
    "filelock",
    "importlinter",
    "psutil",
    "openvino",
    "nncf",
    "accelerate",
    "sentencepiece",
    "pyttsx3",
    "starlette",
    "uvicorn",
]
TEST_MODULES += ["apprise", "paho", "prometheus_client", "playwright", "axe_playwright_python"]
REASONS = (  # what pip or venv print, and what that means
    ("no space left|not enough space|disk quota", "the disk is full; streamer needs a few GB"),
    ("ensurepip|no module named '?venv|no module named pip", "Python's venv or pip is missing; on Debian and "
     "Ubuntu: sudo apt install python3-venv"),
    ("read-only|permission denied|access is denied", f"{ROOT} cannot be written; use a copy of your own"),
    ("connection|resolve|network|timed out|max retries|no matching distribution|could not find a version",
     "a package could not be had: is the network there, and does PyTorch support this Python?"),
)  # fmt: skip


def main(words: list[str]) -> int:
    testing = words[:1] == ["test"]
    wanted = MODULES + TEST_MODULES if testing else MODULES
    at_home = Path(sys.prefix).resolve() == VENV.resolve()
    if words[:1] in (["--help"], ["-h"], ["--version"]):  # needs nothing installed
        return hand_over(words)
    if not all(map(is_there, wanted)) or (at_home and MARKER.exists()):
        if not is_set_up(testing):
            if not testing and (code := wrong_usage(words)) is not None:
                return code
            set_up(testing)
        if not at_home:
            restart([str(PYTHON), str(ROOT / "run.py"), *words])
    if testing:
        os.chdir(ROOT)
        # some hundred processes import the same files: each is compiled by the first that needs it
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        restart([sys.executable, "-m", "pytest", *pytest_words(words[1:])])
    return hand_over(words)


def wrong_usage(words: list[str]) -> int | None:
    """The exit code where the words can be refused, or answered with help, before anything is installed."""
    sys.path.insert(0, str(ROOT))
    try:
        from streamer.cli.command_line import NOT_ANSWERED, main
    except ImportError:  # the checkout is not whole: the program itself will say so
        return None
    code = main(words, usage_only=True)
    return None if code == NOT_ANSWERED else code


def is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def pytest_words(words: list[str]) -> list[str]:
    """What pytest is told: a whole run is shared out to processes, each test file to one of them.

    `--quick` leaves out what needs real time, a browser, a camera server or a training. Much of a
    run is waiting, so there are more processes than cores: twice as many where tests watch the clock,
    else four times, on Linux, where one more costs little (tests/conftest.py).
    """
    words = list(words)
    if quick := "--quick" in words:
        words.remove("--quick")
        words += ["-m", "not (realtime or browser or rtsp or training or soak)"]
    whole = not any((ROOT / word.split("::")[0]).exists() for word in words if not word.startswith("-"))
    alone = {"-n", "--numprocesses", "-s", "--pdb", "--version", "--collect-only", "--co", "-h", "--help"}
    if (quick or whole) and not any(word.split("=")[0] in alone for word in words):
        cores = os.cpu_count() or 1
        workers = min(16, 4 * cores) if quick and sys.platform == "linux" else min(8, 2 * cores)
        words = ["-n", str(workers), "--dist=loadfile", "--no-loadscope-reorder", *words]
    return words


def hand_over(words: list[str]) -> int:
    sys.path.insert(0, str(ROOT))
    from streamer.cli.command_line import main as streamer

    return streamer(words)


def restart(command: list[str]) -> NoReturn:
    """Become another program; on Windows, where exec would let go of the terminal, wait for it."""
    sys.stdout.flush()
    if os.name != "nt":
        os.execv(command[0], command)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the child
    sys.exit(subprocess.call(command))


def fingerprint() -> str:
    """Changes with what is to be installed, and where."""
    parts = [(ROOT / "pyproject.toml").read_bytes(), CONSTRAINTS.read_bytes(), os.fsencode(ROOT)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_set_up(testing: bool) -> bool:
    try:
        found = MARKER.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return False
    return PYTHON.exists() and found[:1] == [fingerprint()] and (not testing or "test" in found)


def set_up(testing: bool) -> None:
    """Make or mend .venv; a set-up that was interrupted is simply done again.

    Raises SystemExit with one line when it cannot be done.
    """
    what = "streamer and what its tests need" if testing else "streamer"
    if VENV.is_symlink():
        fail(f"{VENV} is left as it is", "it is a link, and another checkout may live in it; remove the link")
    say(f"setting up {what} in {VENV} (once; PyTorch makes it about 1 GB, several on Linux with CUDA)")
    try:
        testing = testing or "test" in (MARKER.read_text(encoding="utf-8") if MARKER.exists() else "")
        MARKER.unlink(missing_ok=True)
    except OSError as error:
        fail("cannot be started", str(error))
    began = time.monotonic()
    pip = [str(PYTHON), "-m", "pip"]
    if not PYTHON.exists() or attempt([*pip, "--version"]) is not None:
        failure = attempt([sys.executable, "-m", "venv", "--clear", str(VENV)])
        if failure is not None:
            fail(f"{VENV} could not be made", failure)
    extras = "[test,openvino]" if testing else ""
    # what is imported is compiled then, and kept; all of torch now would take as long as the rest
    later = [] if sys.dont_write_bytecode else ["--no-compile"]
    options = ["install", "--disable-pip-version-check", *later, "-c", str(CONSTRAINTS)]
    options += ["-e", f"{ROOT}{extras}"]
    failure = install([*pip, *options])
    if failure is not None:
        fail("the packages could not be installed", failure, f"; all that pip said is in {LOG}")
    try:
        MARKER.write_text(fingerprint() + (" test" if testing else "") + "\n", encoding="utf-8")
    except OSError as error:
        fail("could not be finished", str(error))
    say(f"set up in {time.monotonic() - began:.0f} s")


def attempt(command: list[str]) -> str | None:
    """Run a command; None when it succeeded, else what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else f"{done.stdout}\n{done.stderr}"


def install(command: list[str]) -> str | None:
    """Run pip, its words into a file and where it is on one line; None when it succeeded, else its words."""
    began, said, step = time.monotonic(), [], "starting pip"
    try:
        pip = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        lines: queue.Queue[str | None] = queue.Queue()  # None: it said all

        def read() -> None:
            for line in pip.stdout or ():
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        with LOG.open("w", encoding="utf-8", errors="replace") as log:
            while True:
                try:
                    if (heard := lines.get(timeout=1.0)) is None:
                        break
                    line = re.sub("://[^/@ ]*@", "://***@", heard)
                except queue.Empty:
                    line = ""
                said.append(line)
                log.write(line)
                if line.strip().startswith(("Collecting", "Downloading", "Building", "Installing")):
                    step = shortened(line)
                progress(f"{step}, {time.monotonic() - began:.0f} s")
        code = pip.wait()
    except OSError as error:
        return str(error)
    finally:
        progress("")
    return None if code == 0 else "".join(said)


def shortened(line: str) -> str:
    """A line of pip's without what only pip wants to know."""
    if line.startswith("Installing collected packages: "):
        return f"Installing {line.count(',') + 1} packages"
    line = re.sub(r"-[^-\s]+-[^-\s]+-[^-\s]+\.whl(\.metadata)?", "", line.partition(" (from ")[0])
    return line.partition(": ")[0].strip()[:80]


def progress(text: str) -> None:
    """One line that is written over, on a terminal only."""
    if sys.stderr.isatty():
        width = max(20, shutil.get_terminal_size().columns - 1)
        sys.stderr.write(f"\r\x1b[K{f'streamer: {text}'[:width] if text else ''}")
        sys.stderr.flush()


def fail(what: str, said: str, where: str = "") -> NoReturn:
    """One line: what failed, and the reason that can be read in what the tool said."""
    reason = next((text for pattern, text in REASONS if re.search(pattern, said, re.I)), None)
    if reason is None:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        reason = next(
            (line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "?"
        )
    sys.exit(f"streamer: {what}: {re.sub('://[^/@ ]*@', '://***@', reason)}{where}")


def say(text: str) -> None:
    print(f"streamer: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
