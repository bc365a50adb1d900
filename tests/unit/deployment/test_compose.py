"""The stack is safe to put on the internet: rules, and that each of them can be broken."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from tests.unit.deployment.merged import DEPLOY, STACKS, Compose, files, merge, merged

PORTS: Final = {
    "local": [("127.0.0.1", "80", 8080)],
    "prod": [(None, "80", 8080), (None, "443", 8443)],
}
SERVICES: Final = {
    *("app", "registry", "postgres", "traefik", "prometheus", "alertmanager", "grafana"),
    *("node-exporter", "postgres-exporter"),
}


@pytest.fixture(scope="module", params=STACKS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compose:
    return merged(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.parametrize("stacks", [(), ("local",), ("prod",)])
def test_every_file_passes_the_compose_schema(stacks: tuple[str, ...]):
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, *files(*stacks)], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout


def test_all_services_are_there(stack: Compose):
    assert set(stack["services"]) == SERVICES


@pytest.mark.parametrize("missing", ["OLENS_DOMAIN", "OLENS_ACME_EMAIL", "OLENS_UID"])
def test_settings_without_a_default_must_be_chosen(tmp_path, missing: str):
    done = merge(tmp_path, "prod", **{missing: ""})

    assert done.returncode != 0
    assert missing in done.stderr


def test_traefik_publishes_the_ports_of_its_stack(tmp_path):
    for name, ports in PORTS.items():
        found = merged(tmp_path / name, name)["services"]["traefik"]["ports"]
        assert [(one.get("host_ip"), one["published"], one["target"]) for one in found] == ports


# Rules: each yields what breaks it.

Service = dict[str, Any]
Rule = Callable[[str, Service], Iterator[str]]


def only_traefik_publishes(name: str, service: Service) -> Iterator[str]:
    if name != "traefik":
        yield from map(str, service.get("ports", []))
    if service.get("network_mode") == "host":
        yield "the host's network"


def images_are_pinned(name: str, service: Service) -> Iterator[str]:
    image = service.get("image", "")
    if not re.fullmatch(r"[a-z0-9./-]+:v?\d+(\.\d+)+", image):
        yield image


def no_secret_is_in_sight(name: str, service: Service) -> Iterator[str]:
    values = [f"{key}={value}" for key, value in service.get("environment", {}).items()]
    command = service.get("command") or []
    for text in [*values, *([command] if isinstance(command, str) else command)]:
        key, _, value = text.partition("=")
        secret = re.search(r"(?i)password|passwd|_pass|secret|token|session_key|api_key", key)
        if secret and value and not re.fullmatch(r"/run/secrets/\w+", value):
            yield text
        if re.search(r"://[^/@\s]*:[^/@\s]+@", text):
            yield text


def there_is_a_health_check(name: str, service: Service) -> Iterator[str]:
    check = service.get("healthcheck", {})
    if not check.get("test") or check.get("disable") or check["test"][0] == "NONE":
        yield "none"


def it_restarts(name: str, service: Service) -> Iterator[str]:
    if service.get("restart") not in {"always", "unless-stopped"}:
        yield str(service.get("restart"))


def there_are_limits(name: str, service: Service) -> Iterator[str]:
    yield from (limit for limit in ("mem_limit", "pids_limit") if not service.get(limit))
    # What one gets when all want something, or at most; no more than the smallest machine has.
    if not service.get("cpu_shares") and not 0 < (service.get("cpus") or 0) <= 1:
        yield "processors"


def logs_are_rotated(name: str, service: Service) -> Iterator[str]:
    options = service.get("logging", {}).get("options", {})
    yield from (key for key in ("max-size", "max-file") if key not in options)


def it_has_no_privileges(name: str, service: Service) -> Iterator[str]:
    if service.get("privileged") or service.get("devices"):
        yield "privileged"
    if service.get("cap_drop") != ["ALL"]:
        yield "keeps capabilities"
    yield from service.get("cap_add", [])
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "may gain privileges"
    if not service.get("read_only"):
        yield "writable root"
    if service.get("pid") and name != "node-exporter":
        yield "sees the host's processes"
    if service.get("user", "").split(":")[0] in {"0", "root"}:
        yield "root"


def mounts_are_harmless(name: str, service: Service) -> Iterator[str]:
    for mount in service.get("volumes", []):
        if "docker.sock" in f"{mount['source']}{mount['target']}":
            yield str(mount)
        if mount["type"] == "bind" and not mount.get("read_only"):
            yield str(mount)
        if mount["source"] == "/" and name != "node-exporter":
            yield str(mount)


def bind(path: str, **options: object) -> dict[str, object]:
    """A part of this machine in a container, at the same place."""
    return {"type": "bind", "source": path, "target": path, **options}


RULES: Final[list[Rule]] = [
    only_traefik_publishes,
    images_are_pinned,
    no_secret_is_in_sight,
    there_is_a_health_check,
    it_restarts,
    there_are_limits,
    logs_are_rotated,
    it_has_no_privileges,
    mounts_are_harmless,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_service_keeps_the_rule(stack: Compose, rule: Rule):
    broken = {name: list(rule(name, service)) for name, service in stack["services"].items()}

    assert {name: why for name, why in broken.items() if why} == {}


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        (only_traefik_publishes, {"ports": ["5432:5432"]}),
        (only_traefik_publishes, {"network_mode": "host"}),
        (images_are_pinned, {"image": "postgres:latest"}),
        (images_are_pinned, {"image": "postgres"}),
        (images_are_pinned, {"image": "postgres:17"}),
        (no_secret_is_in_sight, {"environment": {"POSTGRES_PASSWORD": "hunter2"}}),
        (no_secret_is_in_sight, {"environment": {"OLENS_SERVING__ADMIN_TOKEN": "hunter2"}}),
        (no_secret_is_in_sight, {"environment": {"DATABASE": "postgresql://me:pw@postgres/x"}}),
        (no_secret_is_in_sight, {"command": ["mlflow", "--password=hunter2"]}),
        (there_is_a_health_check, {"healthcheck": {}}),
        (there_is_a_health_check, {"healthcheck": {"test": ["NONE"]}}),
        (it_restarts, {"restart": "no"}),
        (there_are_limits, {"mem_limit": None}),
        (there_are_limits, {"cpus": None}),
        (there_are_limits, {"cpus": 2}),
        (logs_are_rotated, {"logging": {"driver": "json-file"}}),
        (it_has_no_privileges, {"privileged": True}),
        (it_has_no_privileges, {"cap_add": ["SYS_ADMIN"]}),
        (it_has_no_privileges, {"cap_drop": []}),
        (it_has_no_privileges, {"security_opt": []}),
        (it_has_no_privileges, {"read_only": False}),
        (it_has_no_privileges, {"pid": "host"}),
        (it_has_no_privileges, {"user": "0:0"}),
        (mounts_are_harmless, {"volumes": [bind("/var/run/docker.sock", read_only=True)]}),
        (mounts_are_harmless, {"volumes": [bind("/etc")]}),
        (mounts_are_harmless, {"volumes": [bind("/", read_only=True)]}),
    ],
)
def test_the_rule_can_be_broken(stack: Compose, rule: Rule, change: Service):
    service = copy.deepcopy(stack["services"]["postgres"])

    assert list(rule("postgres", {**service, **change}))


def test_all_together_leave_something_of_a_machine_of_four_gigabytes(stack: Compose):
    limits = [int(service["mem_limit"]) for service in stack["services"].values()]

    assert sum(limits) < 3.6 * 2**30


def test_the_proxy_is_a_version_without_known_advisories(stack: Compose):
    traefik = stack["services"]["traefik"]
    version = tuple(map(int, traefik["image"].partition(":v")[2].split(".")))
    entries = re.findall(r"(TRAEFIK_ENTRYPOINTS_WEB\w*)_ADDRESS", str(traefik["environment"]))

    assert version >= (3, 7, 13)
    # Since then there is a choice about headers that the service would take for trusted ones.
    options = [traefik["environment"].get(f"{one}_HTTP_ALIASHEADERSSTRATEGY") for one in entries]
    assert options == ["delete"] * len(traefik["ports"])


def test_services_wait_for_the_database_only(stack: Compose):
    waiting = {name: set(one.get("depends_on") or {}) for name, one in stack["services"].items()}

    assert {name: on for name, on in waiting.items() if on} == {"registry": {"postgres"}}


def test_health_is_checked_often_during_the_start(stack: Compose):
    checks = [service["healthcheck"] for service in stack["services"].values()]

    assert {check["start_interval"] for check in checks} == {"2s"}


def test_a_machine_whose_root_is_not_shared_runs_the_local_stack(tmp_path):
    propagation = {
        name: [
            mount.get("bind", {}).get("propagation")
            for mount in merged(tmp_path / name, name)["services"]["node-exporter"]["volumes"]
            if mount["source"] == "/"
        ]
        for name in STACKS
    }

    assert propagation == {"local": [None], "prod": ["rslave"]}


@pytest.mark.parametrize("choice", ["true", "false"])
def test_in_public_the_proxys_network_speaks_ipv6_unless_it_cannot(tmp_path, choice: str):
    done = merge(tmp_path, "prod", OLENS_IPV6=choice)
    edge = json.loads(done.stdout)["networks"]["edge"]

    assert edge.get("enable_ipv6", False) == (choice == "true")
    first, second = edge["ipam"]["config"]
    assert "." in first["subnet"]
    assert ":" in second["subnet"]


# Networks, secrets and addresses


def test_only_the_proxy_stands_between_the_internet_and_the_data(stack: Compose):
    on = {name: set(service["networks"]) for name, service in stack["services"].items()}

    assert on["postgres"] == {"data"}
    # Prometheus reaches whatever it scrapes.
    scraped = SERVICES - {"postgres", "registry", "prometheus"}
    assert [name for name in scraped if not on[name] & on["prometheus"]] == []
    assert {name for name, networks in on.items() if "edge" in networks} == {
        *("traefik", "app", "registry", "grafana", "prometheus")
    }
    assert "data" not in on["traefik"]
    assert stack["networks"]["data"]["internal"]


def test_secrets_are_read_by_their_owner_only(stack: Compose):
    for name, service in stack["services"].items():
        if service.get("secrets"):
            assert service["user"].split(":")[0] == "1234", name


def test_every_secret_comes_from_a_file_that_make_secrets_writes(stack: Compose):
    from deploy.prepare import MADE, OPTIONAL, RANDOM

    written = {*MADE, *OPTIONAL, *RANDOM}
    assert {secret["file"].rpartition("/secrets/")[2] for secret in stack["secrets"].values()} <= (
        written
    )


def test_the_service_trusts_the_proxy_and_nobody_else(stack: Compose):
    app, traefik = stack["services"]["app"], stack["services"]["traefik"]
    address = traefik["networks"]["edge"]["ipv4_address"]

    assert app["environment"]["OLENS_SERVING__TRUSTED_PROXIES"] == f'["{address}"]'
    # On a second common network it would come from another address.
    assert set(app["networks"]) & set(traefik["networks"]) == {"edge"}
    # No other container is given that address.
    assert not in_network(address, stack["networks"]["edge"]["ipam"]["config"][0]["ip_range"])


def in_network(address: str, network: str) -> bool:
    import ipaddress

    return ipaddress.ip_address(address) in ipaddress.ip_network(network)


def test_the_service_accepts_its_settings(stack: Compose, tmp_path, monkeypatch):
    from pipelines.config.settings import load_settings

    monkeypatch.setenv("OLENS_ENV", setting("app", "OLENS_ENV"))
    for name, value in stack["services"]["app"]["environment"].items():
        monkeypatch.setenv(name, str(value))
    serving = load_settings(tmp_path).serving

    host = stack["services"]["traefik"]["environment"]["OLENS_HOST"]
    assert serving.allowed_hosts == (host, "app")
    assert serving.trusted_proxies == ("172.30.253.2",)
    assert serving.cookie_secure == (host == "example.org")


def test_paths_are_those_of_the_images(stack: Compose):
    app, registry = stack["services"]["app"], stack["services"]["registry"]
    root = setting("app", "OLENS_ROOT")

    assert {one["source"]: one.get("target") for one in app["secrets"]} == {
        "app": f"{root}/conf/.secrets.toml"
    }
    assert volumes(app) == {name: f"{root}/{name}" for name in ("models", "feedback", "labels")}
    artifacts = setting("registry", "MLFLOW_ARTIFACTS_DESTINATION")
    assert volumes(registry) == {"artifacts": artifacts}
    places = (DEPLOY.parent / "Makefile").read_text()
    assert f"registry' {artifacts} " in places
    assert f"app' {root}/models " in places
    assert f"app' {root}/labels " in places


def volumes(service: Service) -> dict[str, str]:
    return {one["source"]: one["target"] for one in service["volumes"]}


def setting(image: str, name: str) -> str:
    """A variable that an image sets."""
    file = (DEPLOY.parent / f"docker/{image}.Dockerfile").read_text()
    found = re.search(rf"\b{name}=(\S+)", file)
    assert found
    return found[1]
