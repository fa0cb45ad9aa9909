"""Where the model looked in an event's clip: computed on demand by a short-lived process, one at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import OrderedDict
from pathlib import Path

import streamer
from streamer.recording.event_spans_in_clip import Span
from streamer.system.redaction import redact
from streamer.system.terminal_text import printable

LONGEST = 300.0  # seconds that one may take: loading torch alone takes long on a small machine
MOST_KEPT = 30  # pictures
MODULE = "streamer.recognition.explain_clip"


class AttentionError(Exception):
    """There is none; `busy`: ask again later."""

    def __init__(self, message: str, *, busy: bool = False) -> None:
        super().__init__(message)
        self.busy = busy


class AttentionPictures:
    """`of` blocks, for any thread; `close` ends what is computed."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._made: OrderedDict[tuple[Path, str, str, Span | None], bytes] = OrderedDict()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def of(self, clip: Path, model_id: str, label: str, span: Span | None = None) -> bytes:
        """A JPEG; `span`: where in the clip the event is, None: anywhere. Raises AttentionError."""
        key = clip, model_id, label, span
        if (made := self._made.get(key)) is not None:
            return made
        if not self._one.acquire(blocking=False):
            raise AttentionError("another one is being computed", busy=True)
        try:
            made = self._made[key] = self._computed(*key)
            if len(self._made) > MOST_KEPT:
                self._made.popitem(last=False)
            return made
        finally:
            self._process = None
            self._one.release()

    def _computed(self, clip: Path, model_id: str, label: str, span: Span | None) -> bytes:
        source = str(Path(streamer.__file__).resolve().parents[1])
        paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
        if self._closed:
            raise AttentionError("the page ends")
        words = [str(clip), model_id, label, *map(str, span or ())]
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE, *words],  # -P: no module of this folder
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env,
        )  # fmt: skip
        try:
            data, said = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AttentionError(f"it took longer than {LONGEST:g} s here") from None
        if process.returncode != 0 or not data.startswith(b"\xff\xd8\xff"):
            lines = said.decode("utf-8", "replace").strip().splitlines()
            raise AttentionError(printable(redact(lines[-1])) if lines else "it could not be computed")
        return data

    def close(self) -> None:
        """End what is being computed."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
