"""What configs/deploy ships: names that exist, units that parse, images that hold what they need."""

from __future__ import annotations

import argparse
import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from streamer.cli import run as run_command
from streamer.cli.command_line import COMMANDS
from streamer.config import BusConfig, CameraConfig, Config, MetricsConfig, Pace
from streamer.metrics.monitoring import Monitoring
from streamer.metrics.prometheus import registry
from streamer.pipeline.pipeline import Pipeline
from streamer.testing import FakeRecognizer
from streamer.types import ClusterStats, Stats
from tests.helpers.bus_parts import FREE
from tests.helpers.http_get import get
from tests.helpers.pipelines import QUIET

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "configs" / "deploy"
DOCKERFILES = ("Dockerfile.cpu", "Dockerfile.cuda")
TARGET = {"instance", "job"}  # labels that Prometheus adds to everything it scrapes


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Sample name -> its labels, of a real run with everything on; CUDA is the only thing pretended."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_initialized", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: 1)
        patch.setattr(torch.cuda, "mem_get_info", lambda index: (3, 10))
        patch.setattr(torch.cuda, "memory_reserved", lambda index: 2)
        text = _scrape(tmp_path_factory.mktemp("uncertain"))
    found: dict[str, set[str]] = {}
    front = Stats(0.0, 0.0, 0.0, cluster=ClusterStats({"w1": "working"}, {"cam0": "unplaced"}))
    of_front = generate_latest(registry(lambda: front, MetricsConfig())).decode()
    for family in (
        *text_string_to_metric_families(text),
        *text_string_to_metric_families(of_front),
    ):
        ending = "_total" if family.type == "counter" else ""
        found.setdefault(family.name + ending, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    # counted only when they happen, so a healthy run has no samples; these are their labels
    found["streamer_windows_skipped_total"] |= {"camera", "model", "cause"}
    found["streamer_frames_dropped_total"] |= {"camera", "cause"}
    return found


def _scrape(folder: Path) -> str:
    """The metrics of a run in which everything has happened once."""
    config = Config.model_validate(
        {
            **QUIET,
            "bus": BusConfig(bind=FREE),
            "pace": Pace.REALTIME,
            "cameras": (CameraConfig(name="demo", source="demo"),),
            "loop": True,
            "metrics": MetricsConfig(listen="127.0.0.1:0"),
            "uncertain": {"folder": str(folder), "margin": 1.0, "least": 0.0, "every": 0.0, "scores": "raw"},
        }
    )
    stop, results = threading.Event(), []
    pipeline = Pipeline(config, recognizer=FakeRecognizer(lambda _: (0.6, 0.4)))
    with pipeline, Monitoring(config.metrics, pipeline.stats) as monitoring:
        running = threading.Thread(target=lambda: results.append(pipeline.run(stop)))
        running.start()
        text, waiting = "", threading.Event()
        for _ in range(400):
            text = get(monitoring.address, "/metrics")[1]
            if "streamer_events_total{" in text and 'streamer_uncertain_saved_total{reason="close"}' in text:
                break
            waiting.wait(0.05)
        stop.set()
        running.join(20)
    assert [result.ok for result in results] == [True]
    return text


def expressions() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of the dashboard and the alerts."""
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]
    for group in YAML(typ="safe").load(DEPLOY / "alerts.yml")["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


@pytest.mark.realtime
@pytest.mark.parametrize(
    ("where", "expression"), [pytest.param(w, e, id=f"{w}: {e[:40]}") for w, e in expressions()]
)
def test_every_expression_names_metrics_and_labels_that_exist(
    where: str, expression: str, scraped: dict[str, set[str]]
) -> None:
    names = re.findall(r"\b(?:streamer|process)_[a-z0-9_]+", expression)
    assert names or "up{" in expression, f"{where} asks for nothing of ours"
    for name in names:
        assert name in scraped, f"{where}: {name} is not exported"
    for name, selector in re.findall(r"\b((?:streamer|process)_[a-z0-9_]+)\{([^}]*)\}", expression):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
            assert label in scraped[name] | TARGET, f"{where}: {name} has no label {label}"
    known = set().union(*(scraped[name] for name in names)) | TARGET | {"le"}
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        for label in re.split(r",\s*", group):
            assert label in known, f"{where}: no metric here has a label {label}"


def test_legends_name_labels_that_survive_the_expression() -> None:
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            groups = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert not groups or label in groups[0], (panel["title"], label)


def test_the_dashboard_can_be_imported() -> None:
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) >= 15
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"


@pytest.mark.realtime
def test_every_metric_is_in_the_document(scraped: dict[str, set[str]]) -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in scraped if name.startswith("streamer_")}
    missing = sorted(name for name in ours if f"`{name}`" not in text)
    assert not missing, f"say in docs/monitoring.md what these are: {missing}"
    written = set(re.findall(r"`(streamer_[a-z0-9_]+)`", text))
    assert not sorted(written - ours), "and these are not exported"


def test_prometheus_takes_the_examples(tmp_path: Path) -> None:
    config = YAML(typ="safe").load(DEPLOY / "prometheus.yml")
    assert [DEPLOY / name for name in config["rule_files"] if (DEPLOY / name).is_file()]
    assert config["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:9464"]
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; the files parse as YAML")
    for name in ("prometheus.yml", "alerts.yml", "grafana-dashboard.json"):
        shutil.copy(DEPLOY / name, tmp_path)
    rules = [
        {"record": f"dashboard:{number}", "expr": re.sub(r"\$__\w+", "1m", expression).replace("$", "")}
        for number, (_, expression) in enumerate(expressions())
        if "label_values" not in expression
    ]
    (tmp_path / "dashboard.yml").write_text(json.dumps({"groups": [{"name": "x", "rules": rules}]}))
    for words in (["config", "prometheus.yml"], ["rules", "dashboard.yml"]):
        done = subprocess.run([promtool, "check", *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


# --- systemd ---


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / "streamer.service")
    return parser


def test_the_service_starts_a_command_that_exists() -> None:
    program, command, *words = shlex.split(unit()["Service"]["ExecStart"])
    assert (program, command) == ("/opt/streamer/bin/streamer", "run")
    parser = argparse.ArgumentParser()
    run_command.add_arguments(parser)
    args = vars(parser.parse_intermixed_args(words))
    assert (args["config"], args["ui"]) == ("/etc/streamer/cameras.yaml", "none")
    assert args["metrics.listen"] == "127.0.0.1:9464"


def test_the_service_says_when_it_is_ready_and_is_watched() -> None:
    service = unit()["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert float(service["WatchdogSec"]) > MetricsConfig().stuck_after, "health must have its chance to judge"
    assert service["RestartPreventExitStatus"] == "2"


def test_the_service_may_do_little() -> None:
    service = unit()["Service"]
    assert service["User"] == "streamer"
    wanted = {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
              "CapabilityBoundingSet": "", "DevicePolicy": "closed", "UMask": "0077"}  # fmt: skip
    assert {key: service[key] for key in wanted} == wanted
    assert service["DeviceAllow"] == "char-video4linux rw"
    assert "MemoryDenyWriteExecute" not in service, "torch compiles code"


BESIDE = ("web", "mqtt", "speak")


def parsed(words: list[str]) -> argparse.Namespace:
    """A command's words as the program takes them."""
    command, *rest = [word for word in words if word != "--no-install"]
    parser = argparse.ArgumentParser()
    import_module(COMMANDS[command].module).add_arguments(parser)
    return parser.parse_args(rest)


@pytest.mark.parametrize("name", BESIDE)
def test_the_services_beside_it_start_commands_that_exist(name: str) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / f"streamer-{name}.service")
    program, *words = shlex.split(parser["Service"]["ExecStart"])
    assert (program, words[0]) == ("/opt/streamer/bin/streamer", name)
    assert "--no-install" in words, "a service does not change its environment"
    assert parsed(words)
    for key in ("User", "NoNewPrivileges", "ProtectSystem", "ProtectHome", "CapabilityBoundingSet"):
        assert parser["Service"][key] == unit()["Service"][key]


def test_compose_starts_commands_that_exist_in_an_image_that_has_what_they_need() -> None:
    compose = YAML(typ="safe").load(DEPLOY / "compose.yaml")
    services = compose["services"]
    assert set(services) == {"run", *BESIDE}
    for name, service in services.items():
        words = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in service["command"]]
        assert words[0] == name
        assert parsed(words)
    build = services["run"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve().is_file()
    assert {"web", "mqtt", "metrics", "video"} <= set(build["args"]["EXTRAS"].split(","))
    assert (DEPLOY / "../cameras.yaml").is_file()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit_name", ["streamer", *(f"streamer-{name}" for name in BESIDE)])
def test_systemd_itself_accepts_the_service(tmp_path: Path, unit_name: str) -> None:
    file = tmp_path / f"{unit_name}.service"
    text = (DEPLOY / file.name).read_text()
    file.write_text(
        text.replace("/opt/streamer/bin/streamer", sys.executable)
    )  # it looks whether that is there
    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in done.stderr.splitlines() if file.name in line]
    assert (done.returncode, complaints) == (0, [])


# --- containers ---


def instructions(name: str) -> list[tuple[str, str]]:
    text = (DEPLOY / name).read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [(line.split()[0], line.split(None, 1)[1]) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_is_pinned_not_root_and_watched(name: str) -> None:
    found = instructions(name)
    for base in (value.split()[0] for word, value in found if word == "FROM"):
        assert re.fullmatch(r"[\w./-]+:\d[\w.-]+", base), f"{base} is not pinned by a tag"
    users = [value for word, value in found if word == "USER"]
    assert users
    assert users[-1].split(":")[0] not in ("0", "root")
    assert any(word == "HEALTHCHECK" and "/healthz" in value for word, value in found)
    assert any("--constraint configs/constraints.txt" in value for word, value in found if word == "RUN")
    assert not [value for _, value in found if re.search(r"password|token|secret", value, re.IGNORECASE)]
    last = dict(found)
    assert json.loads(last["ENTRYPOINT"]) == ["/opt/streamer/bin/streamer"]
    command, *words = json.loads(last["CMD"])
    assert command == "run"
    parser = argparse.ArgumentParser()
    run_command.add_arguments(parser)
    parser.parse_intermixed_args(words)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_asks_for_extras_that_exist(name: str) -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = next(value for word, value in instructions(name) if word == "ARG" and value.startswith("EXTRAS="))
    assert set(asked.removeprefix("EXTRAS=").split(",")) <= set(extras)
    assert "metrics" in asked, "the health check needs them"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_gets_all_files_of_the_package(name: str) -> None:
    """What is copied is let through by .dockerignore, and links of the package end in what is copied."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = []
    for word, value in instructions(name):
        if word == "COPY" and "--from" not in value:
            copied += value.split()[:-1]
    assert sorted(copied) == sorted(allowed)
    for source in copied:
        assert (ROOT / source).exists()
    trees = [(ROOT / source).resolve() for source in copied]
    for path in (ROOT / "streamer").rglob("*"):
        target = path.resolve()
        assert any(target == tree or tree in target.parents for tree in trees), (
            f"{path} points out of the image"
        )


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_has_nothing_to_say(name: str) -> None:
    done = subprocess.run(["hadolint", str(DEPLOY / name)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_kept_out_of_images() -> None:
    lines: list[Any] = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*", "everything, but for what is named"
    assert not [line for line in lines if line.startswith(("!.git", "!keys", "!.venv", "!runs"))]
