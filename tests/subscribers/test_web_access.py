"""What the page's server keeps from strangers: other sites, other names, odd requests, wrong tokens."""

from __future__ import annotations

import logging
import re
import socket
from html.parser import HTMLParser
from pathlib import Path

import pytest

from streamer.bus import Publisher
from streamer.subscribers.web import page_address
from streamer.subscribers.web.access_control import OPEN, AccessRules
from streamer.subscribers.web.login import FORGOTTEN, MOST_ADDRESSES, MOST_WRONG, LoginTries
from streamer.testing import FakeClock
from tests.helpers.bus_parts import DEADLINE
from tests.helpers.web_parts import JSON, MARK, NOBODY, TOKEN, bus, listening, live, served

__all__ = ["bus"]  # fixtures


def test_headers_keep_browsers_strict(bus: Publisher) -> None:
    with served(bus.endpoint) as web:
        for path in ("/", "/main.js", "/nothing", "/history", "/healthz", "/mark"):
            _, headers, _ = web.ask(path)
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self';")
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["referrer-policy"] == "same-origin"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "server" not in headers


def test_the_page_needs_nothing_from_elsewhere_and_no_inline_script() -> None:
    found: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    folder = Path(page_address.__file__).parent / "page"
    Reader().feed((folder / "index.html").read_text("utf-8"))
    assert found
    for tag, attrs in found:
        assert not any(name.startswith("on") or name == "style" for name in attrs), (tag, attrs)
        assert tag != "style"
        assert tag != "script" or "src" in attrs
    for file in folder.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|innerHTML|insertAdjacentHTML|\beval\(", text), file


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:{port}", 200), ("127.0.0.1", 200), ("[::1]:{port}", 200), ("LOCALHOST", 200),
     ("evil.example", 421), ("127.0.0.1.evil.example:{port}", 421), ("", 421)],
)  # fmt: skip
def test_other_names_for_this_machine_are_refused(host: str, status: int) -> None:
    with served(NOBODY) as web:
        assert web.ask("/", headers={"Host": host.format(port=web.port)})[0] == status


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),  # no browser
        ({"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({"Origin": "http://evil.example"}, True),
        ({"Origin": "http://127.0.0.1:1"}, True),  # another program on this machine
        ({"Origin": "null"}, True),
        ({"Origin": "http://127.0.0.1.evil.example:{port}"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
    ],
)
def test_corrections_from_other_sites_are_refused(
    bus: Publisher, headers: dict[str, str], refused: bool
) -> None:
    with served(bus.endpoint) as web:
        sent = {name: value.format(port=web.port) for name, value in headers.items()}
        status = web.ask("/mark", "POST", {**JSON, **sent}, MARK)[0]
        assert status == (403 if refused else 501)  # 501: asked, and this publisher keeps none


def test_other_sites_cannot_read_or_embed() -> None:
    with served(NOBODY) as web:
        for path in ("/stream", "/history", "/preview?camera=a", "/main.js", "/recording?kind=clip"):
            for site in ("cross-site", "same-site"):
                assert web.ask(path, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"})[0] == 403
        follow = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert web.ask("/", headers=follow)[0] == 200
        assert web.ask("/", headers={**follow, "Sec-Fetch-Dest": "iframe"})[0] == 403


def raw(port: int, data: bytes) -> bytes:
    """What a server answers to bytes that no library would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as link:
        link.sendall(data)
        answer = b""
        try:
            while part := link.recv(65536):
                answer += part
                if b"\r\n\r\n" in answer:
                    break
        except ConnectionResetError:
            pass
        return answer


def test_large_and_odd_requests_are_refused(bus: Publisher) -> None:
    with served(bus.endpoint) as web:
        assert web.ask("/mark", "POST", JSON, {**MARK, "label": "x" * 5000})[0] == 413
        assert web.ask("/mark", "POST", JSON, {**MARK, "label": "x" * 600})[0] == 400
        head = f"POST /mark HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nContent-Type: application/json\r\n"
        chunks = f"{head}Transfer-Encoding: chunked\r\n\r\n" + f"1000\r\n{'x' * 4096}\r\n" * 2
        assert b" 413 " in raw(web.port, chunks.encode())
        host = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n"
        assert b" 431 " in raw(web.port, f"{host}X: {'x' * 40_000}\r\n\r\n".encode())
        assert b" 400 " in raw(web.port, f"{host}X: {'x' * 200_000}".encode())
        assert web.ask(f"/?{'x' * 20_000}")[0] == 431
        assert b" 400 " in raw(web.port, f"{host}Host: evil.example\r\n\r\n".encode())
        for body in (b"", b"no", b"[]", b"{}", b'{"camera":1,"event":"e"}', b"[" * 3000, b"\xff\xfe"):
            assert web.ask("/mark", "POST", JSON, body)[0] == 400
        assert web.ask("/mark", "POST", {"Content-Type": "text/plain"}, MARK)[0] == 415
        for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
            assert web.ask("/", method)[0] == 405
        assert web.ask("/mark", "GET")[0] == 405
        assert web.ask("/history", "POST")[0] == 405
        assert b" 421 " in raw(web.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert web.ask("/healthz")[0] == 200


PATHS = [
    "/",
    "/main.js",
    "/page.css",
    "/stream",
    "/history",
    "/preview?camera=a",
    "/recording",
    "/recordings",
]


def test_with_a_token_nothing_is_shown_without_it(
    bus: Publisher, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with served(bus.endpoint, token=TOKEN) as web:
        for path in (one for one in PATHS if one not in OPEN):
            assert web.ask(path)[0] == 401
            for wrong in ("", "x", TOKEN[:-1], TOKEN + "x", "é"):
                assert web.ask(path, headers={"Authorization": f"Bearer {wrong}"})[0] in (401, 429)
                assert web.ask(path, headers={"Cookie": f"streamer-{web.port}={wrong}"})[0] == 401
        assert web.ask("/mark", "POST", JSON, MARK)[0] == 401
    with served(bus.endpoint, token=TOKEN) as web:
        assert web.ask("/?token=wrong")[0] == 401
        assert web.ask(f"/history?token={TOKEN}")[0] == 401, "only the page's own address takes it"
        assert web.ask("/healthz")[0] == 200
        assert web.ask("/", headers={"Authorization": f"Bearer {TOKEN}"})[0] == 200

        status, headers, _ = web.ask(f"/?token={TOKEN}")
        cookie = headers["set-cookie"]
        assert status == 200
        assert TOKEN not in cookie
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        own = {"Cookie": cookie.split(";")[0]}
        assert web.ask("/", headers=own)[0] == 200
        with listening(web.port, headers=own) as page:
            live(page)
        assert web.ask("/mark", "POST", {**JSON, **own}, MARK)[0] == 501
        assert web.ask("/mark", "POST", {**JSON, **own, "Origin": "http://evil.example"}, MARK)[0] == 403
    shown = capfd.readouterr()
    assert TOKEN not in caplog.text + shown.out + shown.err


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_the_token_is_asked_for_in_a_form_and_kept_in_a_cookie() -> None:
    with served(NOBODY, token=TOKEN) as web:
        status, headers, body = web.ask("/")
        assert (status, headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert b'action="/login"' in body
        assert web.ask("/page.css")[0] == 200, "the form is no naked page"

        def post(body: bytes, **more: str) -> tuple[int, dict[str, str], bytes]:
            return web.ask("/login", "POST", {**FORM, **more}, body)

        assert post(b"token=wrong")[0] == 401
        assert b"not the token" in post(b"token=wrong")[2]
        assert post(b"x" * 5000)[0] == 400
        assert post(b"\xff\xfe")[0] == 400
        assert post(b"token=" + TOKEN.encode(), Origin="http://evil.example")[0] == 403
        status, headers, _ = post(b"token=" + TOKEN.encode(), Origin=f"http://127.0.0.1:{web.port}")
        assert (status, headers["location"]) == (303, "/")
        cookie = headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert "secure" not in cookie.lower()
        own = {"Cookie": cookie.split(";")[0]}
        assert web.ask("/", headers=own)[0] == 200
        status, headers, _ = web.ask("/logout", "POST", own)
        assert (status, "Max-Age=0" in headers["set-cookie"]) == (303, True)
    with served(NOBODY, rules=AccessRules(TOKEN, secure=True)) as web:
        assert (
            "secure" in web.ask("/login", "POST", FORM, b"token=" + TOKEN.encode())[1]["set-cookie"].lower()
        )


def test_wrong_tokens_are_limited_for_each_address() -> None:
    clock = FakeClock()
    tries = LoginTries(clock)
    for _ in range(MOST_WRONG):
        assert tries.wait("10.0.0.9") == 0
        tries.wrong("10.0.0.9")
    assert 0 < tries.wait("10.0.0.9") <= FORGOTTEN
    assert tries.wait("::ffff:10.0.0.9") > 0, "the same address, as IPv6 writes it"
    assert tries.wait("10.0.0.8") == 0
    clock.advance(FORGOTTEN + 1)
    assert tries.wait("10.0.0.9") == 0
    for number in range(MOST_WRONG):
        tries.wrong(f"2001:db8::{number}")
    assert tries.wait("2001:db8::abcd") > 0, "a household has 64 bits of addresses"
    for number in range(3 * MOST_ADDRESSES):
        tries.wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(tries._wrong) == MOST_ADDRESSES

    with served(NOBODY, token=TOKEN) as web:
        cookie = web.ask(f"/?token={TOKEN}")[1]["set-cookie"].split(";")[0]
        answers = [web.ask("/login", "POST", FORM, b"token=x")[0] for _ in range(MOST_WRONG + 2)]
        assert answers == [401] * MOST_WRONG + [429] * 2
        status, headers, body = web.ask("/login", "POST", FORM, b"token=" + TOKEN.encode())
        assert (status, "try again in" in body.decode()) == (429, True), "not even the right one is looked at"
        assert 0 < int(headers["retry-after"]) <= FORGOTTEN
        assert web.ask("/", headers={"Authorization": f"Bearer {TOKEN}"})[0] == 429
        assert web.ask("/", headers={"Cookie": cookie})[0] == 200, "who is logged in stays so"


def test_static_files_are_those_of_the_page_only() -> None:
    with served(NOBODY) as web:
        for path in (
            "/../command.py",
            "/%2e%2e/command.py",
            "//etc/passwd",
            "/index.html",
            "/page/../app.py",
        ):
            assert web.ask(path)[0] == 404
