"""When the program counts as unhealthy: a pure function of its `Stats`.

Unhealthy (`/healthz` answers 503) is what people must look at: nothing is recognised although windows wait,
no camera is left, events do not reach the disk or the bus. One of several cameras that is away is none of
these: it is tried again all the time, and the others work. `restart_helps` marks what a restart of the
program can mend; the watchdog of systemd acts on these alone, because a restart brings back neither a camera
nor a disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from streamer.config import MetricsConfig
from streamer.types import CameraState, CameraStats, Stats


@dataclass(frozen=True, slots=True)
class Problem:
    """Why it is unhealthy. `code` is for programs, `detail` one line for people, without secrets."""

    code: str  # inference_stuck, program_stuck, cameras_lost, camera_lost, bus_failed, journal_failed
    detail: str
    restart_helps: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `judge` found. `ready`: the model is loaded, cameras are being read, and nothing is wrong."""

    problems: tuple[Problem, ...]
    degraded: tuple[str, ...]  # what is not as it should be, and does not make it unhealthy
    loaded: bool

    @property
    def healthy(self) -> bool:
        return not self.problems

    @property
    def ready(self) -> bool:
        return self.loaded and self.healthy

    @property
    def alive(self) -> bool:
        """Nothing that a restart could mend."""
        return not any(problem.restart_helps for problem in self.problems)

    def report(self, stats: Stats) -> dict[str, Any]:
        """As /healthz and /readyz say it."""
        state = "failing" if self.problems else "degraded" if self.degraded else "ok"
        return {
            "status": state,
            "ready": self.ready,
            "problems": [{"code": p.code, "detail": p.detail} for p in self.problems],
            "degraded": list(self.degraded),
            "cameras": {camera.status.camera: str(camera.status.state) for camera in stats.cameras},
            "uptime_s": round(stats.uptime, 1),
        }


def judge(stats: Stats, config: MetricsConfig) -> Verdict:
    """What is wrong with the program in this picture of it."""
    problems = [*_stuck(stats, config), *_bus(stats, config)]
    degraded: list[str] = []
    if stats.ready_since is not None:
        going = [c for c in stats.cameras if c.status.state is not CameraState.ENDED]
        lost = [camera for camera in going if _lost(camera, stats, config)]
        problems += _cameras(lost, len(going), config)
        degraded = [_description(camera) for camera in stats.cameras if _is_degraded(camera)]
        degraded += _lost_pictures(stats)
    else:
        degraded = ["the model is being loaded"]
    return Verdict(tuple(problems), tuple(degraded), stats.ready_since is not None)


def _stuck(stats: Stats, config: MetricsConfig) -> Iterator[Problem]:
    """Nothing counts as stuck before the models are loaded: a download may take an hour."""
    now, limit, ready_since = stats.time, config.stuck_after, stats.ready_since
    if ready_since is None:
        return
    if now - stats.last_loop > limit:
        yield Problem("program_stuck", f"the main loop stands still for {now - stats.last_loop:.0f} s", True)
    for one in stats.inference:
        newest = ready_since if one.newest is None else one.newest
        if one.waiting_since is None or min(now - one.waiting_since, now - newest) <= limit:
            continue
        text = f"model {one.model} has recognised nothing for {now - newest:.0f} s although windows wait"
        yield Problem("inference_stuck", text, True)


def _bus(stats: Stats, config: MetricsConfig) -> Iterator[Problem]:
    bus, now = stats.publisher, stats.time
    if bus.last_loop is None:
        yield Problem("bus_failed", "the bus has ended: nothing is published any more", True)
    elif now - bus.last_loop > config.stuck_after:
        yield Problem("bus_failed", f"the bus has sent nothing for {now - bus.last_loop:.0f} s", True)
    if bus.wants_durable and not bus.durable:
        yield Problem("journal_failed", "events do not reach the disk; they are kept in memory only")


def _cameras(lost: list[CameraStats], total: int, config: MetricsConfig) -> Iterator[Problem]:
    if lost and len(lost) == total:
        reasons = "; ".join(_description(camera) for camera in lost[:3]) + ("; ..." if total > 3 else "")
        which = "the only camera is" if total == 1 else f"all {total} cameras are"
        yield Problem("cameras_lost", f"{which} away: {reasons}")
    elif config.every_camera:
        for camera in lost:
            yield Problem("camera_lost", f"away: {_description(camera)}")


def _lost(camera: CameraStats, stats: Stats, config: MetricsConfig) -> bool:
    """Not running, and no frame for a while."""
    if camera.status.state is CameraState.RUNNING:
        return False
    since = max(camera.status.newest or 0.0, stats.ready_since or 0.0)
    return stats.time - since > config.lost_after


def _is_degraded(camera: CameraStats) -> bool:
    status = camera.status
    return status.state not in (CameraState.RUNNING, CameraState.ENDED) or status.picture != "ok"


def _lost_pictures(stats: Stats) -> Iterator[str]:
    """Pictures are worth less than events: those that cannot be written do not make it unhealthy."""
    if stats.recording.failing:
        yield "pictures of events do not reach the disk"
    if stats.uncertain is not None and stats.uncertain.failing:
        yield "windows for labelling do not reach the disk"


def _description(camera: CameraStats) -> str:
    status = camera.status
    what = str(status.state) if status.picture == "ok" else f"{status.picture} picture"
    return f"{status.camera} {what}" + (f" ({status.detail})" if status.detail else "")
