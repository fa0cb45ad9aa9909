"""A worker's link to its front: a request twice a second that renews the leases and brings what to watch.

A refused connection is as good as an answer: no front is there that could give our cameras away, and one
that is started waits longer than a lease lasts before it does. So workers go on when their front is killed,
and stop where it is out of reach, which may be a broken link with a front behind it.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamer.bus.endpoints import split_tcp
from streamer.bus.request_client import RequestClient
from streamer.cluster.camera_definitions import models_of
from streamer.cluster.watched_cameras import WatchedCameras
from streamer.cluster.worker_leases import LEASE, RENEW, VERSION, Leases, lease_clock
from streamer.cluster.worker_settings import WorkerSettings
from streamer.errors import BusError, RequestError

if TYPE_CHECKING:
    from streamer.pipeline.pipeline import Pipeline

log = logging.getLogger(__name__)

PATIENCE = 1.0  # seconds for an answer: twice within a lease
GOODBYE = 0.5
PROBE = 0.3


class FrontLink:
    """`run` is a thread's; it ends when `over` is set, and sets `ended` where the work has to begin anew."""

    def __init__(
        self,
        client: RequestClient,
        settings: WorkerSettings,
        leases: Leases,
        watched: WatchedCameras,
        pipeline: Pipeline,
        common_print: str,
        key: str | None,
        let_in: Callable[[str | None], None],
        process: str,
    ) -> None:
        self._client, self._settings, self._leases, self._watched = client, settings, leases, watched
        self._pipeline, self._common, self._key, self._let_in = pipeline, common_print, key, let_in
        self._process, self._front_key = process, ""
        self._n, self._models = 0, ""
        self._draining = False
        self._away = False

    def run(self, over: threading.Event, ended: threading.Event) -> None:
        while not over.is_set():
            sent_at = lease_clock()
            try:
                if not self._renew(sent_at):
                    ended.set()
                    return
                if self._away:
                    log.warning("the front at %s answers again", self._settings.join)
                self._away = False
            except (BusError, RequestError) as error:
                if not self._away:
                    log.warning("%s", error)
                self._away = True
                asked_at = lease_clock()
                if nobody_listens(self._settings.join):
                    self._leases.extended(asked_at + LEASE)
            except Exception:  # a thread's top: the lease runs out meanwhile
                log.exception("renewing the lease failed")
            over.wait(max(0.0, RENEW - (lease_clock() - sent_at)))

    def _renew(self, sent_at: float) -> bool:
        """One request; False where what all cameras share has changed."""
        bus, settings = self._pipeline.bus, self._settings
        self._n += 1
        answer = self._client.ask(
            "renew", PATIENCE,
            v=VERSION, name=settings.known_as, process=self._process, n=self._n,
            endpoint=bus.endpoint, requests=bus.requests_endpoint or "",
            journal={"id": bus.journal, "session": bus.session, "last": bus.last_event_seq},
            have=self._watched.holding(), defined=self._watched.defined(), failed=self._watched.failed(),
            models=self._models, key=self._key or "", capacity=settings.capacity,
            loaded=self._watched.loaded(), draining=self._draining, failed_as=self._watched.failed_as(),
        )  # fmt: skip
        if answer.get("common_print") != self._common:
            return False
        if (key := answer.get("key")) and key != self._front_key:
            self._let_in(key)
            self._front_key = key
        self._draining = bool(answer.get("draining"))
        leases = {str(camera): int(epoch) for camera, epoch in answer["leases"].items()}
        self._watched.wanted(leases, answer["define"], answer["prints"])
        if answer["models"] is not None:
            self._watched.ahead(models_of(answer["models"]))
            self._models = str(answer["models_print"])
        self._leases.renewed(sent_at, leases, float(answer["lease"]))
        return True

    def leave(self) -> None:
        """Everything has stopped: others may have the cameras at once."""
        with contextlib.suppress(BusError, RequestError):
            self._client.ask("leave", GOODBYE, worker=self._settings.known_as, process=self._process)


def nobody_listens(endpoint: str) -> bool:
    """Whether the machine of an endpoint answers, and says that nobody is there."""
    found = split_tcp(endpoint)
    if found is None:
        return False
    try:
        socket.create_connection(found, PROBE).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
