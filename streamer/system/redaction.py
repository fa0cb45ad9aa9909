"""Takes secrets out of text before anybody sees it.

An address that is known to be one is parsed and built again without its secrets (`redact_address`): whatever
signs a password holds, it cannot be shown. Free text, where an address may stand anywhere, loses the secrets
that were told to `remember`, in every spelling in use, and besides what looks like a URL's credentials.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
_SHORTEST = 4  # characters; shorter secrets would take ordinary words apart
_SECRET_NAME = re.compile(r"pass|pwd|psw|secret|token|auth|key|sig|cred", re.IGNORECASE)
_SECRET_NAMES = frozenset({"user", "username", "usr", "login", "p", "u", "pw"})
_USERINFO = re.compile(r"(?i)(?<![a-z0-9])([a-z][a-z0-9+.-]{0,15}:/{1,2})\S{1,500}@")
_PARAMETER = re.compile(r"([?&;])([A-Za-z_.-]{1,40})=[^&\s]{1,500}")

_lock = threading.Lock()
_secrets: set[str] = set()
_known: tuple[str, ...] = ()  # every spelling of every remembered secret, longest first


def remember(*secrets: str | None) -> None:
    """From now on `redact` takes these out of every text. Any thread; None and very short ones are left."""
    global _known
    found = {one for one in secrets if one and len(one) >= _SHORTEST}
    with _lock:
        if not found <= _secrets:
            _secrets.update(found)
            _known = _spelt(_secrets)


def redact(text: str, *secrets: str) -> str:
    """Free text without the remembered secrets, `secrets`, and the credentials of every URL in it."""
    for spelling in _spelt([*_secrets, *secrets]) if secrets else _known:
        if spelling in text:
            text = text.replace(spelling, HIDDEN)
    text = _USERINFO.sub(rf"\1{HIDDEN}@", text) if "@" in text else text
    return _PARAMETER.sub(_without_value, text) if "=" in text else text


def redact_address(address: str) -> str:
    """A text that is an address as a whole, without user, password and secret parameters; others unchanged.

    Nothing between `://` and the last `@` is shown, whatever signs stand there: rather too little of a path
    that has an `@` in it than a part of a password that has a `/`.
    """
    scheme, mark, rest = address.partition("://")
    if not mark:
        login, found, host = address.rpartition("@")
        return f"{HIDDEN}@{redact(host)}" if found and ":" in login else redact(address)
    at = rest.rfind("@")
    head, question, query = rest[at + 1 :].partition("?")
    shown = "".join(_parameter(part) for part in re.split(r"([&;])", query))
    return f"{scheme}{mark}{'' if at < 0 else HIDDEN + '@'}{head}{question}{shown}"


def secret_parameters(address: str) -> tuple[str, ...]:
    """The values of an address's parameters that are secrets, as they stand and decoded."""
    words = without_secret_parameters(address, HIDDEN)[1]
    return tuple(dict.fromkeys(spelling for word in words for spelling in (word, unquote(word))))


def without_secret_parameters(address: str, instead: str) -> tuple[str, tuple[str, ...]]:
    """An address with `instead` for each parameter that is a secret, and what stood there, as it stood."""
    head, question, query = address.partition("?")
    parts = re.split(r"([&;])", query)
    found = []
    for place, part in enumerate(parts):
        name, mark, value = part.partition("=")
        secret = _SECRET_NAME.search(name) or name.lower() in ("pw", "p")
        if mark and secret and value not in ("", instead):
            found.append(value)
            parts[place] = f"{name}={instead}"
    return head + question + "".join(parts), tuple(dict.fromkeys(found))


def _spelt(secrets: Iterable[str]) -> tuple[str, ...]:
    """Every way in which URLs, Python and JSON write `secrets`, longest first."""
    found = set()
    for one in secrets:
        found |= {one, quote(one, safe=""), quote(one), quote_plus(one), repr(one)[1:-1]}
        found |= {json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1]}
    return tuple(sorted(found - {""}, key=len, reverse=True))


def _is_secret(name: str) -> bool:
    return name.lower() in _SECRET_NAMES or _SECRET_NAME.search(name) is not None


def _parameter(part: str) -> str:
    name, mark, _ = part.partition("=")
    return f"{name}={HIDDEN}" if mark and _is_secret(name) else part


def _without_value(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}={HIDDEN}" if _is_secret(found[2]) else found[0]
