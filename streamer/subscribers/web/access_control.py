"""Who may ask for what: the outermost layer of the page's server, before anything else looks at a request.

Against whom: other people on the network (token), web sites that the user's browser visits (Host, Origin and
Sec-Fetch-Site are checked, nothing may be framed or embedded), and requests that are too large.
"""

from __future__ import annotations

import hashlib
import hmac
import html
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.subscribers.web.page_connection import trust

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
HEALTH = "/healthz"
LARGEST_HEAD = 16 * 1024  # bytes of a request's address and headers
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "referrer-policy": "no-referrer",
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

    def __init__(self, app: ASGIApp, rules: AccessRules) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # anything else (a web socket) is refused by saying nothing
        refusal = self._refusal(scope) or self._token(scope)
        let_in = (refusal is None or refusal.status_code < 400) and scope["path"] != HEALTH
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
        if token is None or scope["path"] == HEALTH:
            return None
        headers = Headers(scope=scope)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(given.strip(), token):
            return None
        if _same(_cookie(headers, self._rules.cookie), cookie_value(token)):
            return None if "token" not in _query(scope) else self._welcome(scope, token)
        if scope["path"] == "/" and scope["method"] == "GET" and _same(_query(scope).get("token", ""), token):
            return self._welcome(scope, token)
        return _page(
            "A token is needed",
            "Open the address with <code>?token=…</code> at its end. The token is the one that"
            " <code>streamer web</code> was started with.",
            401,
        )

    def _welcome(self, scope: Scope, token: str) -> Response:
        """Turn the token in the address into a cookie. Not a redirect: a browser that was sent here by
        another site would not send a strict cookie along with it.
        """
        if scope["path"] != "/":
            return PlainTextResponse("the token belongs to the page's own address\n", 400)
        response = _page("Welcome", '<a href="/">To the page</a>', 200, refresh=True)
        response.set_cookie(
            self._rules.cookie, cookie_value(token), max_age=30 * 86400, path="/",
            httponly=True, samesite="strict", secure=self._rules.secure,
        )  # fmt: skip
        return response


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
