"""HOST:PORT, and what only this machine can reach."""

from __future__ import annotations

import pytest

from streamer.system.addresses import bracketed, is_loopback, split_host_port


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("9464", ("127.0.0.1", 9464)),
        (" [::1]:0 ", ("::1", 0)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
        ("my-host:65535", ("my-host", 65535)),
    ],
)
def test_host_and_port_are_read(text: str, wanted: tuple[str, int]) -> None:
    assert split_host_port(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "x", "x:", "x:-1", "x:65536", "x:1:2", "::1:80", "http://x:1", "u:p@x:1", "a b:1", "x:\u0663",
     "[x]:1", "x" * 254 + ":1"],
)  # fmt: skip
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_host_port(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("broker", ("broker", 1)), ("1883", ("1883", 1)), ("[::1]", ("::1", 1)), ("b:7", ("b", 7))],
)
def test_a_host_alone_where_the_port_is_known(text: str, wanted: tuple[str, int]) -> None:
    assert split_host_port(text, default_port=1) == wanted


@pytest.mark.parametrize("text", ["", "b:", "b:70000", "a/b", "::1"])
def test_a_wrong_host_is_refused_there_too(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_host_port(text, default_port=1)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True), ("LOCALHOST", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
        ("[::1]", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("::", False), ("*", False),
        ("", False), ("10.0.0.1", False), ("localhost.example", False), ("127.0.0.1.example", False),
        ("eth0", False),
    ],
)  # fmt: skip
def test_loopback(host: str, here: bool) -> None:
    assert is_loopback(host) is here
    assert is_loopback(bracketed(host)) is here
