"""Who may ask for what: the outermost layer of the page's server, before anything else looks at a request.

Against whom: other people on the network (token), web sites that the user's browser visits (Host, Origin and
Sec-Fetch-Site are checked, nothing may be framed or embedded), and requests that are too large.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import html
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.subscribers.web.login import LARGEST_FORM, LOGIN, LOGOUT, LoginTries, form
from streamer.subscribers.web.page_connection import trust
from streamer.system.clock import SYSTEM_CLOCK, Clock

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
HEALTH = "/healthz"
OPEN = (HEALTH, "/page.css", "/icon.svg")  # without the token: nothing of them is secret
FORM_TIMEOUT = 5.0  # seconds
LARGEST_HEAD = 16 * 1024  # bytes of a request's address and headers
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "referrer-policy": "same-origin",  # "no-referrer" would take the origin off forms: they count as foreign
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True)
class AccessRules:
    """What the guard checks."""

    token: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()  # names under which the page may be asked for; empty: any
    secure: bool = False  # served by https
    port: int = 0  # cookies are shared by all ports of a host: the name tells ours

    @property
    def cookie(self) -> str:
        return f"streamer-{self.port}"


class AccessControl:
    """ASGI middleware: lets through what the rules allow, and adds the headers that keep browsers strict."""

    def __init__(self, app: ASGIApp, rules: AccessRules, clock: Clock = SYSTEM_CLOCK) -> None:
        self._app, self._rules = app, rules
        self._tries = LoginTries(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # anything else (a web socket) is refused by saying nothing
        refusal = self._refusal(scope) or await self._login(scope, receive) or self._token(scope)
        let_in = (refusal is None or refusal.status_code < 400) and scope["path"] not in OPEN
        if let_in:
            trust(scope)

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
                if not let_in:  # strangers keep no connection
                    headers["connection"] = "close"
            await send(message)

        await (refusal or self._app)(scope, receive, strict)

    def _refusal(self, scope: Scope) -> Response | None:
        headers, method = Headers(scope=scope), scope["method"]
        if method not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("only GET, HEAD and POST\n", 405, {"allow": "GET, HEAD, POST"})
        size = len(scope["raw_path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) for name, value in scope["headers"])
        if size > LARGEST_HEAD:
            return PlainTextResponse(f"address and headers may have {LARGEST_HEAD} bytes\n", 431)
        if scope["path"] == HEALTH:
            return None
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        host = headers.get("host", "")
        if len(hosts) != 1 or (self._rules.hosts and _name(host) not in self._rules.hosts):
            return PlainTextResponse(
                "this page is not served under that name; use the address that 'streamer web' printed,"
                " or allow the name with --host NAME\n",
                421,
            )
        if self._cross_site(scope, headers, host):
            return PlainTextResponse("refused: the request comes from another site\n", 403)
        return None

    def _cross_site(self, scope: Scope, headers: Headers, host: str) -> bool:
        """Whether another web site made a browser send this."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if scope["method"] == "POST":
            if origin is not None:
                return origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower())
            return site not in (None, "same-origin")
        if site in (None, "same-origin", "none"):
            return False
        # a link that somebody follows to the page is fine; pictures and scripts in other sites are not
        follows = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return not (follows and scope["path"] == "/")

    def _token(self, scope: Scope) -> Response | None:
        token = self._rules.token
        if token is None or scope["path"] in OPEN:
            return None
        headers = Headers(scope=scope)
        if _same(_cookie(headers, self._rules.cookie), cookie_value(token)):
            return None if "token" not in _query(scope) else self._welcome(scope, token)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        in_address = _query(scope).get("token") if scope["path"] == "/" and scope["method"] == "GET" else None
        if scheme.lower() == "bearer" or in_address is not None:
            if (refused := self._wrong(scope, given.strip() if in_address is None else in_address)) is None:
                return None if in_address is None else self._welcome(scope, token)
            return refused
        if scope["path"] == "/":
            return form()
        return PlainTextResponse("a token is needed: log in at the page's own address\n", 401)

    def _wrong(self, scope: Scope, given: str) -> Response | None:
        """The answer to a wrong token, or to any after too many of them; None where it is right."""
        address = (scope.get("client") or ("", 0))[0]
        if wait := self._tries.wait(address):
            response: Response = form(f"Too many wrong tokens came from here; try again in {wait} s.", 429)
            response.headers["retry-after"] = str(wait)
            return response
        if _same(given, self._rules.token or ""):
            return None
        self._tries.wrong(address)
        return form("That is not the token.")

    async def _login(self, scope: Scope, receive: Receive) -> Response | None:
        """The form's answer, and logging out; None where it is neither."""
        token, path = self._rules.token, scope["path"]
        if token is None or scope["method"] != "POST" or path not in (LOGIN, LOGOUT):
            return None
        response: Response = RedirectResponse("/", 303)  # from this site to itself: the cookie goes along
        if path == LOGOUT:
            response.delete_cookie(self._rules.cookie)
            return response
        try:
            async with asyncio.timeout(FORM_TIMEOUT):
                given = await _form_token(Request(scope, receive))
        except (TimeoutError, ClientDisconnect, ValueError):
            return form("The form did not arrive as it should; try again.", 400)
        refused = self._wrong(scope, given)
        if refused is None:
            self._set_cookie(response, token)
        return refused or response

    def _welcome(self, scope: Scope, token: str) -> Response:
        """Turn the token in the address into a cookie. Not a redirect: a browser that was sent here by
        another site would not send a strict cookie along with it.
        """
        if scope["path"] != "/":
            return PlainTextResponse("the token belongs to the page's own address\n", 400)
        response = _page("Welcome", '<a href="/">To the page</a>', 200, refresh=True)
        self._set_cookie(response, token)
        return response

    def _set_cookie(self, response: Response, token: str) -> None:
        response.set_cookie(
            self._rules.cookie, cookie_value(token), max_age=30 * 86400, path="/",
            httponly=True, samesite="strict", secure=self._rules.secure,
        )  # fmt: skip


async def _form_token(request: Request) -> str:
    """The token in a posted form. Raises ValueError where it is none."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > LARGEST_FORM:
            raise ValueError("too large")
    given = parse_qs(data.decode("utf-8"), max_num_fields=10, strict_parsing=bool(data))
    return given.get("token", [""])[-1].strip()


def cookie_value(token: str) -> str:
    """What the cookie holds: it proves the token and does not tell it."""
    return hmac.new(token.encode("utf-8", "surrogatepass"), b"streamer web", hashlib.sha256).hexdigest()


def _same(given: str, wanted: str) -> bool:
    """In a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _query(scope: Scope) -> dict[str, str]:
    try:
        given = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=50)
    except ValueError:  # too many
        return {}
    return {key: values[-1] for key, values in given.items()}


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    host = host.strip().lower()
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]


def _page(title: str, text: str, status: int, *, refresh: bool = False) -> HTMLResponse:
    again = '<meta http-equiv="refresh" content="0;url=/">' if refresh else ""
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)} - streamer</title>"
        '<meta name="viewport" content="width=device-width">'
        f'<meta name="color-scheme" content="light dark">{again}'
        f"</head><body><main><h1>{html.escape(title)}</h1><p>{text}</p></main></body></html>",
        status,
    )
