"""Metrics, health and systemd for one running pipeline.

    with Pipeline(config) as pipeline, Monitoring(config.metrics, pipeline.stats):
        pipeline.run(stop)

Health is judged anew for each request and for each message to systemd; nothing is remembered.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Self

from streamer.config import MetricsConfig
from streamer.metrics.health import Verdict, judge
from streamer.metrics.http_server import Page, Reply, Server, address_of, json_reply
from streamer.metrics.systemd import Notifier
from streamer.system.addresses import is_loopback
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.types import CameraState, Stats

log = logging.getLogger(__name__)

CHECK_EVERY = 1.0  # seconds between two looks for systemd, or a third of what its watchdog allows
JOIN = 0.5  # seconds
LOADING = 60  # seconds more that systemd grants with each look while the model is loaded


class Monitoring:
    """A context manager; does nothing where neither an address nor systemd asks for it.

    Args:
        config: where to serve, and the limits of health.
        stats: what there is to know; called on this package's threads, at most once a request.

    Raises (on entering):
        ConfigError: the address cannot be used, or prometheus-client is missing.
    """

    def __init__(
        self,
        config: MetricsConfig,
        stats: Callable[[], Stats],
        *,
        notifier: Notifier | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._config, self._stats, self._clock = config, stats, clock
        self._notifier = Notifier() if notifier is None else notifier
        self._server: Server | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._last_status, self._ready = "", False  # what systemd knows

    def __enter__(self) -> Self:
        if self._config.listen:
            pages = {"/metrics": self._metrics(), "/healthz": self._healthz, "/readyz": self._readyz}
            self._server = Server(self._config.listen, pages)
        if self._notifier.wanted:
            self._thread = threading.Thread(target=self._watch_for_systemd, name="systemd", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(JOIN)
            self._notifier.send(STOPPING=1, STATUS="stopping")
        if self._server is not None:
            self._server.close()

    @property
    def address(self) -> str:
        """HOST:PORT of the server, "" without one."""
        return "" if self._server is None else self._server.address

    @property
    def private(self) -> bool:
        """Whether this machine alone can read it."""
        return is_loopback(address_of(self.address)[0])

    # --- pages ---

    def _metrics(self) -> Page:
        from streamer.metrics.prometheus import registry

        own = registry(self._stats, self._config)
        from prometheus_client.exposition import choose_encoder

        def page(accept: str) -> Reply:
            encode, kind = choose_encoder(accept)
            return Reply(200, kind, encode(own))

        return page

    def _judged(self) -> tuple[Stats, Verdict]:
        stats = self._stats()
        return stats, judge(stats, self._config)

    def _healthz(self, accept: str) -> Reply:
        stats, verdict = self._judged()
        return json_reply(200 if verdict.healthy else 503, verdict.report(stats))

    def _readyz(self, accept: str) -> Reply:
        stats, verdict = self._judged()
        return json_reply(200 if verdict.ready else 503, verdict.report(stats))

    # --- systemd ---

    def _watch_for_systemd(self) -> None:
        """READY once the models are loaded, then WATCHDOG while a restart would not help."""
        interval = self._notifier.interval
        wait = CHECK_EVERY if interval is None else min(CHECK_EVERY, interval / 3)
        try:
            while not self._over.is_set():
                self._notify_systemd()
                self._clock.wait(self._over, wait)
        except Exception:  # a thread's top: the watchdog then acts, which is what it is for
            log.exception("health could not be judged; systemd is told nothing more")

    def _notify_systemd(self) -> None:
        stats, verdict = self._judged()
        if not verdict.loaded:
            self._notifier.send(EXTEND_TIMEOUT_USEC=LOADING * 1_000_000)
        elif not self._ready:
            self._ready = self._notifier.send(READY=1)
        if self._notifier.interval is not None and verdict.alive:
            self._notifier.send(WATCHDOG=1)
        status = status_line(stats, verdict)
        if status != self._last_status and self._notifier.send(STATUS=status):
            self._last_status = status


def status_line(stats: Stats, verdict: Verdict) -> str:
    """What `systemctl status` shows."""
    if verdict.problems:
        return "failing: " + "; ".join(problem.detail for problem in verdict.problems)
    if not verdict.loaded:
        return "loading the model"
    cameras = stats.cameras
    running = sum(camera.status.state is CameraState.RUNNING for camera in cameras)
    return f"{running} of {len(cameras)} cameras running, {stats.windows_per_s:.1f} windows/s"
