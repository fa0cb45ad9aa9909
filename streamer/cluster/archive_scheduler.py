"""Hands an archive's recordings to players, and copes with those that end: which recording is played where
and how often, and what came of each.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from streamer.cluster import archive_settings
from streamer.cluster.archive_jobs import Job, News, Pool, What
from streamer.config import Config
from streamer.errors import ConfigError, ModelError, ModelLoadError, StreamerError
from streamer.system.clock import SYSTEM_CLOCK, Clock

ATTEMPTS = 3  # a recording
LOSSES = 3  # players in a row that end before their models are loaded
STUCK = 300.0  # seconds without a further window after which a player is taken for hanging
LOOK = 0.2  # seconds between two looks at the clock and at `stop`


class ArchiveError(StreamerError):
    """The archive cannot go on: its folder cannot be written, or no player stays alive."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A recording that was left out, and why."""

    job: Job
    reason: str


@dataclass(slots=True)
class Progress:
    """What has been done; changed by the scheduler's thread."""

    jobs: Sequence[Job]
    done: list[tuple[Job, News]] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    playing: dict[int, tuple[Job, News]] = field(default_factory=dict)  # by player
    retried: int = 0
    began: float | None = None  # monotonic seconds: the first recording
    players: int = 0  # those whose models are loaded

    @property
    def finished(self) -> int:
        return len(self.done) + len(self.failed)


class Scheduler:
    """One run of an archive.

    Args:
        config: as `archive_settings.for_archive` makes it.
        jobs: what is to be played; long ones are played first, so that the end is not one long recording.
        most: players at most. Where the models compute on a GPU and `explicit` is false, one is enough.
        note: gets each job's note for its last line, once it is known what computes.
        changed: called after each piece of news, and twice a second at least.
    """

    def __init__(
        self,
        pool: Pool,
        config: Config,
        jobs: Sequence[Job],
        most: int,
        *,
        explicit: bool,
        prepare: Callable[[Job, Sequence[Mapping[str, str]]], Job],
        changed: Callable[[Progress], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._pool, self._config, self._prepare, self._changed = pool, config, prepare, changed
        self._most, self._explicit, self._clock = most, explicit, clock
        self._waiting = deque(sorted(jobs, key=lambda job: -job.size))
        self._attempts: dict[int, int] = {}
        self._ready: dict[int, tuple[Mapping[str, str], ...]] = {}  # player -> what computes there
        self._empty: deque[int] = deque()  # started, nothing loaded yet
        self._loading: set[int] = set()
        self._moved: dict[int, float] = {}  # player -> when it last got on
        self._ended_by_us: dict[int, str] = {}
        self._losses = 0
        self._next = 0
        self.progress = Progress(jobs)

    def run(self, stop: threading.Event) -> None:
        """Play everything, or until `stop` is set.

        Raises:
            ModelError, ConfigError: the models cannot be had.
            ArchiveError: results cannot be written, or no player stays alive.
        """
        while not stop.is_set() and (self._waiting or self.progress.playing):
            self._staff()
            self._give()
            try:
                player, news = self._pool.heard.get(timeout=LOOK)
            except queue.Empty:
                self._look_for_stuck()
            else:
                self._hear(player, news)
            self._changed(self.progress)

    # --- players ---

    def _staff(self) -> None:
        """As many players as there is work for. The first loads alone: it shows on what the models compute,
        and measures engines undisturbed where that has to be done.
        """
        wanted = min(self._most, len(self._waiting) + len(self.progress.playing))
        if not self._explicit and (not self._ready or self._on_gpu()):
            wanted = min(wanted, 1)
        while len(self._empty) + len(self._loading) + len(self._ready) < wanted:
            self._empty.append(self._next)
            self._pool.start(self._next)
            self._next += 1
        while self._empty and (self._ready or not self._loading):
            player = self._empty.popleft()
            self._loading.add(player)
            self._pool.load(player, archive_settings.as_json(self._config))

    def _on_gpu(self) -> bool:
        return any(model["device"] != "cpu" for models in self._ready.values() for model in models)

    def _give(self) -> None:
        for player in self._ready.keys() - self.progress.playing.keys():
            if not self._waiting:
                return
            job = self._waiting.popleft()
            now = self._clock.monotonic()
            if self.progress.began is None:
                self.progress.began = now
            self._attempts[job.number] = self._attempts.get(job.number, 0) + 1
            self._moved[player] = now
            self.progress.playing[player] = job, News(What.AT, job.number)
            self._pool.play(player, self._prepare(job, self._ready[player]))

    def _look_for_stuck(self) -> None:
        for player in self.progress.playing:
            if self._clock.monotonic() - self._moved[player] > STUCK and player not in self._ended_by_us:
                self._ended_by_us[player] = f"nothing came of it for {STUCK:g} s"
                self._pool.kill(player)

    # --- news ---

    def _hear(self, player: int, news: News) -> None:
        if news.what is What.READY:
            self._loading.discard(player)
            self._losses = 0
            if not self._ready:
                self._config = archive_settings.pinned(self._config, {m["id"]: m for m in news.models})
            self._ready[player] = news.models
        elif news.what is What.GONE:
            self._gone(player, news)
        elif news.what is What.UNFIT:
            raise _error_of(news)
        elif player in self.progress.playing and self.progress.playing[player][0].number == news.job:
            self._of_recording(player, news)
        self.progress.players = len(self._ready)

    def _of_recording(self, player: int, news: News) -> None:
        job, before = self.progress.playing[player]
        if news.what is What.AT:
            if news.windows > before.windows:
                self._moved[player] = self._clock.monotonic()
            self.progress.playing[player] = job, news
            return
        del self.progress.playing[player]
        if news.what is What.DONE:
            self.progress.done.append((job, news))
            return
        if news.code:  # it ends: GONE follows
            del self._ready[player]
        self._failed(job, news.reason)

    def _gone(self, player: int, news: News) -> None:
        self._ready.pop(player, None)
        loaded = player not in self._loading and player not in self._empty
        self._loading.discard(player)
        if player in self._empty:
            self._empty.remove(player)
        reason = self._ended_by_us.pop(player, news.reason)
        if player in self.progress.playing:
            job, _ = self.progress.playing.pop(player)
            self._failed(job, reason)
        elif not loaded:
            self._losses += 1
            if self._losses >= LOSSES:
                raise ArchiveError(f"the model could not be loaded {LOSSES} times in a row: {reason}")

    def _failed(self, job: Job, reason: str) -> None:
        if self._attempts[job.number] < ATTEMPTS:
            self.progress.retried += 1
            self._waiting.append(job)
        else:
            self.progress.failed.append(Failure(job, reason))


def _error_of(news: News) -> StreamerError:
    kinds: dict[str, type[StreamerError]] = {
        "ConfigError": ConfigError, "ModelError": ModelError, "ModelLoadError": ModelLoadError,
    }  # fmt: skip
    return kinds.get(news.code, ArchiveError)(news.reason)
