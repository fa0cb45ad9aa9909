"""The files of configs/deploy that start a cluster: they parse, and start commands that exist."""

from __future__ import annotations

import argparse
import configparser
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from streamer.bus.key_store import allow, new_pair
from streamer.bus.request_client import RequestClient
from tests.helpers.bus_parts import DEADLINE, free_pair, until

DEPLOY = Path(__file__).resolve().parents[2] / "configs" / "deploy"
UNITS = ("streamer-front.service", "streamer-worker.service")
JOBS = ("streamer-front.nomad.hcl", "streamer-worker.nomad.hcl")


def parsed(words: list[str]) -> dict[str, Any]:
    """A command line as the program would read it."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    import_module(f"streamer.cli.{words[0]}").add_arguments(parser)
    return vars(parser.parse_args(words[1:]))


def unit(name: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / name)
    return parser["Service"]


def documents(name: str) -> list[Any]:
    return list(YAML(typ="safe").load_all(DEPLOY / name))


# --- systemd ---


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_a_command_that_exists(name: str) -> None:
    program, *words = shlex.split(unit(name)["ExecStart"])
    assert program == "/opt/streamer/bin/streamer"
    asked = parsed(words)
    assert asked["keys"] == "/etc/streamer/keys", "never open to other machines without keys"
    assert asked["metrics"].startswith("127.0.0.1:")


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_watched_and_may_do_little(name: str) -> None:
    service, single = unit(name), unit("streamer.service")
    for key in ("Type", "NotifyAccess", "WatchdogSec", "User", "UMask", "RestartPreventExitStatus"):
        assert service[key] == single[key]
    hard = [
        key for key in single if re.match(r"Protect|Restrict|Private|NoNew|Lock|Capab|SystemCall|Device", key)
    ]
    assert len(hard) > 15
    for key in hard:
        if key != "DeviceAllow":
            assert service[key] == single[key], key


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_a_unit(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text((DEPLOY / name).read_text().replace("/opt/streamer/bin/streamer", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in done.stderr.splitlines() if name in line]
    assert (done.returncode, complaints) == (0, [])


class Started:
    """What a unit starts, as it is written, with a test's folders and ports. Hears what systemd would."""

    def __init__(self, name: str, folder: Path, replaced: dict[str, str]) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / f"{name}.sock"))
        self.socket.settimeout(DEADLINE)
        words = unit(f"{name}.service")["ExecStart"]
        given = unit(f"{name}.service")["Environment"]
        places = {"%S": str(folder / "lib" / name), "%C": str(folder / "cache")}
        for old, new in {**replaced, **places}.items():
            words, given = words.replace(old, new), given.replace(old, new)
        own = dict(one.split("=", 1) for one in given.split())
        own |= {"NOTIFY_SOCKET": str(folder / f"{name}.sock"), "WATCHDOG_USEC": "60000000"}
        self.process = subprocess.Popen(
            shlex.split(words),
            env={**os.environ, **own}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait_until_ready(self) -> None:
        while b"READY=1" not in self.socket.recv(4096):
            assert self.process.poll() is None

    def stop(self) -> tuple[int, str]:
        """(exit code, what it said), as when systemd ends it."""
        self.process.terminate()
        said = self.process.communicate(timeout=DEADLINE)[1]
        self.socket.close()
        return self.process.returncode, said


@pytest.mark.realtime
@pytest.mark.skipif(os.name == "nt", reason="systemd is of Linux")
def test_the_units_start_a_front_and_a_worker_that_watches(tmp_path: Path) -> None:
    front_keys, worker_keys = tmp_path / "front" / "keys", tmp_path / "worker" / "keys"
    new_pair(front_keys, "server")
    new_pair(worker_keys, "client")
    shutil.copy(front_keys / "server.key", worker_keys)
    allow(front_keys, str(worker_keys / "client.key"), "worker-1")
    (tmp_path / "front" / "cameras.yaml").write_text("cameras: [{name: demo, source: demo}]\nloop: true\n")
    port = free_pair()
    program = f"{shlex.quote(sys.executable)} -m streamer"
    common = {"/opt/streamer/bin/streamer": program, "0.0.0.0:5555": f"127.0.0.1:{port}",
              ":9464": ":0", ":9465": ":0"}  # fmt: skip
    running = [Started("streamer-front", tmp_path, {**common, "/etc/streamer": str(tmp_path / "front")})]
    try:
        of_worker = {"/etc/streamer": str(tmp_path / "worker"), "${FRONT}": f"tcp://127.0.0.1:{port + 1}"}
        running.append(Started("streamer-worker", tmp_path, {**common, **of_worker}))
        for one in running:
            one.wait_until_ready()
        with RequestClient(f"tcp://127.0.0.1:{port + 1}", str(worker_keys)) as client:
            until(lambda: "demo" in client.ask("workers", DEADLINE)["cameras"])
    finally:
        ended = [one.stop() for one in reversed(running)]
    # 130: it took longer than its grace, on a busy machine, and left something behind
    assert {code for code, _ in ended} <= {0, 130}, "\n".join(said for _, said in ended)
    assert f"streamer: joined tcp://127.0.0.1:{port + 1} as " in ended[0][1]


# --- Kubernetes ---

KINDS = {
    "PersistentVolumeClaim": "v1",
    "Service": "v1",
    "Deployment": "apps/v1",
}


def test_the_schemas_of_kubernetes_accept_the_objects() -> None:
    """Run with: pip install kubernetes-validate."""
    schemas = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    found = documents("kubernetes.yaml")
    assert found
    for one in found:
        schemas.validate(one, schemas.latest_version(), strict=True)


def pods() -> dict[str, Any]:
    found = [one for one in documents("kubernetes.yaml") if one["kind"] == "Deployment"]
    return {one["metadata"]["name"]: one["spec"] for one in found}


def test_kubernetes_objects_are_of_kinds_and_versions_that_fit() -> None:
    found = documents("kubernetes.yaml")
    assert [
        (one["kind"], one["apiVersion"]) for one in found if KINDS[one["kind"]] != one["apiVersion"]
    ] == []
    assert sorted(pods()) == ["streamer-front", "streamer-worker"]


@pytest.mark.parametrize("name", ["streamer-front", "streamer-worker"])
def test_a_pod_starts_a_command_that_exists_with_what_it_mounts(name: str) -> None:
    spec = pods()[name]
    template = spec["template"]
    pod = template["spec"]
    assert spec["selector"]["matchLabels"] == template["metadata"]["labels"]
    (container,) = pod["containers"]
    asked = parsed([str(word) for word in container["args"]])
    assert asked["keys"] == "/keys"
    volumes = {volume["name"] for volume in pod["volumes"]}
    for part in (container, *pod["initContainers"]):
        assert {mount["name"] for mount in part["volumeMounts"]} <= volumes
    assert pod["securityContext"]["runAsNonRoot"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    assert asked["metrics"].endswith(f":{ports['metrics']}")


def test_there_is_one_front_and_workers_find_it() -> None:
    front = pods()["streamer-front"]
    assert (front["replicas"], front["strategy"]) == (1, {"type": "Recreate"}), "two would write one history"
    (service,) = [one for one in documents("kubernetes.yaml") if one["kind"] == "Service"]
    assert service["spec"]["selector"] == front["template"]["metadata"]["labels"]
    (worker,) = pods()["streamer-worker"]["template"]["spec"]["containers"]
    requests = next(port["port"] for port in service["spec"]["ports"] if port["name"] == "requests")
    assert parsed(worker["args"])["join"] == f"tcp://{service['metadata']['name']}:{requests}"


@pytest.mark.parametrize("name", ["streamer-front", "streamer-worker"])
def test_keys_end_up_their_owners_alone(name: str, tmp_path: Path) -> None:
    """The init container's own script, in folders of the test's."""
    (step,) = pods()[name]["template"]["spec"]["initContainers"]
    (tmp_path / "secret").mkdir()
    (tmp_path / "keys").mkdir()
    files = ("server.key", "server.key_secret", "worker.key", "client.key_secret")
    for file in files:
        (tmp_path / "secret" / file).write_text(file)
        (tmp_path / "secret" / file).chmod(0o644)
    shell, option, script = step["command"]
    for folder in ("secret", "keys"):
        script = re.sub(rf"(?<![\w/])/{folder}", str(tmp_path / folder), script)
    subprocess.run([shell, option, script], check=True)
    found = {str(file.relative_to(tmp_path / "keys")) for file in (tmp_path / "keys").rglob("*.key*")}
    joined = "allowed/worker.key" if name == "streamer-front" else "worker.key"
    assert found == {"server.key", "server.key_secret", "client.key_secret", joined}
    assert all(not (tmp_path / "keys" / file).stat().st_mode & 0o077 for file in found)


# --- Nomad and compose ---


@pytest.mark.parametrize("name", JOBS)
def test_a_nomad_job_starts_a_command_that_exists(name: str) -> None:
    text = (DEPLOY / name).read_text()
    assert text.count("{") == text.count("}")
    listed = re.search(r"args\s*=\s*\[(.*?)\]", text, re.DOTALL)
    assert listed is not None
    asked = parsed(re.findall(r'"([^"]*)"', listed.group(1)))
    assert asked["keys"] == "/etc/streamer/keys"
    declared = set(re.findall(r'variable "(\w+)"', text))
    assert set(re.findall(r"var\.(\w+)", text)) == declared


@pytest.mark.skipif(shutil.which("nomad") is None, reason="Nomad is not installed")
@pytest.mark.parametrize("name", JOBS)
def test_nomad_accepts_a_job(name: str) -> None:
    done = subprocess.run(
        ["nomad", "job", "run", "-output", "-var", "front=10.0.0.1", str(DEPLOY / name)], capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_compose_starts_a_front_and_workers_that_nobody_else_reaches() -> None:
    (found,) = documents("compose.cluster.yaml")
    services = found["services"]
    assert len(services) == 3
    for name, service in services.items():
        asked = parsed([str(word) for word in service["command"]])
        if name == "front":
            assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        else:
            assert asked["join"] == "tcp://front:5556"
            assert "ports" not in service
            assert service["hostname"] == name
    mounted = {volume.split(":")[0] for one in services.values() for volume in one["volumes"]}
    assert {name for name in mounted if "/" not in name} == set(found["volumes"])
