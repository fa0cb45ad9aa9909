"""Logging in with the token: the form, the cookie, and how many wrong tries there may be.

Wrong tokens count against the address they come from, by whatever way they were sent; above the limit no
token from there is looked at for a while. Cookies are no tries: who is logged in stays so.
"""

from __future__ import annotations

import html
import ipaddress
import math
from collections import OrderedDict, deque
from string import Template

from starlette.responses import HTMLResponse

from streamer.system.clock import SYSTEM_CLOCK, Clock

LOGIN, LOGOUT = "/login", "/logout"
MOST_WRONG = 10  # from one address within `FORGOTTEN`
FORGOTTEN = 60.0  # seconds
MOST_ADDRESSES = 1000  # that are remembered
LARGEST_FORM = 4096  # bytes
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)

_FORM = Template(f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Log in - streamer</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/page.css">
</head>
<body class="login">
<main>
<h1>streamer</h1>
<form method="post" action="{LOGIN}">
<p><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus
$described></p>
$told
<p><button type="submit">Log in</button></p>
</form>
<p class="note">It is the one line of the file that the page was started with (web.token_file, --token-file).
This browser then stays logged in for 30 days.</p>
</main>
</body>
</html>
""")


class LoginTries:
    """Who has given a wrong token lately."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, address: str) -> int:
        """Seconds until a token from there is looked at again; 0: now."""
        times = self._wrong.get(_network(address))
        if times is None or len(times) < MOST_WRONG:
            return 0
        return max(0, math.ceil(times[0] + FORGOTTEN - self._clock.monotonic()))

    def wrong(self, address: str) -> None:
        """A token from there was wrong."""
        name = _network(address)
        times = self._wrong.setdefault(name, deque(maxlen=MOST_WRONG))
        times.append(self._clock.monotonic())
        self._wrong.move_to_end(name)
        if len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)


def _network(address: str) -> str:
    """What counts as one place: an IPv4 address, the 64 bits of IPv6 that one household gets."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = getattr(found, "ipv4_mapped", None) or found
    return str(mapped) if mapped.version == 4 else str(ipaddress.ip_network((int(mapped) >> 64 << 64, 64)))


def form(problem: str = "", status: int = 401) -> HTMLResponse:
    """The page that asks for the token; `problem` is what was wrong with the last one."""
    told = f'<p class="problem" role="alert" id="why">{html.escape(problem)}</p>' if problem else ""
    described = ' aria-describedby="why" aria-invalid="true"' if problem else ""
    fields = {"told": told, "described": described}
    return HTMLResponse(_FORM.substitute(fields), status, {"content-security-policy": POLICY})
