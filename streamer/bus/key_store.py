"""Makes CURVE key pairs, and keeps the list of clients that may connect."""

from __future__ import annotations

import os
from pathlib import Path

from streamer.bus.encryption import NAME, checked_key, read_key
from streamer.errors import BusError
from streamer.system.private_files import private_folder
from streamer.system.user_folders import config_folder

_FORMAT = """#   streamer: ZeroMQ CURVE {kind} key{advice}
metadata
curve
    public-key = "{public}"
{secret}"""


def default_folder() -> Path:
    """The keys' place where none is given: the user's configuration folder of this system."""
    return config_folder() / "keys"


def new_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Make `name.key` and `name.key_secret` (readable by the owner only); never overwrites. Raises
    BusError.
    """
    import zmq

    if not NAME.fullmatch(name):
        raise BusError(f"{name!r} cannot be a key's name: letters, digits, '.', '_' and '-', 64 at most")
    public, secret = (part.decode() for part in zmq.curve_keypair())
    files = folder / f"{name}.key", folder / f"{name}.key_secret"
    for file in files:
        if file.exists():
            raise BusError(
                f"{file} exists already; choose another name, or remove it if nobody uses it any more"
            )
    hidden = f'    secret-key = "{secret}"\n'
    advice = ": keep it here, show it to nobody"
    _write(files[1], _FORMAT.format(kind="SECRET", advice=advice, public=public, secret=hidden), 0o600)
    _write(files[0], _FORMAT.format(kind="public", advice="", public=public, secret=""), 0o644)
    return files


def allow(folder: Path, key: str, name: str | None) -> Path:
    """Let the client with this public key (a file, or its 40 characters) connect. Raises BusError."""
    path = Path(os.path.expanduser(key))
    if path.is_file():
        public, name = read_key(path).public.decode(), name or path.name.split(".key")[0]
    elif len(key) == 40:
        public = checked_key(key, "the key given").decode()
        if name is None:
            raise BusError("give the key a name: --name NAME")
    else:
        raise BusError(f"{key}: no such file, and not the 40 characters of a public key either")
    if not NAME.fullmatch(name):
        raise BusError(f"{name!r} cannot be a key's name: letters, digits, '.', '_' and '-', 64 at most")
    file = folder / "allowed" / f"{name}.key"
    if file.exists() and read_key(file).public.decode() != public:
        raise BusError(f"{file} allows another key under this name; give another: --name NAME")
    if not file.exists():
        _write(file, _FORMAT.format(kind="public", advice="", public=public, secret=""), 0o644)
    return file


def allowed(folder: Path) -> list[tuple[str, str]]:
    """Name and public key of every client that may connect."""
    found = []
    for path in sorted((folder / "allowed").glob("*.key")):
        try:
            found.append((path.stem, read_key(path).public.decode()))
        except BusError as error:
            found.append((path.stem, f"damaged: {error}"))
    return found


def _write(file: Path, text: str, mode: int) -> None:
    try:
        private_folder(file.parent)
        # made with its final rights, so that it is at no moment open to others
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as out:
            out.write(text)
    except OSError as error:
        raise BusError(f"cannot write {file}: {error.strerror}; choose another folder with --dir") from error
