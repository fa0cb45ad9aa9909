"""A model hub on loopback, with as much of the real one's HTTP interface as downloading a checkpoint asks."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "owner/model"


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve `folder` as the model `owner/model`; gives (address, names of the files that were fetched)."""
    fetched: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(send=False)

        def do_GET(self) -> None:
            self.answer(send=True)

        def answer(self, *, send: bool) -> None:
            path = self.path.split("?")[0]
            name = path.rsplit("/", 1)[1]
            headers: dict[str, str] = {}
            status, content = 200, b""
            if path.startswith(f"/api/models/{MODEL}/tree/"):
                content = json.dumps([entry(file) for file in sorted(folder.iterdir())]).encode()
            elif path.startswith(f"/api/models/{MODEL}"):
                siblings = [sibling(file) for file in sorted(folder.iterdir())]
                content = json.dumps({"id": MODEL, "sha": COMMIT, "siblings": siblings}).encode()
            elif path.startswith(f"/{MODEL}/resolve/") and (folder / name).exists():
                content = (folder / name).read_bytes()
                headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
                if send:
                    fetched.append(name)
            else:
                status, headers = 404, {"X-Error-Code": "RepoNotFound"}
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if send:
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="hub", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", fetched
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def sibling(file: Path) -> dict[str, Any]:
    """One file in a model's description: large ones with SHA-256, small ones with Git's SHA-1."""
    content = file.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    told: dict[str, Any] = {"rfilename": file.name, "size": len(content), "blobId": git}
    if file.suffix in (".safetensors", ".bin"):
        digest = hashlib.sha256(content).hexdigest()
        told["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
    return told


def entry(file: Path) -> dict[str, Any]:
    """One line of a repository's file list."""
    content = file.read_bytes()
    return {"type": "file", "path": file.name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
