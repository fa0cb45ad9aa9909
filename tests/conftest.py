"""What every test gets: folders of its own, few threads, and no thread left behind."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, settings

from streamer.system import install_extras, redaction
from tests.helpers import made_once, warm_processes

pytest_plugins = ["tests.helpers.time_limits"]

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported anywhere
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests share two cores with the program they start

# the same examples in every run, however slow the machine is just then
settings.register_profile(
    "streamer", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("streamer")

LEFT_OUT = {"modules": 0}  # how many modules full collections pass by
JOIN = 5.0  # seconds a thread may take to end after its test

# seconds of a test, roughly; one that takes far longer says so: `realtime(about=15)`
COST = {"browser": 1.5, "rtsp": 3.0, "training": 3.0, "realtime": 2.0}


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the process that the workers inherit their environment from
        os.environ[made_once.FOLDER] = mkdtemp(prefix="streamer-tests-")
        os.environ[made_once.SESSION] = str(os.getpid())
    made_once.environment.update(os.environ)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ[made_once.FOLDER], ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_sessionstart(session: pytest.Session) -> Iterator[None]:
    """The processes that xdist shares the files out to are forked: each would import 4 s of libraries.

    Where coverage is measured they are started: what an import runs would be missing.
    """
    if session.config.pluginmanager.has_plugin("_cov"):
        return (yield)
    with warm_processes.for_what_is_started_meanwhile():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported now stays: looking for what could be freed would take 1.3 s of 6."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow files first: a file is one worker's, and the last one should not be waited for long."""
    cost: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        marks = [mark for mark in item.iter_markers() if mark.name in COST]
        cost[item.path] += 0.1 + max(
            (mark.kwargs.get("about", COST[mark.name]) for mark in marks), default=0.0
        )
    items.sort(key=lambda item: -cost[item.path])


def pytest_collection_finish() -> None:
    leave_out_of_collections()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    try:
        return (yield)
    finally:
        if (
            nextitem is not None
            and nextitem.path != item.path
            and len(sys.modules) > LEFT_OUT["modules"] + 50
        ):
            leave_out_of_collections()


def leave_out_of_collections() -> None:
    """What imports have made lives to the end: full collections, which many tests ask for, pass it by.

    After a file that has imported a library it is done again: each collection would take 0.1 s then.
    """
    gc.collect()
    gc.freeze()
    LEFT_OUT["modules"] = len(sys.modules)


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Journals, caches and keys of a test stay in its own folder; returns that folder."""
    home = tmp_path_factory.mktemp("home")
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(home / variable.lower()))
    monkeypatch.setenv("PULSE_RUNTIME_PATH", str(home / "pulse"))  # a voice would leave a folder in /tmp
    for variable in [name for name in os.environ if name.startswith("STREAMER_")]:
        monkeypatch.delenv(variable)
    return home


@pytest.fixture(autouse=True)
def nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that plays a missing package, in the .venv of the checkout, installs nothing there."""
    monkeypatch.setattr(install_extras, "own_environment", lambda: None)


@pytest.fixture(autouse=True)
def secrets_of_other_tests_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test calls a password is an ordinary word in the next."""
    monkeypatch.setattr(redaction, "_secrets", set())
    monkeypatch.setattr(redaction, "_known", ())


@pytest.fixture(autouse=True)
def warnings_are_heard() -> None:
    """Some library or other makes the root logger or its handlers deaf; `caplog` hears what they hear."""
    logging.disable(logging.NOTSET)
    root = logging.getLogger()
    if root.level != logging.WARNING:  # setting it empties a cache that takes time to fill
        root.setLevel(logging.WARNING)
    for handler in root.handlers:
        handler.setLevel(logging.NOTSET)


@pytest.fixture
def warnings_of_streamer() -> Iterator[list[str]]:
    """What streamer's own loggers say, heard at their source."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("streamer")
    before = logger.level
    logger.setLevel(logging.WARNING)
    logger.addHandler(handler)
    yield said
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """Fails when a thread that the test started still runs after it."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(JOIN)
    names = sorted(thread.name for thread in left if thread.is_alive())
    assert not names, f"threads left behind: {', '.join(names)}"
