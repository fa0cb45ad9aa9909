"""Accepting connections: bounded also while TLS begins, and where file descriptors run out.

asyncio's own server counts nothing before TLS is agreed upon, and where descriptors are used up it writes a
traceback for every connection that waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine

from streamer.subscribers.web.page_connection import REQUEST_HEAD
from streamer.system.log_rate_limit import LogLimit

MOST_BEGINNING = 64  # connections on which TLS has not been agreed upon yet
PAUSE = 0.2  # seconds after which a connection is tried to be taken again

_warn = LogLimit(logging.getLogger(__name__).warning)


class ConnectionAcceptor:
    """Stands in for `asyncio.Server`: takes connections from `listening` until `close`.

    Of connections that have not begun the oldest gives way: somebody who begins at once is never kept out.
    """

    def __init__(
        self,
        listening: socket.socket,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening, self._make_protocol, self._tls = listening, make_protocol, tls
        self._beginning: dict[socket.socket, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        listening.setblocking(False)
        self._start(self._accept())

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while True:
            try:
                link, _ = await self._loop.sock_accept(self._listening)
            except OSError as error:
                _warn("accept", f"the page cannot take a connection: {error.strerror}; tried again")
                await asyncio.sleep(PAUSE)
                continue
            self._beginning[link] = None
            if len(self._beginning) > MOST_BEGINNING:
                oldest = next(iter(self._beginning))
                del self._beginning[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its TLS fails, which closes it
            self._start(self._begin(link))

    async def _begin(self, link: socket.socket) -> None:
        timeout = None if self._tls is None else REQUEST_HEAD
        try:
            await self._loop.connect_accepted_socket(
                self._make_protocol, link, ssl=self._tls, ssl_handshake_timeout=timeout
            )
        except OSError:  # TLS was not agreed upon, in time or at all: asyncio has closed it
            return
        finally:
            self._beginning.pop(link, None)

    def close(self) -> None:
        """Take no more."""
        for task in self._tasks:
            task.cancel()

    async def wait_closed(self) -> None:
        """Until nothing is taken any more."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
