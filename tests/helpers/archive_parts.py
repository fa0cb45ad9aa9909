"""Parts that tests of the archive share: short recordings of the demo's clip, the command, its results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from streamer.demo.assets import clip_path
from tests.helpers import warm_processes
from tests.helpers.media import write_clip

STREAMER = [sys.executable, "-m", "streamer"]
COMMAND = [*STREAMER, "archive"]
LONGEST = 100.0  # seconds that a command may take on a busy machine


def recordings(folder: Path, count: int, seconds: float = 3.0, name: str = "clip") -> list[Path]:
    """Stretches of the demo's clip that begin at different places."""
    import av

    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with av.open(str(clip_path())) as clip:
        rate = round(float(clip.streams.video[0].average_rate or 25))
        frames = (frame.to_ndarray(format="bgr24") for frame in clip.decode(video=0))
        for number in range(count):
            images = list(islice(frames, int(seconds * rate)))
            made.append(write_clip(folder / f"{name}{number}.mp4", images, rate))
    return made


def archive(
    *words: str | Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return warm_processes.run(
        [*COMMAND, *words],
        inside=True,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def players(command: int) -> list[psutil.Process]:
    """The processes that play for a command: those that read its orders, whoever they were forked by."""
    pipes = set(_open_files(command))
    try:
        process = psutil.Process(command)
        parent = process.parent()
        near = [*process.children(), *(parent.children() if parent is not None else ())]
    except psutil.NoSuchProcess:  # it has ended
        return []
    return [one for one in near if one.pid != command and pipes.intersection(_open_files(one.pid, "0"))]


def _open_files(process: int, *numbers: str) -> list[str]:
    """What of its descriptors (all, if none is named) are pipes; nothing when it has ended."""
    found = []
    with suppress(OSError):
        for number in numbers or os.listdir(f"/proc/{process}/fd"):
            found.append(os.readlink(f"/proc/{process}/fd/{number}"))
    return [file for file in found if file.startswith("pipe:")]


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def said(messages: list[dict[str, Any]]) -> list[Any]:
    """What a recording's messages say of it, without what is of the moment in which they were made."""
    told: list[Any] = []
    for message in messages:
        if message["type"] == "prediction":
            window = {key: value for key, value in message["window"].items() if key not in ("start", "end")}
            told.append((window, message["top"], message["stable"], message["model"], message.get("held")))
        elif message["type"] == "event":
            event = message["event"]
            media = {key: value for key, value in event.items() if not key.endswith("_at") or "media" in key}
            del media["id"]
            told.append(media)
    return told
