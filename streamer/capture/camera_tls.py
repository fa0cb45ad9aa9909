"""Whether a camera behind https or rtsps is the right one: asked before its password leaves this machine.

FFmpeg, as it is built into OpenCV, verifies a certificate's chain when told to, but not the name in it, and
nothing unless told. So each open begins with a handshake of our own (Python's ssl: chain, dates and name; or
the fingerprint that the user has accepted), and FFmpeg is then told to trust just what that handshake showed.
What remains: between the two connections somebody who can redirect traffic and holds a valid certificate for
another name could step in; with an accepted fingerprint not even that.
"""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import tempfile
import time
from functools import cache
from pathlib import Path

from streamer.system.atomic_files import write_atomically
from streamer.system.terminal_text import printable

PIN = "sha256:"  # before a certificate's fingerprint
TlsRule = bool | str  # verified; not verified; "sha256:" and the fingerprint of the one certificate accepted


class UntrustedError(Exception):
    """A certificate was refused; the text says why and what to do, without the camera's name."""


def trusted_context(host: str, port: int, rule: TlsRule, timeout: float) -> ssl.SSLContext:
    """What to connect to this camera with, its certificate checked now within `timeout` seconds.

    Raises:
        UntrustedError: it is not the certificate that `rule` wants.
        OSError, TimeoutError: it cannot be reached, or does not speak TLS.
    """
    if rule is False:
        return _unverified()
    deadline = time.monotonic() + timeout
    if rule is True:
        context = ssl.create_default_context()
        try:
            _handshake(host, port, context, deadline)
        except ssl.SSLCertVerificationError as error:
            shown = _fingerprint(_handshake(host, port, _unverified(), deadline))
            why = printable(error.verify_message or "it cannot be verified", 100)
            raise UntrustedError(
                f"shows a certificate that is not trusted ({why}); if it is the camera's own, accept it with"
                f' tls_verify: "{PIN}{shown}" after comparing that with the camera\'s own page'
            ) from error
        return context
    wanted = str(rule).lower().removeprefix(PIN).replace(":", "")
    certificate = _handshake(host, port, _unverified(), deadline)
    if _fingerprint(certificate) != wanted:
        raise UntrustedError(
            f"shows another certificate than the one in tls_verify (its fingerprint is"
            f" {PIN}{_fingerprint(certificate)}): was it renewed, or is it another device?"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the one certificate is known; cameras rarely have their name in it
    context.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(certificate))
    try:
        _handshake(host, port, context, deadline)
    except ssl.SSLCertVerificationError as error:
        why = printable(error.verify_message or "it cannot be verified", 100)
        raise UntrustedError(
            f"shows the certificate in tls_verify, which cannot be accepted by itself ({why}); put the"
            " authority that signed it among the system's, or renew it in the camera"
        ) from error
    return context


def authorities_file(context: ssl.SSLContext) -> str | None:
    """A file of the certificates that a context trusts, for FFmpeg; None where it verifies nothing.

    The same content has the same path: opens with equal options need not wait for each other.
    """
    if context.verify_mode is ssl.CERT_NONE:
        return None
    text = "".join(ssl.DER_cert_to_PEM_cert(data) for data in context.get_ca_certs(binary_form=True))
    path = Path(_folder().name) / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.pem"
    if not path.exists():
        write_atomically(path, text, mode=0o600)
    return os.fspath(path)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="streamer-tls-")  # goes with the program


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _fingerprint(certificate: bytes) -> str:
    return hashlib.sha256(certificate).hexdigest()


def _handshake(host: str, port: int, context: ssl.SSLContext, deadline: float) -> bytes:
    """The certificate shown, DER. Nothing is sent but the handshake."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    with (
        socket.create_connection((host, port), timeout=left) as link,
        context.wrap_socket(link, server_hostname=host) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""
