"""Signatures of webhooks as in the Standard Webhooks specification 1.0.0 (symmetric, `v1`).

Signed are the id, the time of the attempt and the body, joined by full stops; see
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from streamer.errors import ConfigError

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64  # bytes, by the specification


def parse_secrets(text: str, where: str) -> tuple[bytes, ...]:
    """The keys in `text`: one `whsec_...`, or several with white space between, while a new one takes over.

    Raises ConfigError without showing what was read.
    """
    keys = []
    for word in text.split():
        try:
            key = base64.b64decode(word.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not word.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
            raise ConfigError(
                f"{where}: not a secret; write {PREFIX} and {SHORTEST} to {LONGEST} random bytes in base64,"
                f' as made by: echo "{PREFIX}$(openssl rand -base64 32)"'
            )
        keys.append(key)
    return tuple(keys)


def signature(keys: tuple[bytes, ...], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature for each key. `timestamp`: Unix seconds."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    made = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join("v1," + base64.b64encode(mac).decode("ascii") for mac in made)
