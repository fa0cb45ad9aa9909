"""How far an archive is, when it will be done, and what it says at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamer.cluster.archive_jobs import Job, News
from streamer.cluster.archive_resume import Plan
from streamer.cluster.archive_scheduler import Progress

FIRM_AFTER = 3.0  # seconds of playing before an end is foretold


@dataclass(frozen=True, slots=True)
class Estimate:
    """`done`, `total`: seconds of video; lengths that are not known yet are guessed from the files' sizes.
    `left`: seconds of time until all is done, None where that cannot be said yet.
    """

    done: float
    total: float
    left: float | None

    @property
    def share(self) -> float:
        """Of the work, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0


def estimate(progress: Progress, now: float) -> Estimate:
    """When it will be done, at the pace so far; `now` is monotonic seconds.

    A recording is one player's: the end is not before the longest of those that are left is played.
    """
    lengths = _lengths(progress)
    failed = {failure.job.number for failure in progress.failed}
    whole = {job.number for job, _ in progress.done}
    at = {job.number: news.seconds for job, news in progress.playing.values()}
    done = sum(lengths[number] for number in whole) + sum(at.values())
    lefts = [
        max(0.0, lengths[job.number] - at.get(job.number, 0.0))
        for job in progress.jobs
        if job.number not in whole and job.number not in failed
    ]
    total = done + sum(lefts)
    if progress.began is None or now - progress.began < FIRM_AFTER or done <= 0.0:
        return Estimate(done, total, None)
    pace = done / (now - progress.began)  # seconds of video a second, of all players together
    own = pace / max(1, len(progress.playing) or progress.players)
    return Estimate(done, total, max(sum(lefts) / pace, max(lefts, default=0.0) / own))


def _lengths(progress: Progress) -> dict[int, float]:
    """Seconds of each recording: played, declared, or guessed from its size."""
    known = {job.number: news.length or news.seconds for job, news in progress.done}
    known |= {job.number: news.length for job, news in progress.playing.values() if news.length is not None}
    size = {job.number: job.size for job in progress.jobs}
    per_byte = sum(known.values()) / max(1, sum(size[number] for number in known))
    return {number: known.get(number, size[number] * per_byte) for number in size}


def line(progress: Progress, plan: Plan, now: float) -> str:
    """Where it is, in one line."""
    if progress.began is None:
        return "loading the model"
    found = estimate(progress, now)
    skipped = f", {len(plan.there)} were there" if plan.there else ""
    failed = f", {len(progress.failed)} failed" if progress.failed else ""
    took = max(0.001, now - progress.began)
    told = f"{progress.finished} of {len(plan.jobs)} recordings{failed}{skipped}; "
    told += f"{duration(found.done)} of video, {found.done / took:.1f} x real time"
    if found.left is None:
        return told
    until = time.strftime("%H:%M", time.localtime(time.time() + found.left))
    return f"{told}; about {duration(found.left)} left, until {until}"


def duration(seconds: float) -> str:
    """12 s, 4 min 10 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def report(plan: Plan, progress: Progress, *, took: float, stopped: bool) -> dict[str, Any]:
    """The report as the folder keeps it; `took`: seconds."""
    done = [_of_done(job, news) for job, news in progress.done]
    keys = ("file", "camera", "windows", "events", "seconds")
    there = [{key: last[key] for key in keys} for last in plan.there]
    return {
        "recordings": [*there, *done],
        "failed": [{"file": one.job.source, "reason": one.reason} for one in progress.failed],
        "waiting": [job.source for job in _left(plan.jobs, progress)],
        "windows": _sum("windows", there, done),
        "events": _sum("events", there, done),
        "seconds": round(_sum("seconds", there, done), 3),
        "took": round(took, 3),
        "stopped": stopped,
        "retried": progress.retried,
    }


def lines(report: Mapping[str, Any], plan: Plan) -> list[str]:
    """The report for people."""
    whole = report["recordings"]
    head = (
        f"{len(whole)} recording{'' if len(whole) == 1 else 's'} ({len(plan.there)} were there before): "
        f"{report['events']} events, "
        f"{report['windows']} windows, {duration(report['seconds'])} of video; "
        f"this time {duration(report['took'])}"
    )
    told = [head]
    if plan.changed:
        told.append(f"{plan.changed} played again: the file is another one than before")
    if report["retried"]:
        told.append(f"{report['retried']} attempts had to be repeated")
    told += [f"failed: {one['file']}: {one['reason']}" for one in report["failed"]]
    if report["waiting"]:
        count = len(report["waiting"])
        told.append(f"{count} {'is' if count == 1 else 'are'} left: the same command continues")
    return told


def _left(jobs: Sequence[Job], progress: Progress) -> list[Job]:
    over = {job.number for job, _ in progress.done} | {failure.job.number for failure in progress.failed}
    return [job for job in jobs if job.number not in over]


def _of_done(job: Job, news: News) -> dict[str, Any]:
    return {
        "file": job.source, "camera": job.camera, "windows": news.windows, "events": news.events,
        "seconds": round(news.seconds, 4),
    }  # fmt: skip


def _sum(key: str, *lists: Iterable[Mapping[str, Any]]) -> Any:
    return sum(one[key] for one_list in lists for one in one_list)
