"""One sentence through pyttsx3, as a program: LANGUAGE VOICE RATE FILE, the sentence on stdin."""

from __future__ import annotations

import sys
import threading
from typing import Any

LONGEST = 60.0  # seconds


def main(language: str, voice: str, rate: str, file: str) -> int:
    """Say it, or write it into `file`; the exit code. What went wrong is one line on stderr."""
    try:
        import pyttsx3

        engine = pyttsx3.init()
        engine.setProperty("voice", _voice(engine.getProperty("voices"), language, voice))
        engine.setProperty("rate", int(rate))
        text = sys.stdin.buffer.read().decode("utf-8")
        if file:
            engine.save_to_file(text, file)
        else:
            engine.say(text)
        finished = threading.Event()
        engine.connect("finished-utterance", lambda **_: finished.set())
        engine.runAndWait()
        if sys.platform.startswith("linux"):  # there runAndWait comes back before espeak has finished
            finished.wait(LONGEST)
    except Exception as error:  # noqa: BLE001 - the edge of a program: drivers raise whatever their system does
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _voice(voices: list[Any], language: str, wanted: str) -> str | None:
    """The id of the wanted voice, else of the first in the language; None: the system's own."""
    if wanted:
        for voice in voices:
            short = str(voice.id).replace("\\", "/").rsplit("/", 1)[-1]
            if wanted.lower() in (str(voice.id).lower(), short.lower(), str(voice.name).lower()):
                return str(voice.id)
        raise LookupError(f"there is no voice {wanted!r} here")
    tagged = [(tag, str(voice.id)) for voice in voices for tag in _tags(voice)]
    found = [(len(tag), place) for tag, place in tagged if tag.split("-")[0] == language]
    if found:
        return min(found, key=lambda one: one[0])[1]  # en-gb rather than en-gb-scotland
    if sys.platform not in ("darwin", "win32"):
        raise LookupError(f"there is no voice for language {language!r} here")
    return None


def _tags(voice: Any) -> list[str]:
    given = voice.languages or []
    tags = [tag.decode("utf-8", "ignore") if isinstance(tag, bytes) else str(tag) for tag in given]
    return [tag.strip("\x05").lower().replace("_", "-") for tag in tags]  # espeak's may begin with a number


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
