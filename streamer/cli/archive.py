"""`streamer archive FILES... -o DIR`: what happens in recorded files, as fast as all cores or machines go."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from streamer.cli.model_options import add_model_options, configuration, videos_of
from streamer.errors import ConfigError
from streamer.system.redaction import redact
from streamer.system.terminal_text import printable

if TYPE_CHECKING:
    import threading

    from streamer.cluster.archive_jobs import Pool
    from streamer.cluster.archive_resume import ResultsFolder
    from streamer.config import Config

MOST_WORKERS = 256
STOPPED = 130  # the exit code where recordings are left, whichever signal it was: a batch system must not
# take it for done


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer archive`."""
    parser.epilog = (
        "Each FILE becomes DIR/NAME.jsonl: its predictions and events, as `run FILE --pace fast` has them.\n"
        "The same command again goes on where it was stopped. Exit code 3: some recordings failed, and\n"
        "DIR/report.json says why. 130: stopped, and some are left. See docs/archive.md."
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="recorded videos, or folders of them")
    parser.add_argument("-o", "--out", required=True, metavar="DIR", help="where the results go")
    parser.add_argument("--workers", type=int, metavar="N",
                        help="processes (default: one a core, one where there is a GPU)")  # fmt: skip
    parser.add_argument("--ray", metavar="auto|ADDRESS", help="play them on the machines of a Ray cluster")
    parser.add_argument("--again", action="store_true",
                        help="make results anew that were made with other settings")  # fmt: skip
    parser.add_argument("--config", metavar="FILE", help="a config file: its models, events and capture")
    add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Play everything that has no result yet.

    Raises:
        ConfigError, ModelError, DatasetError: nothing can be played so.
    """
    from streamer.cluster.archive_resume import ResultsFolder
    from streamer.cluster.archive_settings import for_archive
    from streamer.system.signals import Stopper

    if args.workers is not None and not 1 <= args.workers <= MOST_WORKERS:
        raise ConfigError(f"--workers {args.workers}: 1 to {MOST_WORKERS}")
    config = for_archive(configuration(args))
    recordings = [video for path in args.files for video in videos_of(Path(path).expanduser(), "archive")]
    with Stopper() as stopper, ResultsFolder(Path(args.out)) as folder:
        return _play(args, config, recordings, folder, stopper.stop)


def _play(
    args: argparse.Namespace,
    config: Config,
    recordings: list[Path],
    folder: ResultsFolder,
    stop: threading.Event,
) -> int:
    from streamer.cli.command_line import EXIT_SOURCE
    from streamer.cluster import archive_progress
    from streamer.cluster.archive_run import ArchiveRun

    plan = folder.plan(recordings, config, again=args.again)
    began = time.monotonic()
    archive = ArchiveRun(folder, plan, config)
    if plan.jobs:
        pool, most = _pool(args, len(plan.jobs))
        try:
            archive.run(pool, most, stop, explicit=args.workers is not None or args.ray is not None)
        finally:
            pool.close()
    stopped = stop.is_set()
    told = archive_progress.report(plan, archive.progress, took=time.monotonic() - began, stopped=stopped)
    file = folder.report(told)
    for line in [*archive_progress.lines(told, plan), f"report: {file}"]:
        print(printable(redact(line)))
    sys.stdout.flush()
    if told["waiting"]:
        return STOPPED
    return EXIT_SOURCE if told["failed"] else 0


def _pool(args: argparse.Namespace, jobs: int) -> tuple[Pool, int]:
    """(where recordings are played, players at most)."""
    if args.ray is not None:
        from streamer.cluster.ray_pool import RayPool

        ray_pool = RayPool(args.ray, device=getattr(args, "model.device"))
        return ray_pool, min(jobs, args.workers or ray_pool.room)
    from streamer.cluster.local_pool import LocalPool
    from streamer.system import threads

    cores = threads.available_cores()
    most = min(jobs, args.workers or cores)
    # Each has its share of the cores; where the user has decided (OMP_NUM_THREADS), that stays.
    return LocalPool(None if threads.for_model() is None else max(1, cores // most)), most
