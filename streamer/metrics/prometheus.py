"""The program's `Stats` as Prometheus metrics, made when they are scraped.

Names follow Prometheus' conventions (prometheus.io/docs/practices/naming): seconds and bytes, `_total` for
what only grows, one meaning a name. Labels are cameras, models, causes, states, and the labels of events, of
which at most `counters.LABELS` are told apart.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from streamer import __version__
from streamer.metrics.counters import BOUNDS
from streamer.metrics.health import judge
from streamer.system.install_extras import need
from streamer.types import CameraState, CameraStats, Histogram, Stats

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from streamer.config import MetricsConfig

STAGES = {
    "preprocess": "Preparing the pictures of one window for the model.",
    "inference": "The model's part of one window.",
    "capture_to_publish": "From the capture of a window's newest frame to handing its scores to the bus.",
}
STATES = tuple(map(str, CameraState))
WORKER_STATES = ("joining", "idle", "working", "draining", "drained", "unheard", "lost", "left")
PICTURES = ("ok", "frozen", "black", "grey")
Series = Iterable[tuple[tuple[str, ...], float]]  # values of the labels, value


def registry(ask: Callable[[], Stats], config: MetricsConfig) -> CollectorRegistry:
    """A registry of its own (nothing that other libraries register appears in it).

    Raises:
        ConfigError: prometheus-client is missing.
    """
    need("metrics", "the page of metrics")
    from prometheus_client import CollectorRegistry, ProcessCollector

    made = CollectorRegistry()
    made.register(_Collector(ask, config))
    ProcessCollector(registry=made)
    return made


class _Collector:
    """Asked once a scrape."""

    def __init__(self, ask: Callable[[], Stats], config: MetricsConfig) -> None:
        self._ask, self._config = ask, config

    def describe(self) -> Iterable[Metric]:
        """Nothing is promised before the first scrape; without this, registering would be one."""
        return ()

    def collect(self) -> Iterator[Metric]:
        stats = self._ask()
        yield from _program(stats, self._config)
        yield from _cameras(stats)
        yield from _windows(stats)
        yield from _latencies(stats)
        yield from _bus(stats)
        yield from _cluster(stats)
        yield from _saved(stats)
        yield from _device()


def _gauge(name: str, text: str, labels: tuple[str, ...], series: Series) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"streamer_{name}", text, labels=labels)
    for values, value in series:
        family.add_metric(values, value)
    return family


def _counter(name: str, text: str, labels: tuple[str, ...], series: Series) -> Metric:
    """`name` without `_total`, which the library adds."""
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(f"streamer_{name}", text, labels=labels)
    for values, value in series:
        family.add_metric(values, value)
    return family


def _program(stats: Stats, config: MetricsConfig) -> Iterator[Metric]:
    verdict = judge(stats, config)
    yield _gauge("build_info", "The version that runs.", ("version",), [((__version__,), 1)])
    yield _gauge("healthy", "1 while /healthz answers 200.", (), [((), verdict.healthy)])
    yield _gauge("ready", "1 while /readyz answers 200.", (), [((), verdict.ready)])
    spec = stats.model
    labels = ("model", "family", "device", "precision", "engine")
    found = [] if spec is None else [((spec.name, spec.family, spec.device, spec.precision, spec.engine), 1)]
    yield _gauge("model_info", "The main model and how it runs.", labels, found)
    yield _gauge("process_threads", "Threads of the process.", (), [((), _threads())])


def _threads() -> int:
    """All threads where the system tells (native ones included), else Python's."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Threads:"))
    except (OSError, StopIteration):
        return threading.active_count()


def _cameras(stats: Stats) -> Iterator[Metric]:
    cameras = [(camera.status.camera, camera) for camera in stats.cameras]

    def each(value: Callable[[CameraStats], float | None]) -> Series:
        found = (((name,), value(camera)) for name, camera in cameras)
        return [(labels, number) for labels, number in found if number is not None]

    def causes(of: Callable[[CameraStats], Mapping[str, int]]) -> Series:
        return [((name, cause), n) for name, camera in cameras for cause, n in of(camera).items()]

    def states(all_of: Sequence[str], now: Callable[[CameraStats], str]) -> Series:
        return [((name, s), float(s == now(camera))) for name, camera in cameras for s in all_of]

    def last_frame(camera: CameraStats) -> float | None:
        newest = camera.status.newest
        return None if newest is None else stats.wall - (stats.time - newest)

    one = ("camera",)
    yield _gauge("camera_state", "1 for the state a camera is in, 0 for the others.", ("camera", "state"),
                 states(STATES, lambda c: str(c.status.state)))  # fmt: skip
    yield _gauge("camera_picture", "1 for how a camera's picture looks, 0 for the others.",
                 ("camera", "picture"), states(PICTURES, lambda c: c.status.picture))  # fmt: skip
    yield _gauge("camera_frames_per_second", "Frames that arrive, measured.", one,
                 each(lambda c: c.status.fps))  # fmt: skip
    yield _gauge("camera_last_frame_timestamp_seconds", "Unix time of a camera's newest frame.", one,
                 each(last_frame))  # fmt: skip
    yield _gauge("camera_readers", "Threads that read a camera, those that hang included.", one,
                 each(lambda c: c.readers))  # fmt: skip
    yield _gauge("camera_readers_hanging", "Of these, left behind in a call that does not return.", one,
                 each(lambda c: c.readers_hanging))  # fmt: skip
    yield _counter("camera_reconnects", "Times a camera was lost after it had run.", one,
                   each(lambda c: c.status.reconnects))  # fmt: skip
    yield _counter("frames_captured", "Frames that arrived: stored and dropped ones.", one,
                   each(lambda c: c.status.captured))  # fmt: skip
    yield _counter("frames_stored", "Frames kept for windows.", one, each(lambda c: c.status.stored))
    yield _counter("frames_dropped", "Frames not kept; cause rate: more than windows need.",
                   ("camera", "cause"), causes(lambda c: c.status.dropped))  # fmt: skip
    yield _gauge("people", "People who are followed now, where a camera follows people.", one,
                 each(lambda c: c.status.following))  # fmt: skip
    yield _counter("people_left_out", "People who were not followed; cause max: more than that were there.",
                   ("camera", "cause"), causes(lambda c: c.left_out))  # fmt: skip
    yield _gauge("events_open", "Events that go on now.", one, each(lambda c: len(c.open_events)))
    yield _counter("events", "Events that have started.", ("camera", "label"), stats.started.items())


def _windows(stats: Stats) -> Iterator[Metric]:
    both = ("camera", "model")
    models = [((camera.status.camera, one.model), one) for camera in stats.cameras for one in camera.models]
    skipped = [((*key, why), float(n)) for key, one in models for why, n in one.skipped.items()]
    yield _counter("windows_asked", "Windows that came due, one each hop.", both,
                   [(key, one.asked) for key, one in models])  # fmt: skip
    yield _counter("windows_given", "Windows that were recognised.", both,
                   [(key, one.windows) for key, one in models])  # fmt: skip
    yield _counter("windows_held", "Of these, answered by the motion gate without the model.", both,
                   [(key, one.held) for key, one in models])  # fmt: skip
    yield _counter("windows_skipped", "Windows that were not computed; cause busy: the model was.",
                   (*both, "cause"), skipped)  # fmt: skip


def _latencies(stats: Stats) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    for stage, text in STAGES.items():
        family = HistogramMetricFamily(f"streamer_{stage}_seconds", text, labels=("model",))
        for (name, model), histogram in stats.durations.items():
            if name == stage:
                family.add_metric((model,), buckets(histogram), histogram.sum)
        yield family


def buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """(upper bound, how many are not above it), as Prometheus has them."""
    bounds = [*map(str, BOUNDS), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))


def _bus(stats: Stats) -> Iterator[Metric]:
    bus = stats.publisher
    yield _gauge("bus_subscribers", "Programs connected to the bus.", (), [((), bus.subscribers)])
    yield _counter("bus_refused", "Connections refused for their key, or for having none.", (),
                   [((), bus.refused)])  # fmt: skip
    yield _counter("bus_predictions_dropped", "Predictions overtaken by newer ones, not sent.", (),
                   [((), bus.dropped)])  # fmt: skip
    yield _gauge("journal_last_event_seq", "Number of the newest event message.", (),
                 [((), bus.last_event_seq)])  # fmt: skip
    yield _gauge("journal_durable", "1 while events reach the disk.", (), [((), bus.durable)])
    waiting = sum(one.waiting_since is not None for camera in stats.cameras for one in camera.models)
    queues = {"bus": bus.waiting, "windows": waiting}
    if stats.uncertain is not None:
        queues["uncertain"] = stats.uncertain.waiting
    yield _gauge("queue_length", "What waits: messages to be sent, windows for the model, clips to be saved.",
                 ("queue",), [((name,), n) for name, n in queues.items()])  # fmt: skip


def _cluster(stats: Stats) -> Iterator[Metric]:
    """Of a front alone."""
    if (cluster := stats.cluster) is None:
        return
    cameras = [camera.status.camera for camera in stats.cameras]
    unplaced = [((name,), float(name in cluster.unplaced)) for name in sorted({*cameras, *cluster.unplaced})]
    yield _gauge("camera_unplaced", "1 for a camera that no worker watches, else 0.", ("camera",), unplaced)
    states = [((name, s), float(s == now)) for name, now in cluster.workers.items() for s in WORKER_STATES]
    yield _gauge("worker_state", "1 for the state a worker is in, 0 for the others.", ("worker", "state"),
                 states)  # fmt: skip


def _saved(stats: Stats) -> Iterator[Metric]:
    yield _counter("recording", "Pictures of events: written (snapshots, clips), and what was lost, by kind.",
                   ("kind",), [((kind,), n) for kind, n in stats.recording.counts.items()])  # fmt: skip
    if stats.uncertain is None:
        return
    saved, dropped = stats.uncertain.saved, stats.uncertain.dropped
    yield _counter("uncertain_saved", "Clips saved for labelling.", ("reason",),
                   [((reason,), n) for reason, n in saved.items()])  # fmt: skip
    yield _counter("uncertain_dropped", "Clips that were not saved.", ("cause",),
                   [((cause,), n) for cause, n in dropped.items()])  # fmt: skip


def _device() -> Iterator[Metric]:
    """Memory of CUDA devices, where the program uses them already: asking must not start CUDA."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    total, used, own = [], [], []
    for index in range(torch.cuda.device_count()):
        device = (f"cuda:{index}",)
        try:
            free, size = torch.cuda.mem_get_info(index)
        except RuntimeError:  # a device that has failed: the other numbers are wanted all the more
            continue
        total.append((device, float(size)))
        used.append((device, float(size - free)))
        own.append((device, float(torch.cuda.memory_reserved(index))))
    one = ("device",)
    yield _gauge("device_memory_total_bytes", "Memory of the device.", one, total)
    yield _gauge("device_memory_used_bytes", "Of this, in use by all programs.", one, used)
    yield _gauge("device_memory_reserved_bytes", "Of this, reserved by this program's torch.", one, own)
