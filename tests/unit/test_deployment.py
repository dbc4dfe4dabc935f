"""What people copy: the files under docker/."""

from __future__ import annotations

import json
import os
import re
import runpy
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import Connection

import likepion_provider
from likepion_provider import get_provider_info
from likepion_provider.hooks.address import base_url_of
from likepion_provider.hooks.connections import allows_private_feeds, find

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
        if "LIKEPION_IMAGE" not in service["image"]:
            assert re.search(r":\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}$", service["image"]), name
        assert service["user"].split(":")[0] not in ("", "0", "root"), name


def test_one_service_builds_the_image_and_the_others_use_it(compose: dict[str, Any]) -> None:
    """Newer Compose builds in parallel, and refuses a second build under one name."""
    services = compose["services"]
    (builder,) = [name for name, each in services.items() if "build" in each]
    assert builder in one_shots(services)
    assert services[builder]["image"] == services["worker"]["image"] == compose["x-airflow"]["image"]


def test_no_service_takes_the_whole_machine(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["deploy"]["resources"]["limits"].keys() == {"memory", "cpus"}, name


def test_the_example_says_where_the_manager_is_and_keeps_a_dollar(compose: dict[str, Any]) -> None:
    lines = (DOCKER / ".env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.removeprefix("# ").split("=", 1) for line in lines if re.match(r"(# )?[A-Z_]+=", line))
    quoted = example["AIRFLOW_CONN_LIKEPION_DEFAULT"]
    assert quoted[0] == quoted[-1] == "'", "Compose replaces what begins with $ but for single quotes"
    key = r"a$b${c}$$\u0027"
    told = json.loads(quoted[1:-1].replace("<API key>", key))
    assert Connection.from_json(json.dumps(told)).password == "a$b${c}$$'"
    assert example["LIKEPION_PAUSED"] == "true"
    assert "${LIKEPION_PAUSED:-true}" in compose["x-airflow"]["environment"].values()
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    assert {*example} <= {*re.findall(r"\$\{(\w+):", text)}


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


@pytest.fixture
def sandbox_env() -> dict[str, str]:
    lines = (DOCKER / "sandbox.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_nothing_of_the_sandbox_is_in_a_deployment_without_it(
    compose: dict[str, Any], sandbox_env: dict[str, str]
) -> None:
    told = compose["x-airflow"]["environment"]
    assert told["AIRFLOW_CONN_LIKEPION_DEFAULT"].startswith("${AIRFLOW_CONN_LIKEPION_DEFAULT:?")
    assert told["AIRFLOW_CONN_LIKEPION_PLATFORM_SANDBOX_SITE"] == "${AIRFLOW_CONN_LIKEPION_PLATFORM_SANDBOX_SITE:-}"
    assert sandbox_env["COMPOSE_PROFILES"] == "sandbox"
    # Its volumes, and so its journal, are not those of a deployment.
    assert sandbox_env["COMPOSE_PROJECT_NAME"] not in ("", compose["name"])
    assert sandbox_env["LIKEPION_PAUSED"] == "false"
    without = {name: each for name, each in compose["services"].items() if "profiles" not in each}
    assert not re.search(r"sandbox-key|808[123]|sandbox:", str(without))


def test_a_connection_that_is_empty_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_PLATFORM_SANDBOX_SITE", "")
    assert find("likepion_platform_sandbox_site") is None


def test_the_sandboxs_connections_lead_to_it(compose: dict[str, Any], sandbox_env: dict[str, str]) -> None:
    told = sandbox_env
    command = [*compose["services"]["sandbox"]["entrypoint"], *compose["services"]["sandbox"]["command"]]
    listens = dict(pairwise(command))
    manager = Connection.from_uri(told["AIRFLOW_CONN_LIKEPION_DEFAULT"], conn_id="manager")
    assert base_url_of(manager) == f"http://sandbox:{listens['--manager-port']}"
    assert manager.password == listens["--api-key"]
    assert allows_private_feeds(manager)
    site = Connection.from_uri(told["AIRFLOW_CONN_LIKEPION_PLATFORM_SANDBOX_SITE"], conn_id="site")
    assert base_url_of(site) == f"http://sandbox:{listens['--site-port']}"


def test_secrets_are_made_once_and_are_all_that_the_services_read(compose: dict[str, Any], tmp_path: Path) -> None:
    make = runpy.run_path(str(DOCKER / "make_secrets.py"))["make"]
    make(tmp_path, os.getgid())
    made = secrets_in(tmp_path)
    make(tmp_path, os.getgid())
    assert secrets_in(tmp_path) == made
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    read = set(re.findall(r"(?:/opt/airflow/secrets|exec api-server cat secrets)/(\w+/[\w.]+)", text))
    assert read | {"postgres/password", "redis/password"} == made.keys()
    names = ("postgres/password", "redis/password", "servers/jwt", "airflow/api", "admin/password", "airflow/fernet")
    secret = [made[name] for name in names]
    assert len({*secret}) == 6
    assert all(len(each) >= 32 for each in secret)
    assert not any(each in text for each in secret)


def secrets_in(folder: Path) -> dict[str, str]:
    return {str(each.relative_to(folder)): each.read_text() for each in folder.rglob("*") if each.is_file()}


def test_a_secret_is_readable_by_its_owner_or_its_servers_group_only(tmp_path: Path) -> None:
    runpy.run_path(str(DOCKER / "make_secrets.py"))["make"](tmp_path, os.getgid())
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in secrets_in(tmp_path)}
    assert {name for name, mode in modes.items() if mode == 0o440} == {"postgres/password", "redis/password"}
    assert {mode for name, mode in modes.items() if "/password" not in name} == {0o400}
    assert modes["admin/password"] == 0o400


def test_a_service_mounts_no_secret_but_its_own(compose: dict[str, Any]) -> None:
    mounted = {
        name: {each.split(":")[0].removesuffix("-secrets") for each in service["volumes"] if "-secrets:" in each}
        for name, service in compose["services"].items()
    }
    servers = {"airflow", "servers"}
    assert mounted == {
        "secrets": {"postgres", "redis", "airflow", "servers", "admin"},
        "postgres": {"postgres"},
        "redis": {"redis"},
        "init": servers | {"admin"},
        "api-server": servers | {"admin"},
        "scheduler": servers,
        "dag-processor": servers,
        "triggerer": servers,
        "worker": {"airflow"},
        "sandbox": set(),
    }
    for name, service in compose["services"].items():
        told = str(service.get("environment", {}))
        for folder in re.findall(r"/opt/airflow/secrets/(\w+)/", told):
            assert folder in mounted[name], f"{name} is told of a secret that it has not"
        if name != "secrets":
            assert all(each.endswith(":ro") for each in service["volumes"] if "-secrets:" in each)


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
