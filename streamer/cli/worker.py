"""`streamer worker --join ENDPOINT`: watches the cameras that a cluster's front gives to this machine."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from streamer.system import memory
from streamer.system.signals import Stopper


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer worker`."""
    parser.epilog = (
        "The front: streamer cluster cameras.yaml. docs/cluster.md shows two machines in ten lines."
    )
    parser.add_argument(
        "--join", required=True, metavar="ENDPOINT", help="where the front answers requests: tcp://FRONT:5556"
    )
    parser.add_argument("--name", default="", help="by which the front knows it (this machine's name)")
    parser.add_argument(
        "--capacity", type=int, metavar="N", help="cameras at most (as many as its model has windows for)"
    )
    parser.add_argument("--keys", metavar="FOLDER", help="with client.key_secret and the front's server.key")
    parser.add_argument(
        "--bind",
        metavar="ENDPOINT",
        help="where the front follows it (a free port of this machine)",
    )
    parser.add_argument("--state", metavar="FOLDER", help="its history (one in your state folder)")
    parser.add_argument("--metrics", default="", metavar="[HOST:]PORT", help="serve /metrics there")
    parser.add_argument("--insecure-bind", action="store_true", help="publish without encryption")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")


def run(args: argparse.Namespace) -> int:
    """Work until stopped; returns the exit code. Raises BusError, ModelError."""
    from streamer.cli.run import set_up_talk
    from streamer.cluster.worker import run_worker
    from streamer.cluster.worker_settings import WorkerSettings

    settings = WorkerSettings(
        args.join,
        args.name,
        args.capacity,
        args.keys,
        args.bind,
        args.state,
        args.metrics,
        args.insecure_bind,
    )
    memory.prepare()
    set_up_talk(args.verbose)
    for what in ("worker", "watched_cameras"):  # that it has joined, and what it is given to watch
        logging.getLogger(f"streamer.cluster.{what}").setLevel(logging.INFO)
    with Stopper() as stopper:
        abandoned = run_worker(settings, stopper.stop)
        code = stopper.exit_code
        if abandoned or stopper.signalled:  # as `run` does: a native call that hangs must not keep us
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return code
