"""The files of deploy/: they keep the schemas of Compose and Kubernetes, and say of this program what is so."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import typer
import yaml

from app import settings
from app.cli.main import main
from app.setting_types import parse_duration
from tests.support.server import ROOT

HERE = Path(__file__).parent
DEPLOY = ROOT / "deploy"
GROUPS = {"v1": "core.v1", "networking.k8s.io/v1": "networking.v1"}
"""The names of API groups in the schema where they are not those of `apiVersion` with a dot."""

END_SECONDS = 15  # within which the runs of a worker end that it does not wait for
DIALECT = "https://json-schema.org/draft/2020-12/schema"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = [
    manifest for file in sorted(DEPLOY.glob("kubernetes/*.yaml")) for manifest in yaml.safe_load_all(file.read_text())
]
KUBERNETES: dict[str, Any] = json.loads((HERE / "kubernetes.json").read_text())


def kubernetes(manifest: dict[str, Any]) -> list[str]:
    """Return what the API of Kubernetes would refuse; an unknown field is refused too."""
    version = manifest["apiVersion"]
    name = f"io.k8s.api.{GROUPS.get(version, version.replace('/', '.'))}.{manifest['kind']}"
    schema = {"$schema": DIALECT, **KUBERNETES, "$ref": f"#/$defs/{name}"}
    return [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(manifest)]


def compose(document: dict[str, Any]) -> list[str]:
    """Return what Compose would refuse."""
    schema = json.loads((HERE / "compose-spec.json").read_text())
    return [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(document)]


def named(kind: str, part: str) -> dict[str, Any]:
    """Return the manifest of a kind that is about servers or workers."""
    [found] = [each for each in MANIFESTS if each["kind"] == kind and f"'part': '{part}'" in str(each["spec"])]
    return found


def containers() -> Iterator[dict[str, Any]]:
    """Yield all containers of pods."""
    for manifest in MANIFESTS:
        pod = manifest["spec"].get("template", {}).get("spec", {})
        yield from pod.get("initContainers", []) + pod.get("containers", [])


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_kubernetes_takes_it(manifest: dict[str, Any]) -> None:
    assert kubernetes(manifest) == []
    [error] = kubernetes({**manifest, "spec": {**manifest["spec"], "replica": 2}})
    assert "'replica' was unexpected" in error


def test_compose_takes_it() -> None:
    assert compose(COMPOSE) == []
    assert compose({**COMPOSE, "services": {"server": {"comand": ["serve"]}}})


def test_commands_and_variables_are_those_of_the_program() -> None:
    ours = [each for each in COMPOSE["services"].values() if each["image"] == "ambient-public-api"]
    commands = [each["command"] for each in ours] + [each["args"] for each in containers()]
    group = typer.main.get_command(main)
    assert isinstance(group, typer.core.TyperGroup)
    for program, option, package, name, *options in commands:
        assert (program, option, package) == ("python", "-m", "app")
        known = {flag for each in group.commands[name].params for flag in (*each.opts, *each.secondary_opts)}
        assert set(options) <= known
    variables = {name for each in ours for name in each["environment"]}
    variables |= {each["name"] for container in containers() for each in container.get("env", [])}
    assert variables <= {setting.name for setting in settings.reference()}
    assert {command[3] for command in commands} == {"serve", "worker", "migrate"}


@pytest.mark.parametrize(("kind", "part"), [("Deployment", "server"), ("StatefulSet", "worker")])
def test_what_selects_pods_selects_those_of_the_part(kind: str, part: str) -> None:
    pods = named(kind, part)["spec"]
    labels = pods["template"]["metadata"]["labels"]
    budget, service = named("PodDisruptionBudget", part)["spec"], named("Service", part)["spec"]
    assert labels == pods["selector"]["matchLabels"] == budget["selector"]["matchLabels"] == service["selector"]


def test_each_worker_has_a_disk_of_its_own() -> None:
    services = COMPOSE["services"]
    disks = [volume for name in services if name.startswith("worker-") for volume in services[name]["volumes"]]
    assert len(disks) == len(set(disks)) == 2
    assert {disk.partition(":")[0] for disk in disks} <= set(COMPOSE["volumes"])
    pods = named("StatefulSet", "worker")["spec"]
    [mount] = pods["template"]["spec"]["containers"][0]["volumeMounts"]
    assert [claim["metadata"]["name"] for claim in pods["volumeClaimTemplates"]] == [mount["name"]]


def test_a_worker_has_the_time_to_drain() -> None:
    pods = named("StatefulSet", "worker")["spec"]["template"]["spec"]
    [drain] = [each["value"] for each in pods["containers"][0]["env"] if each["name"] == "WORKER_DRAIN"]
    assert pods["terminationGracePeriodSeconds"] >= parse_duration(drain) + END_SECONDS
    worker = COMPOSE["services"]["worker-1"]
    assert parse_duration(worker["stop_grace_period"]) >= (
        parse_duration(worker["environment"]["WORKER_DRAIN"]) + END_SECONDS
    )


def test_probes_reach_the_port_of_health() -> None:
    [container] = named("StatefulSet", "worker")["spec"]["template"]["spec"]["containers"]
    [port] = [each["value"] for each in container["env"] if each["name"] == "WORKER_HEALTH_PORT"]
    assert {"name": "health", "containerPort": int(port)} in container["ports"]
    for container in containers():
        names = {each["name"] for each in container.get("ports", [])}
        probed = {value["httpGet"]["port"] for name, value in container.items() if name.endswith("Probe")}
        assert probed <= names
        assert probed or "ports" not in container
    assert COMPOSE["services"]["worker-1"]["environment"]["WORKER_HEALTH_PORT"] == 8081
