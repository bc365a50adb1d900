"""Traefik's files fit together and to the stack. Traefik itself is no package, so it is not run."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
import yaml

from tests.unit.deployment.merged import DEPLOY, STACKS, Compose, merged

TRAEFIK: Final = DEPLOY / "traefik"
NAMES: Final = {
    "local": {"OLENS_HOST": "opinionlens.localhost", "OLENS_DOMAIN": "localhost"},
    "prod": {"OLENS_HOST": "example.org", "OLENS_DOMAIN": "example.org"},
}

Dynamic = dict[str, Any]


@pytest.fixture(scope="module", params=STACKS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compose:
    return merged(tmp_path_factory.mktemp(request.param), request.param) | {"name": request.param}


@pytest.fixture
def dynamic(stack: Compose) -> Dynamic:
    return read(stack["name"])


def read(stack: str) -> Dynamic:
    """The dynamic configuration as Traefik sees it: variables substituted, both files merged."""
    routes = re.sub(
        r'\{\{ env "(\w+)" \}\}',
        lambda found: NAMES[stack][found[1]],
        (TRAEFIK / "routes.yml").read_text(),
    )
    assert "{{" not in routes
    ours, more = yaml.safe_load(routes), yaml.safe_load((TRAEFIK / f"{stack}.yml").read_text())
    middlewares = {**ours["http"]["middlewares"], **more["http"]["middlewares"]}
    return {**more, "http": {**ours["http"], "middlewares": middlewares}}


def through(dynamic: Dynamic, router: str) -> list[Dynamic]:
    """The middlewares that a request for `router` passes, chains resolved."""
    known = dynamic["http"]["middlewares"]

    def resolve(name: str) -> list[Dynamic]:
        middleware = known[name]
        if chain := middleware.get("chain"):
            return [one for inner in chain["middlewares"] for one in resolve(inner)]
        return [middleware]

    return [
        one for name in dynamic["http"]["routers"][router]["middlewares"] for one in resolve(name)
    ]


def test_the_names_are_those_that_compose_hands_over(stack: Compose):
    environment = stack["services"]["traefik"]["environment"]

    assert {key: environment[key] for key in ("OLENS_HOST", "OLENS_DOMAIN")} == NAMES[stack["name"]]


def test_routers_lead_through_known_middlewares_to_services_of_the_stack(
    stack: Compose, dynamic: Dynamic
):
    routers, services = dynamic["http"]["routers"], dynamic["http"]["services"]
    for name, router in routers.items():
        assert through(dynamic, name)
        (server,) = services[router["service"]]["loadBalancer"]["servers"]
        host = re.fullmatch(r"http://([a-z]+):\d+", server["url"])
        assert host
        assert "edge" in stack["services"][host[1]]["networks"]
    assert {router["service"] for router in routers.values()} == set(services)


def test_each_name_leads_to_one_router(stack: Compose, dynamic: Dynamic):
    hosts = [
        re.findall(r"Host\(`([^`]+)`\)", r["rule"]) for r in dynamic["http"]["routers"].values()
    ]
    domain, host = NAMES[stack["name"]]["OLENS_DOMAIN"], NAMES[stack["name"]]["OLENS_HOST"]

    assert hosts == [
        [host],
        *([f"{name}.{domain}"] for name in ("mlflow", "grafana", "prometheus")),
    ]


def test_in_public_everything_is_limited_and_over_https_only():
    dynamic = read("prod")
    for router in dynamic["http"]["routers"]:
        middlewares = through(dynamic, router)
        # Whoever guesses passwords is slowed down, so the limit comes before asking for them.
        assert "rateLimit" in middlewares[0]
        assert any(one.get("headers", {}).get("stsSeconds", 0) >= 31536000 for one in middlewares)
    assert dynamic["tls"]["options"]["default"]["minVersion"] == "VersionTLS12"


@pytest.mark.parametrize(
    ("router", "users", "header_stays_here"),
    [("registry", "registry_users", False), ("grafana", "operator_users", True),
     ("prometheus", "operator_users", True)],
)  # fmt: skip
def test_in_public_operations_ask_for_a_password(router: str, users: str, header_stays_here: bool):
    last = through(read("prod"), router)[-1]["basicAuth"]

    assert last["usersFile"] == f"/run/secrets/{users}"
    # MLflow checks the same account again; Grafana would take it for one of its own.
    assert last.get("removeHeader", False) is header_stays_here


def test_files_of_users_are_mounted(tmp_path):
    mounted = {one["source"] for one in merged(tmp_path, "prod")["services"]["traefik"]["secrets"]}

    assert mounted == {"operator_users", "registry_users"}


def test_the_static_configuration_matches_what_compose_publishes(stack: Compose):
    traefik = stack["services"]["traefik"]
    static = {k: v for k, v in traefik["environment"].items() if k.startswith("TRAEFIK_")}
    listening = {v: k.split("_")[2] for k, v in static.items() if k.endswith("_ADDRESS")}
    published = [re.findall(r"\d+", str(port))[-1] for port in traefik["ports"]]

    assert {listening[f":{port}"] for port in published} == set(listening.values()) - {"METRICS"}
    assert listening[":8082"] == "METRICS"
    assert static["TRAEFIK_PROVIDERS_FILE_DIRECTORY"] == "/etc/traefik/dynamic"
    default = [
        k.split("_")[2] for k, v in static.items() if k.endswith("_ASDEFAULT") and v == "true"
    ]
    assert default == ["WEBSECURE" if stack["name"] == "prod" else "WEB"]


def test_in_public_http_is_but_a_redirect_and_certificates_are_kept(tmp_path):
    compose = merged(tmp_path, "prod")
    traefik = compose["services"]["traefik"]
    static = traefik["environment"]

    assert static["TRAEFIK_ENTRYPOINTS_WEB_HTTP_REDIRECTIONS_ENTRYPOINT_TO"] == ":443"
    assert static["TRAEFIK_ENTRYPOINTS_WEB_HTTP_REDIRECTIONS_ENTRYPOINT_SCHEME"] == "https"
    resolver = static["TRAEFIK_ENTRYPOINTS_WEBSECURE_HTTP_TLS_CERTRESOLVER"].upper()
    acme = f"TRAEFIK_CERTIFICATESRESOLVERS_{resolver}_ACME"
    assert static[f"{acme}_EMAIL"] == "me@example.org"
    folder = static[f"{acme}_STORAGE"].rpartition("/")[0]
    assert f"certificates:{folder}:rw" in traefik["volumes"]
