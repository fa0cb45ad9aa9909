"""A camera's ONVIF services (device, media) over real HTTP, with WS-Security's digest and its own clock."""

from __future__ import annotations

import base64
import hashlib
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.etree import ElementTree

_ENVELOPE = '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body>{}</e:Body></e:Envelope>'
_MEDIA = "/services/media"


class OnvifCamera:
    """Tells `uri` to `user`; `asked`: what it answered to. Its clock is `ahead` seconds ahead."""

    def __init__(self, uri: str, user: str, password: str, ahead: float = -7200.0) -> None:
        self.uri, self.user, self.password = uri, user, password
        self.ahead = timedelta(seconds=ahead)
        self.asked: list[str] = []
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                question = ElementTree.fromstring(self.rfile.read(int(self.headers["Content-Length"])))
                status, body = camera.answer(self.path, question)
                data = _ENVELOPE.format(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> OnvifCamera:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, question: ElementTree.Element) -> tuple[int, str]:
        op = next(one.tag.rpartition("}")[2] for one in question.iter() if "/wsdl}Get" in one.tag)
        now = datetime.now(UTC) + self.ahead
        if op == "GetSystemDateAndTime":
            told = f"<Hour>{now.hour}</Hour><Minute>{now.minute}</Minute><Second>{now.second}</Second>"
            told = f"<Time>{told}</Time>"
            told += f"<Date><Year>{now.year}</Year><Month>{now.month}</Month><Day>{now.day}</Day></Date>"
            return 200, f"<R><UTCDateTime>{told}</UTCDateTime></R>"
        if not self._is_user(question, now):
            return 400, "<e:Fault><e:Code><e:Value>ter:NotAuthorized</e:Value></e:Code></e:Fault>"
        if op == "GetCapabilities":  # an address of the network that the camera believes to be in
            answer = f"<R><Media><XAddr>http://10.9.9.9:8000{_MEDIA}</XAddr></Media></R>"
        elif path != _MEDIA:
            return 404, ""
        elif op == "GetProfiles":
            answer = '<R><Profiles token="main &amp; 1"/><Profiles token="sub"/></R>'
        elif next(one.text for one in question.iter() if one.tag.endswith("}ProfileToken")) == "main & 1":
            answer = f"<R><MediaUri><Uri>{self.uri}</Uri></MediaUri></R>"
        else:
            return 500, ""
        self.asked.append(op)
        return 200, answer

    def _is_user(self, question: ElementTree.Element, now: datetime) -> bool:
        told = {one.tag.rpartition("}")[2]: one.text or "" for one in question.iter()}
        created = told.get("Created", "")
        raw = base64.b64decode(told.get("Nonce", "")) + created.encode() + self.password.encode()
        right = base64.b64encode(hashlib.sha1(raw, usedforsecurity=False).digest()).decode()
        late = abs((datetime.fromisoformat(created or "2000-01-01T00:00:00Z") - now).total_seconds())
        return (told.get("Username"), told.get("Password")) == (self.user, right) and late < 120
