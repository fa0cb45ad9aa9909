"""Camera names as MQTT topics and as ids of Home Assistant: safe, stable, and never two alike."""

from __future__ import annotations

import hashlib
import re

from streamer.errors import ConfigError

LONGEST_ID = 64  # of a camera's part of an id; longer ones are cut and told apart by a digest
LONGEST_LEVEL = 1000  # likewise of a topic; MQTT allows 65,535 bytes in all


def topic_level(name: str) -> str:
    """One level of a topic: "%", "/", "+", "#" and what cannot be printed are percent-encoded.

    `urllib.parse.unquote` turns it back, so two cameras never share a topic. A name of more than a thousand
    characters is cut, and ends in its digest.
    """
    if not name:
        return "%"
    made = "".join(
        c if (c.isprintable() and c not in "%/+#") else "".join(f"%{byte:02X}" for byte in _bytes(c))
        for c in name[:LONGEST_LEVEL]
    )
    return made if len(name) <= LONGEST_LEVEL else f"{made}-{_digest(name)}"


def identifier(name: str) -> str:
    """Letters, digits and "-" stay, each other byte becomes "_xx": what Home Assistant allows in ids.

    Never holds "__" and never ends in "_", so parts joined by "__" stay apart.
    """
    made = "".join(
        c if re.fullmatch(r"[A-Za-z0-9-]", c) else "".join(f"_{byte:02x}" for byte in _bytes(c)) for c in name
    )
    if len(made) > LONGEST_ID:
        made = f"{made[: LONGEST_ID - 17].rstrip('_')}-{_digest(made)}"
    return made or "_empty"  # no name gives that: "em" is no byte


def check_prefix(option: str, prefix: str) -> str:
    """A topic prefix as it may be published to. Raises ConfigError."""
    levels = prefix.split("/")
    if not all(levels) or prefix.startswith("$") or any(c in "+#" or not c.isprintable() for c in prefix):
        raise ConfigError(
            f"{option} {prefix!r}: write levels such as home/streamer, without + and #, not beginning with $"
            " and with no / at either end"
        )
    return prefix


def _digest(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()[:16]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
