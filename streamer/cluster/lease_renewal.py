"""What a worker asks of a front twice a second: to go on, and what it shall watch. One request says all that
the front needs to know: a front that was started anew knows its workers after one round.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct, ValidationError, convert
from msgspec.json import Decoder

from streamer.errors import RequestError

Name: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")]
Word: TypeAlias = Annotated[str, Meta(max_length=200)]
Number: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Positive: TypeAlias = Annotated[float, Meta(gt=0, le=1e9)]


class JournalPlace(Struct, frozen=True):
    """A worker's history, and where it ends."""

    id: Word
    session: Word
    last: Number


class Loaded(Struct, frozen=True):
    """A model that a worker has measured."""

    speed: Positive  # windows a second
    hop: Positive  # seconds between two windows that a camera asks for unless configured


class Renewal(Struct, frozen=True):
    """The fields of `op: renew`."""

    v: Number
    name: Name
    process: Word  # new at each start of the worker
    n: Number  # counts its requests
    endpoint: Word  # where it publishes
    requests: Word
    journal: JournalPlace
    have: dict[str, Number]  # camera -> number of its lease, of those that it watches now
    defined: dict[str, Word]  # camera -> fingerprint of its definition
    common: Word = ""  # fingerprint of what all cameras share
    models: Word = ""  # fingerprint of the models that it knows of
    key: Word = ""  # its server's public key
    capacity: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    loaded: dict[str, Loaded] = {}  # model id -> what was measured
    draining: bool = False
    failed: dict[str, Word] = {}  # camera -> why it cannot be watched there
    failed_as: dict[str, Word] = {}  # and with which fingerprint: another definition may do


Decoder(Renewal)  # worked out while one thread imports this: see the end of streamer/bus/contract.py


def read_renewal(request: dict[str, Any], version: int) -> Renewal:
    """Raises RequestError."""
    if request.get("v") != version:
        raise RequestError(
            "version",
            f"this front speaks version {version} of the cluster's requests, the worker {request.get('v')!r}:"
            " install the same release of streamer on both",
        )
    try:
        return convert({key: value for key, value in request.items() if key not in ("op", "id")}, Renewal)
    except ValidationError as error:
        raise RequestError("bad_request", f"op 'renew': {error}") from None
