"""Players of recordings as Ray actors, on all machines of a cluster.

Inputs and results are reached by every machine under the same path: shared storage.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from queue import Queue
from typing import Any

from streamer.cluster import ray_connection
from streamer.cluster.archive_jobs import Job, News, What
from streamer.errors import ConfigError, ModelError, StreamerError

LOOK = 0.5  # seconds between two looks at what has come
ASK_EVERY = 2.0  # seconds between two questions how far a recording is


class RecordingActor:
    """Runs in a process that Ray started. It begins empty: a constructor that raises would be final."""

    def __init__(self) -> None:
        self._player: Any = None
        self._at: dict[str, Any] | None = None

    def load(self, version: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """READY or UNFIT, as JSON."""
        import streamer
        from streamer.cluster.recording_player import RecordingPlayer

        if streamer.__version__ != version:
            reason = f"streamer is {streamer.__version__} on a machine of the cluster and {version} here"
            return News(What.UNFIT, reason=reason, code="ConfigError").as_json()
        self._player = RecordingPlayer(self._tell)
        try:
            return News(What.READY, models=self._player.load(config)).as_json()
        except StreamerError as error:
            return News(What.UNFIT, reason=str(error), code=type(error).__name__).as_json()

    def play(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """DONE, FAILED or UNFIT, as JSON."""
        from streamer.cluster.recording_player import WriteError

        self._at = None
        one = Job.of_json(job)
        try:
            news: News = self._player.play(one)
        except ModelError as error:
            news = News(What.FAILED, one.number, reason=str(error), code=type(error).__name__)
        except WriteError as error:
            news = News(What.UNFIT, reason=str(error), code="WriteError")
        return news.as_json()

    def at(self) -> dict[str, Any] | None:
        """AT, as JSON; None: nothing new."""
        at, self._at = self._at, None
        return at

    def _tell(self, news: News) -> None:
        self._at = news.as_json()


class RayPool:
    """See `archive_jobs.Pool`. `room`: players that the cluster has CPUs, or GPUs, for.

    Raises:
        ConfigError: the cluster cannot be used, or has no room at all.
    """

    def __init__(self, address: str, *, device: str | None) -> None:
        self._ray = ray_connection.connect(address)
        has = self._ray.cluster_resources()
        self._gpu = device != "cpu" and has.get("GPU", 0) >= 1
        self.room = int(has.get("GPU" if self._gpu else "CPU", 0))
        if self.room < 1:
            self._ray.shutdown()
            raise ConfigError(f"--ray {address}: the cluster has no CPU for anybody; add a machine to it")
        self.heard: Queue[tuple[int, News]] = Queue()
        self._lock = threading.Lock()  # guards what is below
        self._actors: dict[int, Any] = {}
        self._awaited: dict[Any, int] = {}  # what an actor was told to do -> which actor
        self._asked: dict[Any, int] = {}
        self._playing: set[int] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="ray-players", daemon=True)
        self._thread.start()

    def start(self, player: int) -> None:
        actor = self._ray.remote(RecordingActor).options(
            num_cpus=1, num_gpus=1 if self._gpu else 0, max_restarts=0, max_concurrency=2
        )
        with self._lock:
            self._actors[player] = actor.remote()

    def load(self, player: int, config: Mapping[str, Any]) -> None:
        from streamer import __version__

        with self._lock:
            self._awaited[self._actors[player].load.remote(__version__, dict(config))] = player

    def play(self, player: int, job: Job) -> None:
        with self._lock:
            self._playing.add(player)
            self._awaited[self._actors[player].play.remote(job.as_json())] = player

    def kill(self, player: int) -> None:
        with self._lock:
            if (actor := self._actors.get(player)) is not None:
                self._ray.kill(actor)

    def close(self) -> None:
        self._over.set()
        self._thread.join(5.0)
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._ray.shutdown()

    # --- the thread that listens ---

    def _listen(self) -> None:
        asked_at = time.monotonic()
        while not self._over.wait(0 if self._awaited else LOOK):
            with self._lock:
                awaited, asked = list(self._awaited), list(self._asked)
            if not awaited:
                continue
            ready = self._ray.wait([*awaited, *asked], num_returns=1, timeout=LOOK)[0]
            for ref in ready:
                self._take(ref)
            if time.monotonic() - asked_at >= ASK_EVERY:
                asked_at = time.monotonic()
                self._ask()

    def _take(self, ref: Any) -> None:
        with self._lock:
            player = self._awaited.pop(ref, None)
            answers = player is None
            if player is None:
                player = self._asked.pop(ref)
            else:
                self._playing.discard(player)
        try:
            told = self._ray.get(ref)
        except Exception as error:  # noqa: BLE001 - Ray's edge: whatever it raises, this player is no more
            if not answers:
                self._gone(player, ray_connection.one_line(error))
            return
        if told is None:
            return
        news = News.of_json(told)
        self.heard.put((player, news))
        if news.what is What.FAILED and news.code:
            self.kill(player)
            self._gone(player, "its model failed")

    def _gone(self, player: int, why: str) -> None:
        with self._lock:
            self._actors.pop(player, None)
        self.heard.put((player, News(What.GONE, reason=f"its process ended ({why})")))

    def _ask(self) -> None:
        with self._lock:
            waiting = set(self._asked.values())
            for player in self._playing - waiting:
                self._asked[self._actors[player].at.remote()] = player
