"""Cameras that are somebody else's computer: picture bombs, certificates, redirects, odd answers."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from streamer.capture import open_source
from streamer.capture.address import parse
from streamer.capture.authentication import authorization, choose, parse_challenges
from streamer.capture.failure_reason import find_reason
from streamer.capture.network_rules import joined, moved
from streamer.config import CameraConfig, CaptureConfig
from streamer.errors import SourceOpenError
from tests.helpers.certificates import make_certificate
from tests.helpers.servers.odd_http import OddHttp, jpeg, mjpeg, playlist, redirect

QUICK = CaptureConfig(open_timeout=3.0, read_timeout=1.0)
SECRET = "hunter2-of-the-door"


def config(url: str, **more: object) -> CameraConfig:
    return CameraConfig.model_validate({"name": "c", "source": url, **more})


def refused(url: str, capture: CaptureConfig = QUICK, **more: object) -> SourceOpenError:
    with pytest.raises(SourceOpenError) as caught:
        open_source(config(url, **more), capture).release()
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    return caught.value


# -- the size of pictures --------------------------------------------------------------------------------


def test_a_picture_that_is_declared_too_large_is_refused_when_it_is_opened() -> None:
    with OddHttp(mjpeg(jpeg(640, 480))) as camera:
        error = refused(camera.url, CaptureConfig(open_timeout=3.0, max_megapixels=0.3))
        assert error.code == "codec"
        assert "640 x 480" in str(error)
        assert "max_megapixels" in str(error)
        open_source(config(camera.url), QUICK).release()


_BOMB = """
import resource, sys, threading
from streamer.capture import open_source
from streamer.config import CameraConfig, CaptureConfig
from streamer.errors import SourceOpenError
from streamer.capture import opencv
opencv.load()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    source = open_source(CameraConfig(name="c", source=sys.argv[1]), CaptureConfig(read_timeout=1.0))
    taken = 0
    while taken < 30 and source.grab():
        taken += source.retrieve() is not None
    print("taken", taken)
except SourceOpenError as error:
    print("refused", error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.realtime
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured as Linux counts it")
@pytest.mark.parametrize("before", [0, 5], ids=["at once", "within the stream"])
def test_a_picture_bomb_costs_no_memory(before: int) -> None:
    """A JPEG of 15,000 x 15,000 is a few MB; decoded it was 340 MB, and 2.3 GB as OpenCV's picture."""
    with OddHttp(mjpeg(*[jpeg(320, 240)] * before, jpeg(15_000, 15_000))) as camera:
        command = [sys.executable, "-c", _BOMB, camera.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said, grown = done.stdout.strip().rsplit("\n", 1)
    assert int(grown) < 150, f"{said}; {grown} MB"
    assert said.startswith(f"taken {before}" if before else ("refused", "taken 0")), said


# -- certificates ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("camera"))


@pytest.fixture(scope="module")
def renewed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("other"))


def fingerprint(certificate: tuple[Path, Path]) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate[0].read_text())).hexdigest()


def test_a_certificate_that_is_not_trusted_gets_no_password(certificate: tuple[Path, Path]) -> None:
    with OddHttp(mjpeg(jpeg(320, 240)), certificate) as camera:
        error = refused(camera.url, user="me", password=SecretStr(SECRET))
    assert error.code == "permission"
    assert f'tls_verify: "sha256:{fingerprint(certificate)}"' in str(error)
    assert camera.asked == [], "nothing was sent but a handshake"


def test_one_cameras_own_certificate_is_accepted_by_its_fingerprint(
    certificate: tuple[Path, Path], renewed: tuple[Path, Path]
) -> None:
    rule = f"SHA256:{fingerprint(certificate)}"
    with OddHttp(mjpeg(jpeg(320, 240)), certificate) as camera:
        source = open_source(config(camera.url, tls_verify=rule), QUICK)
        assert source.grab()
        source.release()
    with OddHttp(mjpeg(jpeg(320, 240)), renewed) as other:
        error = refused(other.url, user="me", password=SecretStr(SECRET), tls_verify=rule)
        assert "another certificate" in str(error)
        assert other.asked == []
        source = open_source(config(other.url, tls_verify=False), QUICK)
        assert source.grab()
        source.release()


def test_an_authority_of_the_system_is_trusted_and_the_name_counts(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))  # as an authority of this system
    with OddHttp(mjpeg(jpeg(320, 240)), certificate) as camera:
        source = open_source(config(camera.url), QUICK)
        assert source.grab()
        source.release()
        error = refused(camera.url.replace("127.0.0.1", "localhost"))
        assert "not trusted" in str(error), "the certificate is for 127.0.0.1"


@pytest.mark.parametrize("rule", ["maybe", "sha256:", "sha256:12", "md5:" + "a" * 64])
def test_a_rule_that_is_none_is_a_mistake_in_the_config(rule: str) -> None:
    with pytest.raises(ValidationError, match="fingerprint"):
        config("https://h/x", tls_verify=rule)


# -- where a camera sends us ---------------------------------------------------------------------------------


def test_a_redirect_to_the_same_host_is_followed_with_the_password() -> None:
    with OddHttp(mjpeg(jpeg(320, 240))) as real, OddHttp(redirect(real.url)) as camera:
        open_source(config(camera.url, user="me", password=SecretStr(SECRET)), QUICK).release()
        assert real.asked


def test_a_redirect_to_this_machine_is_not_followed() -> None:
    with OddHttp(mjpeg(jpeg(320, 240))) as inside:
        target = inside.url.replace("127.0.0.1", "localhost")
        with OddHttp(redirect(target)) as camera:
            error = refused(camera.url)
    assert "sends us to another address (localhost:" in str(error)
    assert inside.asked == []


def test_a_camera_that_answers_with_a_playlist_reaches_nothing() -> None:
    with OddHttp(mjpeg(jpeg(320, 240))) as inside, OddHttp(playlist(inside.url)) as camera:
        refused(camera.url)
    assert inside.asked == []


@pytest.mark.parametrize(
    ("camera", "target", "follows"),
    [
        ("http://10.0.0.9/v", "http://10.0.0.9:8080/w", True),
        ("http://10.0.0.9/v", "https://10.0.0.9/w", True),
        ("https://10.0.0.9/v", "http://10.0.0.9/w", False),
        ("http://10.0.0.9/v", "http://10.0.0.7/w", True),
        ("http://10.0.0.9/v", "http://127.0.0.1/w", False),
        ("http://10.0.0.9/v", "http://169.254.169.254/w", False),
        ("http://10.0.0.9/v", "http://[::1]/w", False),
        ("http://10.0.0.9/v", "file:///etc/passwd", False),
        ("http://10.0.0.9/v", "rtsp://10.0.0.9/w", False),
        ("http://8.8.8.8/v", "http://9.9.9.9/w", True),
        ("http://8.8.8.8/v", "http://10.0.0.9/w", False),
        ("rtsp://8.8.8.8/v", "http://8.8.8.8/w", False),
    ],
)
def test_where_a_redirect_may_lead(camera: str, target: str, follows: bool) -> None:
    address = parse(config(camera, user="me", password=SecretStr(SECRET)))
    there = moved(address, target)
    assert (there is not None) is follows
    if there is not None and "10.0.0.9" not in target:
        assert SECRET not in str(there.secret_url), "another host gets no password"


def test_the_users_own_options_keep_our_rules() -> None:
    ours = "rtsp_flags;prefer_tcp|max_redirects;0|tls_verify;1"
    assert joined(None, ours) == ours
    assert joined("rtsp_transport;udp", ours) == "rtsp_transport;udp|max_redirects;0|tls_verify;1"
    assert joined("max_redirects;3", "max_redirects;0") == "max_redirects;3"
    assert joined("a;b", None) == "a;b"


# -- answers -------------------------------------------------------------------------------------------------


@pytest.fixture
def answers() -> Iterator[Callable[[bytes], str]]:
    """A server that answers every request with the same bytes; gives its RTSP address."""
    listeners: list[socket.socket] = []

    def serve(listener: socket.socket, answer: bytes) -> None:
        while True:
            try:
                link, _ = listener.accept()
                with link:
                    link.recv(65536)
                    link.sendall(answer)
            except OSError:
                if listener.fileno() < 0:
                    return

    def make(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, answer), daemon=True).start()
        return f"rtsp://127.0.0.1:{listener.getsockname()[1]}/cam"

    yield make
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


HUGE = 48_000
ODD_HEADS = [
    b"RTSP/1.0 401 U\r\nWWW-Authenticate: Digest " + b"a" * HUGE + b"\r\n\r\n",
    b"RTSP/1.0 401 U\r\nWWW-Authenticate: Digest realm=" + b'"' * HUGE + b"\r\n\r\n",
    b"RTSP/1.0 401 U\r\nWWW-Authenticate: Digest " + b"a=" * (HUGE // 2) + b"\r\n\r\n",
    b"RTSP/1.0 302 M\r\nLocation: " + b"rtsp://" * (HUGE // 7) + b"\r\n\r\n",
    b"RTSP/1.0 200 OK\r\nContent-Type: " + b"://a@" * (HUGE // 5) + b"\r\n\r\n",
    b"RTSP/1.0 200 OK\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n",
    b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"RTSP/1.0 200 OK\r\n" + b"a: b\r\n" * 3000 + b"\r\n",
    b"RTSP/1.0 " + b"4" * HUGE + b"\r\n\r\n",
    b"x" * 200_000,
    b"\x00\xff\x1b[2J\x9b\r\n\r\n",
    b"RTSP/1.0 404 \x1b[2J\r\n\r\n",
]


@pytest.mark.parametrize("number", range(len(ODD_HEADS)))
def test_no_answer_holds_the_interpreter(number: int, answers: Callable[[bytes], str]) -> None:
    """48 kB of one header took 10 to 17 s of regular expressions, in which nothing else ran."""
    address = parse(config(answers(ODD_HEADS[number]), user="me", password=SecretStr(SECRET)))
    began = time.thread_time()
    reason = find_reason(address, None, 2.0)
    assert time.thread_time() - began < 0.5
    told = f"{reason.what} {reason.remedy}"
    assert told.isprintable()
    assert len(told) < 500
    assert SECRET not in told


RFC_USER = ("Mufasa", "Circle of Life", "GET", "/dir/index.html")
RFC_NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"


@pytest.mark.parametrize(
    ("algorithm", "wanted"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_digests_are_those_of_rfc_7616(algorithm: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "streamer.capture.authentication.secrets.token_hex",
        lambda _: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    header = 'Digest realm="http-auth@example.org", qop="auth, auth-int", '
    header += f'algorithm={algorithm}, nonce="{RFC_NONCE}"'
    challenge = choose(parse_challenges([header]))
    assert challenge is not None
    assert f'response="{wanted}"' in authorization(challenge, *RFC_USER)


def test_several_challenges_in_one_header_and_in_many() -> None:
    one = 'Basic realm="cam, \\"front\\"", Digest realm="x", nonce="n", algorithm=SHA-256'
    one += ', Digest realm="y", nonce="m"'
    found = parse_challenges([one, "Negotiate", ""])
    assert [challenge.scheme for challenge in found] == ["basic", "digest", "digest", "negotiate"]
    assert found[0].fields == {"realm": 'cam, "front"'}
    assert found[2].fields == {"realm": "y", "nonce": "m"}
    best = choose(found)
    assert best is not None
    assert best.algorithm == "SHA-256"
    assert choose(parse_challenges(["Negotiate", 'Digest algorithm=SHA-512-256, nonce="x"'])) is None


def test_nothing_can_be_put_into_the_answer_by_a_name() -> None:
    challenge = choose(parse_challenges(['Digest realm="r\\"x", nonce="n"']))
    assert challenge is not None
    told = authorization(challenge, 'a"\r\nX: y', "p", "GET", "/")
    assert "\r" not in told
    assert 'username="a\\"X: y"' in told
