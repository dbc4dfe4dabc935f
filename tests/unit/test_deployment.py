"""What people copy: the files under docker/."""

from __future__ import annotations

import re
import runpy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import Connection

import likepion_provider
from likepion_provider import get_provider_info
from likepion_provider.hooks.address import base_url_of
from likepion_provider.hooks.connections import allows_private_feeds

DOCKER = Path(__file__).parents[2] / "docker"


@pytest.fixture
def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    return read


@pytest.fixture
def helm() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DOCKER / "helm-values.yaml").read_text(encoding="utf-8"))
    return read


def one_shots(services: dict[str, Any]) -> set[str]:
    return {name for name, each in services.items() if each.get("restart") == "no"}


def test_every_service_is_pinned_and_not_root(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert re.search(r":[\w.-]*\d+\.\d+", service["image"]), name
        assert service["user"].split(":")[0] not in ("", "0", "root"), name


def test_what_lasts_has_a_health_check_and_restarts(compose: dict[str, Any]) -> None:
    services = compose["services"]
    lasting = services.keys() - one_shots(services)
    assert one_shots(services) == {"secrets", "init"}
    for name in lasting:
        assert services[name]["healthcheck"]["test"], name
        assert services[name]["restart"] == "always", name


def test_what_ends_is_waited_for_or_up_with_wait_would_fail(compose: dict[str, Any]) -> None:
    waited_for = {
        name
        for service in compose["services"].values()
        for name, how in service["depends_on"].items()
        if how["condition"] == "service_completed_successfully"
    }
    assert waited_for == one_shots(compose["services"])


def test_only_the_sandbox_is_optional_and_ports_are_loopbacks(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert [name for name, each in services.items() if "profiles" in each] == ["sandbox"]
    assert all(port.startswith("127.0.0.1:") for each in services.values() for port in each.get("ports", []))


def test_the_connections_lead_to_the_sandbox_unless_the_caller_names_others(compose: dict[str, Any]) -> None:
    told = compose["x-airflow"]["environment"]
    command = [*compose["services"]["sandbox"]["entrypoint"], *compose["services"]["sandbox"]["command"]]
    listens = dict(pairwise(command))
    default = re.fullmatch(r"\$\{AIRFLOW_CONN_LIKEPION_DEFAULT:-(.*)\}", told["AIRFLOW_CONN_LIKEPION_DEFAULT"])
    assert default
    manager = Connection.from_uri(default[1], conn_id="manager")
    assert base_url_of(manager) == f"http://sandbox:{listens['--manager-port']}"
    assert manager.password == listens["--api-key"]
    assert allows_private_feeds(manager)
    site = Connection.from_uri(told["AIRFLOW_CONN_LIKEPION_PLATFORM_SANDBOX_SITE"], conn_id="site")
    assert base_url_of(site) == f"http://sandbox:{listens['--site-port']}"


def test_secrets_are_made_once_and_are_all_that_the_services_read(compose: dict[str, Any], tmp_path: Path) -> None:
    make = runpy.run_path(str(DOCKER / "make_secrets.py"))["make"]
    make(tmp_path)
    made = {each.name: each.read_text() for each in tmp_path.iterdir()}
    make(tmp_path)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == made
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    read = set(re.findall(r"(?:/opt/airflow/secrets|/run/likepion|exec api-server cat secrets)/([\w.]+)", text))
    assert read <= made.keys()
    secret = [made[name] for name in ("postgres", "redis", "jwt", "api", "admin", "fernet")]
    assert len({*secret}) == 6
    assert all(len(each) >= 32 for each in secret)
    assert not any(each in text for each in secret)


def test_the_image_is_named_after_the_version(compose: dict[str, Any], helm: dict[str, Any]) -> None:
    assert compose["x-airflow"]["image"].endswith(f":{likepion_provider.__version__}}}")
    assert helm["images"]["airflow"]["tag"] == likepion_provider.__version__
    base = re.search(r"apache/airflow:([\d.]+)-", (DOCKER / "Dockerfile").read_text(encoding="utf-8"))
    assert base
    assert base[1] == helm["airflowVersion"]


def test_both_deployments_notice_a_dead_worker_within_a_claim(compose: dict[str, Any], helm: dict[str, Any]) -> None:
    name = "task_instance_heartbeat_timeout"
    told = compose["x-airflow"]["environment"][f"AIRFLOW__SCHEDULER__{name.upper()}"]
    assert told == helm["config"]["scheduler"][name]
    assert int(told) < 300


def test_the_options_that_they_set_are_the_providers(compose: dict[str, Any], helm: dict[str, Any]) -> None:
    options = get_provider_info()["config"]["likepion"]["options"].keys()
    told = {name.split("__")[2].lower() for name in compose["x-airflow"]["environment"] if "__LIKEPION__" in name}
    assert told == {"pool"}
    assert told | helm["config"]["likepion"].keys() <= options


def test_helm_takes_every_secret_from_the_cluster(helm: dict[str, Any]) -> None:
    text = (DOCKER / "helm-values.yaml").read_text(encoding="utf-8")
    named = {helm["data"]["metadataSecretName"], helm["fernetKeySecretName"], helm["jwtSecretName"]}
    named |= {helm["apiSecretKeySecretName"], yaml.safe_load(helm["extraEnvFrom"])[0]["secretRef"]["name"]}
    assert {line.split()[1] for line in text.splitlines() if line.startswith("#   likepion-")} == named
    assert helm["postgresql"] == {"enabled": False}
