"""HOST:PORT as people write it, and whether only this machine can reach a host."""

from __future__ import annotations

import ipaddress
import re

_HOST = r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45}(?:%\w{1,32})?)\]|(?P<host>[^\s:/@*\[\]]{1,253}))"
_HOST_PORT = re.compile(rf"(?:{_HOST}?:)?(?P<port>\d{{1,5}})", re.ASCII)
_HOST_ALONE = re.compile(_HOST, re.ASCII)


def split_host_port(
    text: str, *, default_host: str = "127.0.0.1", default_port: int | None = None
) -> tuple[str, int]:
    """(host without brackets, port) of HOST:PORT, [IPv6]:PORT or :PORT.

    Args:
        default_port: given: HOST alone is meant too; None: PORT alone is.

    Raises:
        ValueError: it is none of these, or the port is above 65535.
    """
    bare = text.strip()
    found = None if ":" not in bare and default_port is not None else _HOST_PORT.fullmatch(bare)
    if found is not None and int(found["port"]) <= 65535:
        return found["six"] or found["host"] or default_host, int(found["port"])
    alone = _HOST_ALONE.fullmatch(bare) if default_port is not None else None
    if alone is None or default_port is None:
        raise ValueError(f"{text!r} is no HOST:PORT")
    return alone["six"] or alone["host"], default_port


def join_host_port(host: str, port: int) -> str:
    """HOST:PORT, an IPv6 address in brackets."""
    return f"{bracketed(host)}:{port}"


def bracketed(host: str) -> str:
    """A host as it stands in a URL and before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host: `localhost`, 127.0.0.0/8, ::1, with brackets or without.

    A name that is none of these counts as reachable by others: it is not looked up.
    """
    bare = host.strip("[]").partition("%")[0].lower()
    if bare in ("localhost", "localhost."):
        return True
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
