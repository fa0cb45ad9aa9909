"""One request, without a library that would try again."""

from __future__ import annotations

from http.client import HTTPConnection


def get(address: str, path: str) -> tuple[int, str]:
    connection = HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
