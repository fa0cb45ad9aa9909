"""One run of `streamer archive`: the scheduler with a folder's jobs, and what is shown of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from streamer.cluster import archive_progress, archive_settings
from streamer.cluster.archive_jobs import Job, Pool
from streamer.cluster.archive_resume import Plan, ResultsFolder
from streamer.cluster.archive_scheduler import Progress, Scheduler
from streamer.config import Config
from streamer.dashboard.progress_bar import ProgressBar

REDRAW = 0.5  # seconds


class ArchiveRun:
    """Plays the jobs of `plan`. `progress` tells what came of them, also after an error."""

    def __init__(self, folder: ResultsFolder, plan: Plan, config: Config) -> None:
        self._folder, self._plan = folder, plan
        # On another machine "auto" could mean another engine than for the results that are there.
        computed = {one["id"]: one for last in plan.there[:1] for one in last.get("computed", ())}
        self._config = archive_settings.pinned(config, computed)
        self.progress = Progress(plan.jobs)
        self._drawn_at, self._told = 0.0, 0

    def run(self, pool: Pool, most: int, stop: threading.Event, *, explicit: bool) -> None:
        """Until all is played or `stop` is set; see `Scheduler`.

        Raises what `Scheduler.run` raises.
        """
        with ProgressBar() as bar:
            scheduler = Scheduler(
                pool, self._config, self._plan.jobs, most,
                explicit=explicit, prepare=_prepared, changed=lambda progress: self._show(bar, progress),
            )  # fmt: skip
            self.progress = scheduler.progress
            scheduler.run(stop)

    def _show(self, bar: ProgressBar, progress: Progress) -> None:
        for failure in progress.failed[self._told :]:
            bar.say(f"{failure.job.source} failed and is left out: {failure.reason}")
        self._told = len(progress.failed)
        now = time.monotonic()
        if now - self._drawn_at >= REDRAW:
            self._drawn_at = now
            share = archive_progress.estimate(progress, now).share
            bar.update(share, archive_progress.line(progress, self._plan, now))


def _prepared(job: Job, models: Sequence[Mapping[str, str]]) -> Job:
    return replace(job, note={**job.note, "computed": [dict(model) for model in models]})
