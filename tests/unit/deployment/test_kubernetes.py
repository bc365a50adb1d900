"""The manifests for Kubernetes: they fit the schema, each other, the images and compose.

No cluster runs them here. `tests/deployment` runs what a pod of the service runs.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from opinionlens_server.observability.metrics import INFERENCE
from tests.unit.deployment.merged import DEPLOY

KUBERNETES: Final = DEPLOY / "kubernetes"
Manifest = dict[str, Any]


def documents(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((KUBERNETES / name).read_text()))


def resources() -> list[Manifest]:
    """All that `kubectl apply -k` applies."""
    (kustomization,) = documents("kustomization.yaml")
    return [one for name in kustomization["resources"] for one in documents(name)]


def named(kind: str, name: str) -> Manifest:
    (found,) = (
        one for one in resources() if (one["kind"], one["metadata"]["name"]) == (kind, name)
    )
    return found


def pod(name: str) -> Manifest:
    """The pod of a deployment."""
    spec: Manifest = named("Deployment", name)["spec"]["template"]["spec"]
    return spec


def test_every_file_is_applied():
    (kustomization,) = documents("kustomization.yaml")

    there = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == there


@pytest.mark.parametrize(
    "manifest", resources(), ids=lambda one: f"{one['kind']} {one['metadata']['name']}"
)
def test_manifests_fit_the_schema(manifest: Manifest):
    if manifest["kind"] == "ServiceMonitor":  # not Kubernetes' own
        assert manifest["apiVersion"] == "monitoring.coreos.com/v1"
        return
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_a_field_that_is_not_there_is_found():
    broken = named("Service", "app")
    broken["spec"]["portz"] = []

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", ["app", "registry"])
def test_pods_have_no_privileges_and_limits(name: str):
    spec = pod(name)
    assert spec["securityContext"]["runAsNonRoot"]
    # Who may write to the images' volumes and read the secrets.
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]) == (
        10001,
        0,
    )
    assert spec["securityContext"]["fsGroup"] == 0
    assert not spec["automountServiceAccountToken"]
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert not security["allowPrivilegeEscalation"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"]["memory"]
    (container,) = spec["containers"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


@pytest.mark.parametrize("name", ["app", "registry"])
def test_selectors_and_ports_lead_to_the_pods(name: str):
    deployment, service = named("Deployment", name), named("Service", name)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    (container,) = pod(name)["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert {one["targetPort"] for one in service["spec"]["ports"]} == set(ports)
    for policy in (named("NetworkPolicy", other) for other in ("app", "registry")):
        if policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items():
            opened = {p["port"] for rule in policy["spec"]["ingress"] for p in rule["ports"]}
            assert opened == set(ports)
    (backend,) = named("Ingress", name)["spec"]["rules"][0]["http"]["paths"]
    assert backend["backend"]["service"] == {"name": name, "port": {"name": "http"}}


def test_the_service_accepts_its_settings(tmp_path, monkeypatch: pytest.MonkeyPatch):
    from pipelines.config.settings import load_settings

    monkeypatch.setenv("OLENS_ENV", "prod")
    for name, value in named("ConfigMap", "app")["data"].items():
        monkeypatch.setenv(name, value)
    serving = load_settings(tmp_path).serving

    (container,) = pod("app")["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert {"http": serving.port, "metrics": serving.metrics_port} == ports
    host = named("Ingress", "app")["spec"]["rules"][0]["host"]
    (header,) = container["readinessProbe"]["httpGet"]["httpHeaders"]
    assert set(serving.allowed_hosts) == {host, header["value"]}


def test_labels_and_corrections_are_where_all_pods_reach_them():
    settings = named("ConfigMap", "app")["data"]
    uris = {settings["OLENS_LABELS__STORAGE"], settings["OLENS_SERVING__FEEDBACK_STORAGE"]}
    (host,) = {urlsplit(uri).hostname for uri in uris if uri.startswith("postgresql://")}
    namespace = str(host).split(".")[1]
    allowed = {
        port["port"]
        for rule in named("NetworkPolicy", "app")["spec"]["egress"]
        for peer in rule["to"]
        if namespace in peer.get("namespaceSelector", {}).get("matchLabels", {}).values()
        for port in rule["ports"]
    }
    assert allowed == {5432}
    (container,) = pod("app")["containers"]
    (password,) = container["env"]
    assert password["name"] == "PGPASSWORD"
    key = password["valueFrom"]["secretKeyRef"]["key"]
    assert f"--from-file={key}=" in (DEPLOY / "README.md").read_text()


def test_volumes_are_where_the_images_have_them():
    mounted = {
        name: {one["mountPath"] for one in pod(name)["containers"][0]["volumeMounts"]}
        for name in ("app", "registry")
    }
    root = dockerfile("app", "OLENS_ROOT")

    assert mounted["app"] == {f"{root}/models", f"{root}/conf/.secrets.toml", "/tmp"}
    artifacts = dockerfile("registry", "MLFLOW_ARTIFACTS_DESTINATION")
    assert mounted["registry"] == {artifacts, "/run/secrets", "/tmp"}


def dockerfile(image: str, name: str) -> str:
    text = (DEPLOY.parent / f"docker/{image}.Dockerfile").read_text()
    found = re.search(rf"\b{name}=(\S+)", text)
    assert found
    return found[1]


def test_the_cache_is_filled_before_the_service_starts():
    (fetch,) = pod("app")["initContainers"]
    (container,) = pod("app")["containers"]

    name, _, alias = named("ConfigMap", "app")["data"]["OLENS_SERVING__FOLLOW"].partition("@")
    assert fetch["args"] == ["olens", "fetch", name, "--alias", alias, "--activate"]
    assert fetch["volumeMounts"] == container["volumeMounts"]
    assert next(v for v in pod("app")["volumes"] if v["name"] == "models")["emptyDir"]


def test_prometheus_drops_what_it_would_store_twice():
    first, second = named("ServiceMonitor", "app")["spec"]["endpoints"]
    (rule,) = first["metricRelabelings"]

    assert set(re.findall(r"\w+", rule["regex"].partition(")")[0])) == INFERENCE
    assert second["path"] == "/api/v1/metrics"


def test_pods_are_scaled_and_never_all_taken_away():
    scaler, budget = named("HorizontalPodAutoscaler", "app"), named("PodDisruptionBudget", "app")

    assert scaler["spec"]["scaleTargetRef"]["name"] == "app"
    assert scaler["spec"]["minReplicas"] > budget["spec"]["minAvailable"]
    # The number of pods is the scaler's.
    assert "replicas" not in named("Deployment", "app")["spec"]
