"""Logging in to a camera with user and password: RFC 7235 challenges, basic and digest (RFC 7616).

What a camera sends is read in one pass, whatever is in it.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MOST = 2000  # characters of a WWW-Authenticate header that are looked at
_TOKEN = frozenset("!#$%&'*+-.^_`|~/0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HASHES: dict[str, Callable[[bytes], Any]] = {
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False),
    "SHA-256": hashlib.sha256,
}


@dataclass(frozen=True)
class Challenge:
    """One way to log in that a camera offers; `scheme` and the names in `fields` in lower case."""

    scheme: str
    fields: dict[str, str]

    @property
    def algorithm(self) -> str:
        """Of a digest, without the session variant."""
        return self.fields.get("algorithm", "MD5").upper().removesuffix("-SESS")


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """The challenges of WWW-Authenticate headers; one header may hold several."""
    found: list[Challenge] = []
    for header in headers:
        text, place = header[:MOST], 0
        while place < len(text):
            word, place = _word(text, place)
            if not word:
                place += 1  # a comma, a space, or nothing that belongs here
                continue
            after = _skip(text, place)
            if text[after : after + 1] == "=" and found:
                value, place = _value(text, _skip(text, after + 1))
                found[-1].fields.setdefault(word.lower(), value)
            else:
                found.append(Challenge(word.lower(), {}))
    return found


def choose(challenges: Sequence[Challenge]) -> Challenge | None:
    """The strongest challenge that can be answered: digest before basic, as RFC 7616 asks."""
    digests = [one for one in challenges if one.scheme == "digest" and one.algorithm in _HASHES]
    basics = [one for one in challenges if one.scheme == "basic"]
    return next(iter(sorted(digests, key=lambda one: one.algorithm != "SHA-256") + basics), None)


def authorization(challenge: Challenge, user: str, password: str, method: str, uri: str) -> str:
    """The Authorization header that answers a challenge of `choose`."""
    if challenge.scheme == "basic":
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    make = _HASHES[challenge.algorithm]

    def digest(*parts: str) -> str:
        return str(make(":".join(parts).encode()).hexdigest())

    fields = challenge.fields
    realm, nonce = fields.get("realm", ""), fields.get("nonce", "")
    client, count = secrets.token_hex(8), "00000001"
    secret = digest(user, realm, password)
    if fields.get("algorithm", "").upper().endswith("-SESS"):
        secret = digest(secret, nonce, client)
    what = digest(method, uri)
    answer = {"username": user, "realm": realm, "nonce": nonce, "uri": uri}
    plain = {"algorithm": fields["algorithm"]} if "algorithm" in fields else {}
    if "auth" in [word.strip().lower() for word in fields.get("qop", "").split(",")]:
        answer |= {"cnonce": client, "response": digest(secret, nonce, count, client, "auth", what)}
        plain |= {"qop": "auth", "nc": count}
    else:
        answer["response"] = digest(secret, nonce, what)
    if "opaque" in fields:
        answer["opaque"] = fields["opaque"]
    quoted = [f'{name}="{_escaped(value)}"' for name, value in answer.items()]
    return "Digest " + ", ".join(quoted + [f"{name}={value}" for name, value in plain.items()])


def _escaped(value: str) -> str:
    return "".join("\\" + c if c in '"\\' else c for c in value if c.isprintable())


def _skip(text: str, place: int) -> int:
    while text[place : place + 1] in (" ", "\t"):
        place += 1
    return place


def _word(text: str, place: int) -> tuple[str, int]:
    begin = place
    while place < len(text) and text[place] in _TOKEN:
        place += 1
    return text[begin:place], place


def _value(text: str, place: int) -> tuple[str, int]:
    if text[place : place + 1] != '"':
        return _word(text, place)
    kept: list[str] = []
    place += 1
    while place < len(text) and text[place] != '"':
        place += text[place] == "\\"
        kept.append(text[place : place + 1])
        place += 1
    return "".join(kept), place + 1
