"""Takes the secrets of URLs out of text before anybody sees it."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s'\"<>]*@")
# Cameras also take the password as a parameter; its name stays, so that the address can still be told.
_PARAMETER = re.compile(
    r"(?i)([?&;](?:[a-z_.-]*(?:pass|pwd|secret|token|auth|key|sig)[a-z_.-]*|user(?:name)?|login|p|u)=)[^&\s'\"<>]*"
)


def redact(text: str) -> str:
    """The text with user, password and secret parameters of every URL in it replaced by `***`."""
    return _PARAMETER.sub(r"\1***", _USERINFO.sub(r"\1***@", text))
