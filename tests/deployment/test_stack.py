"""The deployment on a real Docker engine, from `make build` to an upgrade, as its README tells.

Tests build on each other, in the order of this file. What stands in for what: standins/Dockerfile.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.prepare import htpasswd
from tests.deployment.engine import Namespace, cable, engine, namespace, run
from tests.deployment.images import make_base, make_standins, pinned
from tests.deployment.site import (
    SERVICES,
    Site,
    authority,
    check_out,
    commit_before,
    curl,
    olens,
)
from tests.integration.commands import CHECKOUT
from tests.integration.stack import DEPLOY
from tests.integration.test_monitoring import queries
from tests.integration.tracked import Tracked
from tests.support import ENGINE, program, require, wait_for
from tests.unit.deployment.test_kubernetes import named, pod

pytestmark = [pytest.mark.engine, pytest.mark.slow]

OURS: Final = ("app", "registry")
LARGEST: Final = 920
"""Megabytes of the service's image."""

LOCAL: Final = "http://opinionlens.localhost"
DOMAIN: Final = "reviews.example"
NAMES: Final = (DOMAIN, *(f"{name}.{DOMAIN}" for name in ("mlflow", "grafana", "prometheus")))
PUBLIC: Final = f"https://{DOMAIN}"
SERVER: Final = ("203.0.113.1", "2001:db8::1")
VISITOR: Final = "203.0.113.2"
NEIGHBOURS: Final = ("2001:db8::2", "2001:db8::3")
"""Two addresses of one network, as one visitor over IPv6 has them."""
STRANGER: Final = "2001:db8:0:1::2"

PROMETHEUS: Final = "http://prometheus.localhost"
REVIEW: Final = ("--data", '{"text": "The food was cold. The view was lovely."}')
JSON: Final = ("--header", "Content-Type: application/json")
PREDICT: Final = "/api/v1/inference/predict"
REGISTERED: Final = "/api/2.0/mlflow/registered-models"
COLLEAGUE: Final = ("colleague", "a-colleague's-password")


@pytest.fixture(scope="session")
def deletions() -> Iterator[list[subprocess.Popen[bytes]]]:
    """What is still being deleted while other tests run."""
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for deletion in running:
        deletion.wait()


@pytest.fixture(scope="module")
def folder(deletions: list[subprocess.Popen[bytes]]) -> Iterator[Path]:
    """Not below pytest's folder, which would keep gigabytes for three sessions."""
    folder = Path(tempfile.mkdtemp(prefix="olens-engine-"))
    try:
        yield folder
    finally:
        # Hundreds of thousands of files take minutes, in which the disk is busy and little else.
        deletions.append(subprocess.Popen(["rm", "--recursive", "--force", folder]))


@pytest.fixture(scope="module")
def certificate(folder: Path) -> tuple[Path, Path]:
    """Certificate and key of the authority's own server."""
    files = folder / "authority.pem", folder / "authority.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-subj", "/CN=test"]
    command += ["-addext", f"subjectAltName=IP:{SERVER[0]}"]
    run([*command, "-out", files[0], "-keyout", files[1]])
    return files


@pytest.fixture(scope="module")
def site(folder: Path, certificate: tuple[Path, Path]) -> Iterator[Site]:
    """A checkout beside an engine that has all images."""
    require(ENGINE and Path(ENGINE).is_dir(), "OLENS_ENGINE names no folder; see fetch-engine")
    require(os.geteuid() == 0, "only root can start an engine")
    for name in ("mmdebstrap", "slirp4netns", "pebble", "traefik", "iptables", "curl"):
        program(name)
    checkout = folder / "checkout"
    checkout.mkdir()
    with engine(Path(str(ENGINE)), folder, f"olens-{os.getpid()}") as it:
        site = Site(it, checkout)
        prepare(site, certificate[0])
        yield site


def prepare(site: Site, authority: Path) -> None:
    """Make all images: of the last commit and of now, and meanwhile those of others for both."""
    engine, checkout = site.engine, site.checkout
    check_out(checkout, commit_before())
    others = {*pinned(checkout), *pinned(CHECKOUT)}
    with ThreadPoolExecutor() as pool, engine.online():
        standins = pool.submit(make_standins, engine, others, authority)
        make_base(engine, CHECKOUT)
        for state, commit in {"before": commit_before(), "now": ""}.items():
            check_out(checkout, commit)
            site.make("-j2", "build")
            for name in OURS:
                engine("tag", version(site, name), f"{name}:{state}")
        standins.result()


def put(site: Site, state: str) -> None:
    """Go to the files and images of the last commit ("before") or of now."""
    check_out(site.checkout, commit_before() if state == "before" else "")
    for name in OURS:
        site.engine("tag", f"{name}:{state}", version(site, name))


def version(site: Site, name: str) -> str:
    """The image's name in the stack."""
    found = re.search(r'^version = "(.+)"', (site.checkout / "pyproject.toml").read_text(), re.M)
    assert found
    return f"opinionlens-{name}:{found[1]}"


@pytest.fixture(scope="module")
def here(site: Site) -> Namespace:
    """The operator's own machine."""
    names = ("opinionlens", "mlflow", "grafana", "prometheus")
    site.engine.namespace.know(*(f"{name}.localhost" for name in names))
    return site.engine.namespace


def predicted(visitor: Namespace, url: str, *options: str) -> dict[str, Any]:
    answer = curl(visitor, url + PREDICT, *JSON, *REVIEW, *options)
    assert answer.status in {200, 201}, answer
    found: dict[str, Any] = json.loads(answer.body)
    return found


def answering(visitor: Namespace, url: str, *options: str) -> str:
    """The model that answers."""
    return str(predicted(visitor, url, *options)["model"])


# Images


@pytest.mark.parametrize("name", OURS)
def test_images_bring_neither_compiler_nor_installer(site: Site, name: str):
    find = ["find", "/usr/bin", "/bin", "/usr/local/bin", "/opt/venv/bin"]
    programs = {Path(line).name for line in inside(site, name, *find).split()}
    packages = set(inside(site, name, "sh", "-c", "ls /opt/venv/lib/*/site-packages").split())

    assert "python3" in programs
    assert not programs & {"gcc", "cc", "g++", "ld", "strip", "make", "pip", "pip3"}
    training = {"optuna", "dvc", "matplotlib", "pyarrow", "kagglehub"}
    assert (name == "app") == (not packages & training)


def inside(site: Site, name: str, *command: str) -> str:
    """What a command prints that runs in an image, instead of what it is made for."""
    options = ["run", "--rm", "--network=none", f"--entrypoint={command[0]}"]
    return site.engine(*options, version(site, name), *command[1:])


def test_the_service_is_small(site: Site, record_property: Callable[[str, object], None]):
    sizes = {name: site.engine.inspect(version(site, name))["Size"] / 1e6 for name in OURS}

    record_property(
        "measured", f"images: service {sizes['app']:.0f} MB, registry {sizes['registry']:.0f} MB"
    )
    assert sizes["app"] < LARGEST


@pytest.mark.parametrize("name", OURS)
def test_images_say_how_they_are_run(site: Site, name: str):
    config = site.engine.inspect(version(site, name))["Config"]

    assert (config["User"], config["StopSignal"]) == ("10001:0", "SIGTERM")
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Labels"]["org.opencontainers.image.title"].startswith("OpinionLens")


def test_byte_code_is_read_without_checking_times(site: Site):
    # Builders round times; byte code that does not match them would be made at every start.
    flags = (
        "import pathlib; print({path.read_bytes()[4:8] for path in"
        " pathlib.Path('/opt/venv/lib').rglob('site-packages/**/*.pyc')})"
    )

    assert inside(site, "app", "python", "-c", flags) == str({b"\x01\0\0\0"})


def test_the_image_of_the_service_works_alone(site: Site):
    verdict = site.engine(
        *("run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", version(site, "app")),
        *("olens", "predict", "The food was cold", "--json"),
    )

    assert json.loads(verdict)[0]["model"] == "base"


# The local stack


def test_the_last_commit_is_upgraded(
    site: Site, here: Namespace, record_property: Callable[[str, object], None]
):
    assert curl(here, LOCAL).status == 0
    put(site, "before")
    begin = time.monotonic()
    site.make("secrets", "up")
    record_property("measured", f"`make secrets up`: {time.monotonic() - begin:.0f} s")
    assert site.unhealthy() == set()
    site.wait_until_healthy()
    admin = ("--user", f"admin:{site.secret('registry_admin_password')}", *JSON)
    models = f"http://mlflow.localhost{REGISTERED}"
    assert curl(here, f"{models}/create", *admin, "--data", '{"name": "kept"}').status == 200

    put(site, "now")
    site.make("secrets", "migrate", "up")

    site.wait_until_healthy()
    assert '"kept"' in curl(here, f"{models}/search", *admin).body
    running = site.engine("ps", "--format", "{{.Image}}").split()
    assert set(running) == {*pinned(site.checkout), *(version(site, name) for name in OURS)}
    for name in OURS:
        assert site.container(name)["Image"] == site.engine.inspect(f"{name}:now")["Id"]


def test_every_name_leads_to_its_service(site: Site, here: Namespace):
    page = curl(here, f"{LOCAL}/")
    assert (page.status, "<form" in page.body) == (200, True)
    assert answering(here, LOCAL) == "base"
    mlflow = f"http://mlflow.localhost{REGISTERED}/search"
    assert curl(here, mlflow).status == 401
    admin = ("--user", f"admin:{site.secret('registry_admin_password')}")
    assert curl(here, mlflow, *admin).status == 200
    assert "stand-in" in curl(here, "http://grafana.localhost/").body
    assert curl(here, "http://prometheus.localhost/-/ready").status == 200
    assert curl(here, "http://another.localhost/").status == 404
    foreign = ("--header", "Origin: https://evil.example", *JSON, "--data", '{"name": "x"}')
    create = f"http://mlflow.localhost{REGISTERED}/create"
    assert curl(here, create, *admin, *foreign).status == 403


def test_the_services_account_reads_models_and_changes_none(site: Site, here: Namespace):
    service = ("--user", f"service:{site.secret('registry_service_password')}", *JSON)
    api = "http://mlflow.localhost/api/2.0/mlflow"
    account = '{"username": "another", "password": "long enough for it"}'

    assert curl(here, f"{api}/registered-models/search", *service).status == 200
    assert curl(here, f"{api}/users/create", *service, "--data", account).status == 403
    grown = ("--request", "PATCH", "--data", '{"username": "service", "is_admin": true}')
    assert curl(here, f"{api}/users/update-admin", *service, *grown).status == 403


def test_containers_are_not_root_and_write_only_to_their_volumes(site: Site):
    for service, container in site.containers().items():
        uid = Path(f"/proc/{container['State']['Pid']}/status").read_text()
        assert "Uid:\t0\t" not in uid, service
        assert "CapEff:\t0000000000000000" in uid, service
        assert container["HostConfig"]["ReadonlyRootfs"], service
        published = container["HostConfig"]["PortBindings"]
        assert bool(published) == (service == "traefik"), service


def test_secrets_are_in_no_variable_and_on_no_command_line(site: Site):
    known = site.engine("inspect", *(f"opinionlens-{service}-1" for service in SERVICES))
    said = "".join(site.engine("top", f"opinionlens-{service}-1") for service in SERVICES)

    assert "mlflow" in said
    for path in (site.checkout / "deploy/secrets").iterdir():
        if secret := path.read_text().strip():
            assert secret not in known + said, path.name


def test_nothing_is_compiled_when_the_service_runs(site: Site):
    listing = "cd {} && find . -name '*.nbc' | sort"
    ready, used = (
        site.engine("exec", "opinionlens-app-1", "sh", "-c", listing.format(folder))
        for folder in ("/opt/compiled", "/tmp/compiled")
    )

    assert ready.count("\n") > 10
    assert used == ready


def test_a_model_is_registered_and_followed(site: Site, here: Namespace, tracked: Tracked):
    variables = {
        "OLENS_ROOT": str(tracked.settings.root),
        "OLENS_MLFLOW__TRACKING_URI": tracked.settings.mlflow.tracking_uri,
        "OLENS_MLFLOW__REGISTRY_URI": "http://mlflow.localhost",
    }
    register = ["register", tracked.model_id, "reviews", "--alias", "champion"]
    account = ["--username", "admin", "--password-stdin"]
    password = site.secret("registry_admin_password")
    for command in (register, ["fetch", "reviews"]):
        done = olens(here, *command, *account, stdin=password, variables=variables)
        assert done.returncode == 0, done.stderr
    before = ids(site)

    site.choose(OLENS_FOLLOW="reviews@champion")
    site.make("up")

    wait_for(lambda: answering(here, LOCAL) == "reviews-v1", "it is not followed")
    # The proxy and all others went on.
    assert changed(site, before) == {"app"}


def test_prometheus_reaches_all_it_watches(here: Namespace):
    def down() -> dict[str, str]:
        targets = prometheus(here, "targets")["activeTargets"]
        return {t["labels"]["job"]: t["lastError"] for t in targets if t["health"] != "up"}

    wait_for(lambda: down() == {}, down)
    assert len(prometheus(here, "targets")["activeTargets"]) == 8


def prometheus(visitor: Namespace, path: str, *options: str, url: str = PROMETHEUS) -> Any:
    return json.loads(curl(visitor, f"{url}/api/v1/{path}", "--get", *options).body)["data"]


def test_every_query_about_the_proxy_gives_figures(here: Namespace):
    """Of the other dashboards, tests/integration/test_monitoring.py asks."""
    board = json.loads((DEPLOY / "grafana/dashboards/traefik.json").read_text())

    # Certificates are of the public stack, and nothing has failed here.
    absent = re.compile(r"tls_certs|code=~.5")
    asked = {name: promql for name, promql in queries(board) if "traefik_" in promql}

    def without() -> set[str]:
        return {
            name
            for name, promql in asked.items()
            if not absent.search(promql) and not has_figures(promql)
        }

    def has_figures(promql: str) -> bool:
        query = f"query={promql.replace('$__rate_interval', '2m')}"
        return bool(prometheus(here, "query", "--data-urlencode", query)["result"])

    curl(here, "http://mlflow.localhost/nowhere")
    wait_for(lambda: not without(), without)


def test_all_together_need_less_than_they_may(
    site: Site, record_property: Callable[[str, object], None]
):
    """Without what a program has read of files, its own included: that can be given back."""
    # The exporter of the machine sees the processes of all.
    for service in set(SERVICES) - {"node-exporter"}:
        name = f"opinionlens-{service}-1"
        limit = int(site.engine("inspect", "--format", "{{.HostConfig.Memory}}", name))
        processes = site.engine("exec", name, "sh", "-c", "cat /proc/[0-9]*/status; true")
        used = 1024 * sum(map(int, re.findall(r"RssAnon:\s+(\d+)", processes)))
        record_property("measured", f"memory of {name}: {used >> 20} of {limit >> 20} MiB")
        assert 0 < used < 0.85 * limit, name


def test_the_image_runs_as_a_pod_of_kubernetes_would_run_it(site: Site):
    """No cluster is there: a pod's containers with its settings, its user and what is mounted."""
    (fetch,), (app,) = pod("app")["initContainers"], pod("app")["containers"]
    models, secrets, tmp = (mount["mountPath"] for mount in app["volumeMounts"])
    options = [
        *("--network=opinionlens_data", "--user=10001:0", "--read-only", "--cap-drop=ALL"),
        *(f"--env={k}={v}" for k, v in named("ConfigMap", "app")["data"].items()),
        *(f"--volume=pod:{models}", f"--tmpfs={tmp}"),
        f"--volume={site.checkout}/deploy/secrets/app.toml:{secrets}:ro",
    ]
    image = version(site, "app")
    site.engine("run", "--rm", *options, image, *fetch["args"])
    site.engine("run", "--detach", "--name=pod", *options, image)
    ask = (
        "import sys; from urllib.request import Request, urlopen;"
        "print(urlopen(Request(sys.argv[1], headers={'Host': 'app'}), timeout=9).read().decode())"
    )

    def inside(url: str) -> str:
        return site.engine("exec", "pod", "python", "-c", ask, url, check=False)

    probe = f"http://127.0.0.1:8000{app['readinessProbe']['httpGet']['path']}"
    wait_for(lambda: '"reviews-v1"' in inside(probe), lambda: site.engine("logs", "pod"))
    assert "opinionlens_model_ready 1" in inside("http://127.0.0.1:8001/metrics")
    site.engine("rm", "--force", "pod")


def ids(site: Site) -> dict[str, str]:
    """The IDs of all containers, by service."""
    return {service: str(container["Id"]) for service, container in site.containers().items()}


def changed(site: Site, before: dict[str, str]) -> set[str]:
    """Services that have been started anew."""
    return {service for service, name in ids(site).items() if name != before[service]}


CONFIGURATION: Final = {
    "prometheus": "prometheus/rules/recording.yml",
    "alertmanager": "alertmanager/alertmanager.yml",
    "traefik": "traefik/local.yml",
    "grafana": "grafana/provisioning/dashboards/opinionlens.yml",
}
"""A file of each service."""


def test_changed_configuration_and_passwords_are_applied(site: Site, here: Namespace):
    before = ids(site)
    old = {name: site.secret(f"registry_{name}_password") for name in ("admin", "service")}
    for file in CONFIGURATION.values():
        with (site.checkout / "deploy" / file).open("a") as config:
            config.write("# changed\n")
    for name in (*(f"registry_{name}_password" for name in old), "app.toml", "registry_users"):
        (site.checkout / "deploy/secrets" / name).unlink()

    site.make("secrets", "up")

    site.wait_until_healthy()
    assert changed(site, before) == {*CONFIGURATION, "app", "registry"}
    for name, password in old.items():
        url = f"http://mlflow.localhost{REGISTERED}/search"
        accounts = (f"{name}:{p}" for p in (password, site.secret(f"registry_{name}_password")))
        assert [curl(here, url, "--user", who).status for who in accounts] == [401, 200]


def test_killed_containers_are_restarted(site: Site, here: Namespace):
    before = pids(site)
    for pid in before:
        os.kill(pid, signal.SIGKILL)

    wait_for(lambda: pids(site).isdisjoint(before), "not all came back")
    site.wait_until_healthy()
    assert answering(here, LOCAL) == "reviews-v1"


def pids(site: Site) -> set[int]:
    return {container["State"]["Pid"] for container in site.containers().values()}


def test_all_comes_back_when_the_engine_does(site: Site, here: Namespace):
    site.engine.stop()
    assert curl(here, LOCAL).status == 0

    site.engine.start()

    site.wait_until_healthy()
    assert answering(here, LOCAL) == "reviews-v1"


# The public stack


@pytest.fixture(scope="module")
def world(site: Site) -> Iterator[Namespace]:
    """The internet: another namespace, with visitors of many addresses."""
    server = site.engine.namespace
    with namespace(f"{server.name}-world", site.engine.folder) as world:
        addresses = {
            server.name: [f"{SERVER[0]}/24", f"{SERVER[1]}/48"],
            world.name: [f"{VISITOR}/24", *(f"{ip}/48" for ip in (*NEIGHBOURS, STRANGER))],
        }
        world.know(*NAMES, addresses=SERVER)
        with cable(server, world, addresses):
            yield world


@pytest.fixture(scope="module")
def trusted(
    site: Site, here: Namespace, world: Namespace, certificate: tuple[Path, Path]
) -> Iterator[list[str]]:
    """`make up-prod` after a backup and the loss of all data; gives how visitors trust it."""
    create = "http://mlflow.localhost/api/2.0/mlflow/users/create"
    admin = ("--user", f"admin:{site.secret('registry_admin_password')}", *JSON)
    account = json.dumps(dict(zip(("username", "password"), COLLEAGUE, strict=True)))
    assert curl(here, create, *admin, "--data", account).status == 200
    with (site.checkout / "deploy/secrets/registry_users").open("a") as file:
        file.write(htpasswd(*COLLEAGUE))
    site.make("backup")
    site.make("down")
    site.destroy_volumes()
    with authority(site.engine, *certificate, SERVER[0]) as directory:
        site.choose(OLENS_DOMAIN=DOMAIN, OLENS_ACME_EMAIL="operator@reviews.example")
        with (site.checkout / "deploy/traefik/static.prod.env").open("a") as file:
            file.write(f"TRAEFIK_CERTIFICATESRESOLVERS_LETSENCRYPT_ACME_CASERVER={directory}\n")
        site.make("up-prod")
        site.wait_until_healthy()
        roots = site.engine.folder / "roots.pem"
        issuer = f"https://{SERVER[0]}:15000/roots/0"
        roots.write_text(curl(world, issuer, "--insecure").body)
        trusting = ["--cacert", str(roots)]
        for name in NAMES:
            wait_for(
                lambda name=name: curl(world, f"https://{name}/", *trusting).status,
                f"no certificate for {name}",
            )
        yield trusting


def test_a_backup_brings_back_what_was_destroyed(site: Site, world: Namespace, trusted: list[str]):
    search = f"https://mlflow.{DOMAIN}{REGISTERED}/search"
    admin = ("--user", f"admin:{site.secret('registry_admin_password')}")
    empty = curl(world, search, *trusted, *admin)
    assert (empty.status, "reviews" in empty.body) == (200, False)
    refused = site.make("restore", check=False)
    assert "YES=1 agrees" in refused.stderr
    edge = site.engine.inspect("opinionlens_edge")

    site.make("restore", "YES=1")

    site.wait_until_healthy()
    assert site.engine.inspect("opinionlens_edge")["Id"] == edge["Id"]
    wait_for(lambda: answering(world, PUBLIC, *trusted) == "reviews-v1", "the model has gone")
    found = curl(world, search, *trusted, "--user", ":".join(COLLEAGUE))
    assert (found.status, "reviews" in found.body) == (200, True)


def test_visitors_see_the_page_over_https(world: Namespace, trusted: list[str]):
    page = curl(world, f"{PUBLIC}/", *trusted)
    assert (page.status, "<form" in page.body) == (200, True)
    assert "strict-transport-security: max-age=31536000" in page.headers.lower()


def test_http_redirects_to_https(world: Namespace, trusted: list[str]):
    answer = curl(world, f"http://{DOMAIN}/health")

    assert answer.status in {301, 308}
    assert f"location: {PUBLIC}/health" in answer.headers.lower()


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/metrics", "/%2fmetrics", "/metrics%2F"])
def test_metrics_are_not_public(world: Namespace, trusted: list[str], path: str):
    answer = curl(world, PUBLIC + path, *trusted)

    assert (answer.status in {400, 404}, "# HELP" in answer.body) == (True, False)


def test_operations_ask_for_passwords(site: Site, world: Namespace, trusted: list[str]):
    operator = ("--user", f"operator:{site.secret('operator_password')}")
    admin = ("--user", f"admin:{site.secret('registry_admin_password')}")
    for name, path, who in (
        ("grafana", "/", operator),
        ("prometheus", "/-/ready", operator),
        ("mlflow", f"{REGISTERED}/search", admin),
    ):
        url = f"https://{name}.{DOMAIN}{path}"
        assert curl(world, url, *trusted).status == 401
        assert curl(world, url, *trusted, *who).status == 200


def test_visitors_over_ipv6_are_distinguished(site: Site, world: Namespace, trusted: list[str]):
    def wrong(address: str) -> int:
        guess = ("--header", "Authorization: Bearer guess", "--interface", address)
        return curl(world, f"{PUBLIC}/api/v1/models/registry", *trusted, *guess).status

    assert [wrong(NEIGHBOURS[0]) for _ in range(6)] == [401] * 5 + [429]

    # One visitor has a network of addresses; others go on, over IPv6 and IPv4.
    assert wrong(NEIGHBOURS[1]) == 429
    assert wrong(STRANGER) == 401
    assert wrong(VISITOR) == 401
    seen = {json.loads(line)["ClientHost"] for line in failures(site)}
    assert seen >= {VISITOR, *NEIGHBOURS, STRANGER}


def test_a_renewed_certificate_ends_the_alert(site: Site, world: Namespace, trusted: list[str]):
    """The alert's expression gives one time for each name, whatever certificates there were."""
    who = [*trusted, "--user", f"operator:{site.secret('operator_password')}"]
    promql = "query=max by (sans) (traefik_tls_certs_not_after)"

    def names() -> set[str]:
        url = f"https://prometheus.{DOMAIN}"
        query = ("query", *who, "--data-urlencode", promql)
        return {one["metric"]["sans"] for one in prometheus(world, *query, url=url)["result"]}

    wait_for(lambda: names() == set(NAMES), names)


def failures(site: Site) -> list[str]:
    """Lines of the proxy's access log."""
    said = site.engine("logs", "opinionlens-traefik-1").splitlines()
    return [line for line in said if "ClientHost" in line]


def test_failures_are_logged_without_what_was_asked(
    site: Site, world: Namespace, trusted: list[str]
):
    curl(world, f"{PUBLIC}/nowhere?text=a+private+thing", *trusted)

    wait_for(lambda: any("/nowhere" in line for line in failures(site)), "it is not logged")
    assert "private" not in "".join(failures(site))


def test_a_visitor_may_not_ask_without_end(world: Namespace, trusted: list[str]):
    def ask(address: str, times: int) -> str:
        url = f"https://prometheus.{DOMAIN}/[1-{times}]"
        options = ["--silent", "--parallel", "--output", "/dev/null", "--interface", address]
        command = ["curl", *options, "--write-out", "%{http_code} ", *trusted, url]
        return world.run(*command, check=False).stdout

    with ThreadPoolExecutor() as pool:
        loud = pool.submit(ask, NEIGHBOURS[0], 2_000)
        # Fewer than either may ask at once.
        neighbour = "".join(ask(NEIGHBOURS[1], 20) for _ in range(5))
        stranger = ask(STRANGER, 50)

    assert "429" in loud.result()
    assert "429" in neighbour
    assert set(stranger.split()) == {"401"}


def test_make_down_keeps_only_the_data(site: Site):
    ours = [f"opinionlens-{name}-1" for name in OURS]
    site.engine("stop", *ours)
    # They ended when they were told to, and were not killed.
    assert {site.engine.inspect(name)["State"]["ExitCode"] for name in ours} <= {0, 143}
    site.make("down")

    assert site.engine("ps", "--all", "--quiet") == ""
    volumes = site.engine("volume", "ls", "--quiet").split()
    assert {"opinionlens_postgres", "opinionlens_artifacts", "opinionlens_models"} <= set(volumes)
