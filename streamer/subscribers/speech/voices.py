"""The system's own voices. Each utterance is one child process: it can be ended at any moment, and cannot
take this program with it.

Linux: the program espeak-ng, or spd-say for who uses speech-dispatcher (as Orca does). macOS and Windows:
pyttsx3 (extra `speak`), whose drivers speak through NSSpeechSynthesizer and SAPI5.

Why pyttsx3 is not the first choice on Linux, and why it has a process of its own for each utterance. Tried
with pyttsx3 2.99 and espeak-ng 1.51:
- `stop()` does not stop: `say` plays through `os.system("aplay ...")` inside espeak's callback, and a
  `stop()` after 1 s came back when the 5 s of sound were over; `runAndWait()` had returned after 0.01 s;
- of two `save_to_file` before one `runAndWait` only the second is written, and a later `say` goes silently
  into that file again instead of to the ear;
- an unknown voice, a missing sound card and a missing aplay are no errors;
- it prints "Audio saved to ..." on stdout.
One process for one sentence is not touched by the first two; the rest is checked here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from streamer.errors import SpeechError
from streamer.subscribers.narration.settings import Settings
from streamer.system.atomic_files import replacing
from streamer.system.install_extras import missing, need

LONGEST = 60.0  # seconds that one utterance may take
TRIAL, TRIAL_LONGEST = "streamer", 8.0  # what is said at the start, and the seconds it may take
PART = ".part.wav"  # how the name of a file that is being written ends
_POLL = 0.02  # seconds between two looks at the child
_GRACE = 0.5  # seconds from asking it to end to ending it


class Voice(Protocol):
    """Turns one sentence into a command line."""

    name: str
    writes_files: bool

    def command(self, text: str, file: Path | None) -> tuple[list[str], bytes]:
        """Program and arguments, and what it reads from stdin; `file`: write a WAV instead of sounding."""
        ...

    def failure(self, said: str) -> str | None:
        """What went wrong, by what an ended child wrote on stderr; None: nothing that shows there."""
        ...


class Espeak:
    """The program espeak-ng."""

    name, writes_files = "espeak-ng", True

    def __init__(self, settings: Settings) -> None:
        self._program = _program("espeak-ng", "sudo apt install espeak-ng")
        self._options = ["-v", settings.voice or settings.language, "-s", str(settings.rate)]

    def command(self, text: str, file: Path | None) -> tuple[list[str], bytes]:
        """The text comes through stdin: one that begins with - is no option there."""
        place = [] if file is None else ["-w", str(file)]
        return [self._program, *self._options, "-b", "1", *place, "--stdin"], _unmarked(text).encode()

    def failure(self, said: str) -> str | None:
        """espeak-ng ends with 0 where there is no sound card; what it prints itself begins with "error:".

        The lines of ALSA around it, which come where all is well too, are passed over.
        """
        lines = [line.strip() for line in said.splitlines() if line.lower().startswith("error")]
        if lines and lines[0].startswith("error:"):  # of its sound library; its own begin with "Error:"
            return f"no sound device can be opened ({lines[0][6:].strip()})"
        return lines[0] if lines else None


class SpdSay:
    """The program spd-say: speech-dispatcher, with the user's own settings of it."""

    name, writes_files = "spd-say", False

    def __init__(self, settings: Settings) -> None:
        self._program = _program("spd-say", "sudo apt install speech-dispatcher")
        # -100 .. 100 for 80 .. 450 words a minute, 0 being about 170
        rate = settings.rate - 170
        rate = round(rate / (280 if rate > 0 else 90) * 100)
        self._options = ["-w", "-l", settings.language, "-r", str(rate), "-N", "streamer", "-P", "important"]
        if settings.voice is not None:
            self._options += ["-y", settings.voice]

    def command(self, text: str, file: Path | None) -> tuple[list[str], bytes]:
        """No shell is between, and -- ends the options."""
        return [self._program, *self._options, "--", text], b""

    def failure(self, said: str) -> str | None:
        """It ends with 0 where speech-dispatcher cannot be started."""
        text = " ".join(said.split())
        return text[:300] if "fail" in text.lower() or "error" in text.lower() else None


class Pyttsx:
    """The library pyttsx3, in a process of its own: `pyttsx_child.py`."""

    name, writes_files = "pyttsx3", True

    def __init__(self, settings: Settings) -> None:
        need("speak", "speech", raising=SpeechError)
        self._settings = settings

    def command(self, text: str, file: Path | None) -> tuple[list[str], bytes]:
        """The child reads UTF-8 from stdin."""
        settings = self._settings
        if file is None and sys.platform.startswith("linux"):  # its driver would go on in silence without it
            _program("aplay", "sudo apt install alsa-utils, or --engine espeak-ng")
        child = [sys.executable, "-m", "streamer.subscribers.speech.pyttsx_child", settings.language]
        child += [settings.voice or "", str(settings.rate), "" if file is None else str(file)]
        return child, text.encode()

    def failure(self, said: str) -> str | None:
        """The child's last word; aplay's, where the driver ignores its exit code."""
        lines = [line.strip() for line in said.splitlines() if "aplay:" in line or "not found" in line]
        return lines[-1] if lines else None


_ENGINES: dict[str, Callable[[Settings], Voice]] = {"espeak-ng": Espeak, "spd-say": SpdSay, "pyttsx3": Pyttsx}


def choose(settings: Settings) -> Voice:
    """The voice that is wanted, or the system's first that is there. Raises SpeechError."""
    if settings.engine != "auto":
        return _ENGINES[settings.engine](settings)
    if sys.platform in ("darwin", "win32"):
        return Pyttsx(settings)
    # On Linux pyttsx3 speaks with espeak-ng too: it is not fetched for the want of that.
    order = ("espeak-ng", "spd-say", *(() if missing("speak") else ("pyttsx3",)))
    reasons = []
    for name in order:
        try:
            return _ENGINES[name](settings)
        except SpeechError as error:
            reasons.append(error)
    raise reasons[0]


def check(voice: Voice, *, sound: bool) -> None:
    """Try it: that it has the wanted voice, and with `sound` that it can be heard. Raises SpeechError."""
    never = threading.Event()
    if voice.writes_files:
        with tempfile.TemporaryDirectory(prefix="streamer-speak-") as folder:
            write(voice, TRIAL, Path(folder) / "try.wav", never, TRIAL_LONGEST)
    if sound:
        speak(voice, TRIAL, never, TRIAL_LONGEST)


def speak(voice: Voice, text: str, cancel: threading.Event, longest: float = LONGEST) -> bool:
    """Say a sentence and wait for its end; False where `cancel` broke it off. Raises SpeechError, also
    where it takes more than `longest` seconds.
    """
    return _run(voice, text, None, cancel, longest)


def write(
    voice: Voice, text: str, file: Path, cancel: threading.Event, longest: float = LONGEST
) -> float | None:
    """Write a sentence into a WAV file; its seconds, or None where `cancel` broke it off.

    The file appears whole or not at all. Raises SpeechError.
    """
    if not voice.writes_files:
        raise SpeechError(f"{voice.name} cannot write files; take --engine espeak-ng or pyttsx3")
    try:
        with replacing(file, file.with_name(f".{file.name}{PART}")) as part:
            if not _run(voice, text, part, cancel, longest):
                part.unlink(missing_ok=True)
                return None
            return _seconds(voice, part)
    except OSError as error:
        raise SpeechError(f"{file}: cannot be written: {error.strerror or error}") from error


def _seconds(voice: Voice, file: Path) -> float:
    try:
        with wave.open(str(file), "rb") as sound:
            return sound.getnframes() / sound.getframerate()
    except FileNotFoundError:
        raise SpeechError(f"{voice.name} wrote no sound; is there room, and may it write there?") from None
    except (wave.Error, EOFError) as error:
        if file.read_bytes()[:4] == b"FORM":  # macOS writes AIFF, whatever the name
            return 0.0
        raise SpeechError(f"{voice.name} wrote no sound that can be read: {error}") from error


def _run(voice: Voice, text: str, file: Path | None, cancel: threading.Event, longest: float) -> bool:
    command, given = voice.command(text, file)
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as text_file:
        text_file.write(given)
        text_file.seek(0)
        try:
            child = subprocess.Popen(command, stdin=text_file, stdout=subprocess.DEVNULL, stderr=errors,
                                     start_new_session=os.name == "posix")  # fmt: skip
        except OSError as error:
            raise SpeechError(f"{voice.name} cannot be started: {error.strerror or error}") from error
        try:
            ended = _wait(child, cancel, longest)
        finally:
            _end(child)
        if not ended and cancel.is_set():
            return False
        errors.seek(0)
        said = errors.read(20_000).decode("utf-8", "replace")
    if not ended:
        raise SpeechError(
            f"{voice.name} did not finish a sentence within {longest:g} s; is there a sound device?"
        )
    reason = voice.failure(said)
    if child.returncode != 0 and reason is None:
        reason = next(iter(said.strip().splitlines()[-1:]), f"it ended with {child.returncode}")
    if reason is not None:
        raise SpeechError(f"{voice.name} cannot speak: {reason}")
    return True


def _wait(child: subprocess.Popen[bytes], cancel: threading.Event, longest: float) -> bool:
    deadline = time.monotonic() + longest
    while child.poll() is None:
        if cancel.wait(_POLL) or time.monotonic() > deadline:
            return child.poll() is not None
    return True


def _end(child: subprocess.Popen[bytes]) -> None:
    """End it and what it started (a player)."""
    if child.poll() is not None:
        return
    if os.name == "posix":
        os.killpg(child.pid, 15)
    else:
        child.terminate()
    try:
        child.wait(_GRACE)
    except subprocess.TimeoutExpired:
        if os.name == "posix":
            os.killpg(child.pid, 9)
        else:
            child.kill()
        child.wait(_GRACE)


def _program(name: str, remedy: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SpeechError(f"speech needs the program {name}, which is not on this machine: {remedy}")
    return found


def _unmarked(text: str) -> str:
    """Without [[...]], in which espeak-ng reads sounds instead of words."""
    return text.replace("[[", "[ ").replace("]]", " ]")
