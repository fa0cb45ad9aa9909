"""Which streamer this is: the version, with the commit where it is known."""

from __future__ import annotations

import subprocess
from pathlib import Path

import streamer

_PACKAGE = Path(__file__).resolve().parents[1]
_BAKED = Path(__file__).with_name("commit.txt")  # written by setup.py when a wheel is built from a checkout


def described() -> str:
    """Such as `0.1.0 (1a2b3c4)`; without the commit where neither git nor the build tells it."""
    commit = _baked() or _checked_out()
    return f"{streamer.__version__} ({commit})" if commit else streamer.__version__


def _baked() -> str:
    try:
        return _BAKED.read_text("ascii").strip()
    except OSError:
        return ""


def _checked_out() -> str:
    if not (_PACKAGE.parent / ".git").exists():
        return ""
    try:
        return subprocess.run(
            ["git", "-C", str(_PACKAGE.parent), "rev-parse", "--short", "HEAD"],
            capture_output=True, text=True, check=True, timeout=5,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):  # no git here, or a checkout that it does not trust
        return ""
