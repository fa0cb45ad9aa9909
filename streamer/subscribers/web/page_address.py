"""Where the page is served and who may read it: what is refused before anything listens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from streamer.bus import endpoints
from streamer.errors import ConfigError
from streamer.system.addresses import bracketed, is_loopback, split_host_port
from streamer.system.private_files import read_private
from streamer.system.redaction import remember

DEFAULT_BIND = "127.0.0.1:8080"
SHORTEST_TOKEN = 16  # characters
_LONE_TOKEN = re.compile(r"[\x21-\x7e]+")


def parse_bind(text: str, option: str = "--bind") -> tuple[str, int]:
    """Host (IPv6 in brackets) and port of `HOST:PORT`, or of a port alone. Raises ConfigError."""
    try:
        host, number = split_host_port(text)
    except ValueError:
        raise ConfigError(
            f"{option} {text}: write HOST:PORT, such as {DEFAULT_BIND} (port 0 takes a free one)"
        ) from None
    return bracketed(host), number


def check_exposure(
    host: str, port: int, token: str | None, endpoint: str, *, beside_run: bool = False
) -> None:
    """Raises ConfigError where everybody on the network could read the page."""
    if token is None and not is_loopback(host):
        where = "" if endpoint == endpoints.DEFAULT else f" {endpoint}"
        again = f"streamer web{where} --bind {host}:{port} --token-file web.token"
        if beside_run:
            again = f"streamer run ... --web {host}:{port} --set web.token_file=web.token"
        raise ConfigError(
            f"{'--web' if beside_run else '--bind'} {host}:{port} would show what happens before your cameras"
            " to everybody on the network;"
            " to allow it with a token:"
            ' (umask 077; python3 -c "import secrets; print(secrets.token_urlsafe())" > web.token);'
            f" {again}"
        )


def read_token(file: str | None, variable: str | None, environment: Mapping[str, str]) -> str | None:
    """The token, or None where none is wanted. Raises ConfigError; no message has the token in it."""
    if file is not None and variable is not None:
        raise ConfigError("--token-file and --token-env: give one of them")
    if variable is not None:
        if variable not in environment:
            raise ConfigError(f"--token-env {variable}: the environment has no such variable")
        return _checked(environment[variable].strip(), f"--token-env {variable}")
    if file is None:
        return None
    path = Path(file).expanduser()
    return _checked(read_private(path, "--token-file", ConfigError).strip(), f"--token-file {path}")


def _checked(token: str, where: str) -> str:
    if len(token) < SHORTEST_TOKEN or _LONE_TOKEN.fullmatch(token) is None:
        raise ConfigError(
            f"{where}: a token is one line of at least {SHORTEST_TOKEN} letters, digits and signs; make one:"
            ' python3 -c "import secrets; print(secrets.token_urlsafe())"'
        )
    remember(token)
    return token
