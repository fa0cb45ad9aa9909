"""Runs GStreamer's RTSP server (gst_server.py) as a process that can be killed and frozen."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

_PYTHON = "/usr/bin/python3"
_SERVER = Path(__file__).with_name("gst_server.py")
_ASK = "import gi; gi.require_version('GstRtspServer', '1.0')"


def missing() -> str | None:
    """Why the server cannot run here; None if it can."""
    if not os.path.exists(_PYTHON):
        return f"no {_PYTHON}"
    run = subprocess.run([_PYTHON, "-c", _ASK], capture_output=True, timeout=30, check=False)
    if run.returncode:
        return "GStreamer's RTSP server is not installed (python3-gi gir1.2-gst-rtsp-server-1.0)"
    return None


class GstRtsp:
    """`rtsp://127.0.0.1:PORT/cam` from a process of its own. A context manager."""

    def __init__(self, clip: Path, fps: int = 25, *, user: str = "", password: str = "") -> None:
        self.clip = clip
        self.fps = fps
        self.port = 0
        self._access = [user, password] if user else []
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/cam"

    def __enter__(self) -> GstRtsp:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> GstRtsp:
        """Start, on the same port as before if there was one; returns when it listens."""
        command = [_PYTHON, str(_SERVER), str(self.clip), str(self.fps), str(self.port), *self._access]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={"PATH": os.environ["PATH"]},
        )
        self._process = process
        assert process.stdout is not None
        line = process.stdout.readline().split()
        if line[:1] != ["READY"]:
            self.kill()
            raise RuntimeError(f"the RTSP server did not start: {line}")
        self.port = int(line[1])
        return self

    def kill(self) -> None:
        """End at once, as by a power cut of the server process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.communicate()

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
