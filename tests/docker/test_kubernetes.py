"""The Kubernetes example, put together by kustomize and checked by kubeconform against the schemas of what it uses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from compose.stack.kubernetes_secret import ENTRY
from tests.docker import plugins
from tests.docker.plugins import BuildError
from tests.docker.project import COMPOSE, defaults
from tests.optional import lacking, need

pytestmark = pytest.mark.timeout(900)
# Custom resources: Go module, version, where in it the definition lies, kind.
DEFINITIONS = (
    (
        "github.com/prometheus-operator/prometheus-operator", "v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
    (
        "github.com/elastic/cloud-on-k8s/v2", "v2.16.1",
        "config/crds/v1/resources/elasticsearch.k8s.elastic.co_elasticsearches.yaml",
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def manifests() -> str:
    """What `kubectl apply -k` would send."""
    try:
        program = plugins.kustomize(need("go", apt="golang"))
    except BuildError as error:
        lacking("kustomize", f"Go builds it through its proxy: {error}")
        raise
    done = subprocess.run([program, "build", COMPOSE / "kubernetes"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def objects(manifests: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The objects by kind and name."""
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(manifests)}


def strict(schema: Any) -> Any:
    """Return a definition's schema with every unknown field refused, as the API server's field validation does."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def custom_schemas(folder: Path) -> None:
    """Write the schema of each custom resource as kubeconform looks for it."""
    go = need("go", apt="golang")
    for module, version, path in DEFINITIONS:
        definition = yaml.safe_load((plugins.module_source(go, module, version) / path).read_text())
        names = definition["spec"]["names"]
        for served in definition["spec"]["versions"]:
            schema = served["schema"]["openAPIV3Schema"]
            schema["properties"]["metadata"] = {"type": "object"}
            file = folder / f"{names['kind'].lower()}-{served['name']}.json"
            file.write_text(json.dumps(strict(schema)))


def builtin_schemas(source: Path, manifests: str, folder: Path) -> None:
    """Write the schema of each of Kubernetes' own kinds, with the definitions inside that the package keeps apart."""
    shared = json.loads((source / "_definitions.json").read_text())["$defs"]
    for each in yaml.safe_load_all(manifests):
        group, _, version = each["apiVersion"].rpartition("/")
        suffix = f"{group.split('.')[0]}-{version}" if group else version
        file = source / f"{each['kind'].lower()}-{suffix}.json"
        if file.exists():
            schema = json.loads(file.read_text().replace('"/api/_definitions.json#', '"#'))
            (folder / file.name).write_text(json.dumps(schema | {"$defs": shared}))


def conform(manifests: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run kubeconform, offline, over manifests."""
    try:
        program = plugins.kubeconform(need("go", apt="golang"))
        builtin_schemas(plugins.kubernetes_schemas(), manifests, folder)
        custom_schemas(folder)
    except BuildError as error:
        lacking("kubeconform and its schemas", f"they come through Go's proxy and the Python index: {error}")
        raise
    locations = [
        f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
        f"{folder}/{{{{.ResourceKind}}}}-{{{{.ResourceAPIVersion}}}}.json",
    ]
    options = [part for location in locations for part in ("-schema-location", location)]
    return subprocess.run(
        [program, "-strict", "-summary", "-output", "json", *options],
        input=manifests, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_manifest_fits_its_schema(manifests: str, tmp_path: Path) -> None:
    """Each object is checked, none skipped for want of a schema; a misspelt field is found, in custom resources too."""
    done = conform(manifests, tmp_path)
    summary = json.loads(done.stdout)["summary"]
    assert done.returncode == 0, done.stdout
    assert summary["valid"] == len(list(yaml.safe_load_all(manifests)))
    assert summary["skipped"] == 0
    for right, wrong in {"volumeMounts:": "volumeMount:", "nodeSets:": "nodeSet:", "endpoints:": "endpoint:"}.items():
        assert right in manifests
        assert conform(manifests.replace(right, wrong), tmp_path).returncode != 0, wrong


def test_the_pod_is_what_the_docker_stack_is(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    """One log folder for both; not root, nothing writable but volumes; the shipper's verify mode; probes; preStop."""
    pod = objects["StatefulSet", "app"]["spec"]["template"]["spec"]
    app, shipper = pod["containers"][0], pod["initContainers"][0]
    assert shipper["restartPolicy"] == "Always"
    logs = {"name": "logs", "mountPath": "/var/log/ml-pipeline"}
    for container in (app, shipper):
        assert logs in container["volumeMounts"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/health"
        assert not container["image"].endswith(":latest")
        assert ":" in container["image"].rpartition("/")[2]
    assert app["lifecycle"]["preStop"]
    assert {"name": "SHIPPER_SETUP", "value": "verify"} in shipper["env"]
    stop = next(int(each["value"]) for each in shipper["env"] if each["name"] == "SHIPPER_STOP_SECONDS")
    assert pod["terminationGracePeriodSeconds"] > stop + 10


def test_the_shipper_has_an_api_key_and_no_password(
    manifests: str, objects: dict[tuple[str, str], dict[str, Any]]
) -> None:
    """As in compose.secure.yaml: the set-up's job makes the key, and may do nothing but keep it in its one secret."""
    pod = objects["StatefulSet", "app"]["spec"]["template"]["spec"]
    shipper = pod["initContainers"][0]
    settings = {each["name"]: each["value"] for each in shipper["env"]}
    assert not settings.keys() & {"SHIPPER_USERNAME", "SHIPPER_PASSWORD_FILE"}
    mounts = {each["name"]: each["mountPath"] for each in shipper["volumeMounts"]}
    volume = next(each["secret"] for each in pod["volumes"] if each["name"] == "shipper")
    assert volume["items"] == [{"key": ENTRY, "path": ENTRY}], "without the entry the pod waits"
    assert settings["SHIPPER_API_KEY_FILE"] == f"{mounts['shipper']}/{ENTRY}"
    assert "data" not in objects["Secret", volume["secretName"]], "applied again it leaves the key"
    assert "stringData" not in manifests

    job = objects["Job", "setup"]["spec"]["template"]["spec"]
    assert f"--shipper-key-secret={volume['secretName']}" in job["containers"][0]["args"]
    binding = objects["RoleBinding", "setup"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": job["serviceAccountName"], "namespace": "ml-pipeline"}
    ]
    rules = objects["Role", binding["roleRef"]["name"]]["rules"]
    only = {"resources": ["secrets"], "resourceNames": [volume["secretName"]], "verbs": ["get", "patch"]}
    assert rules == [{"apiGroups": [""], **only}]
    assert pod["automountServiceAccountToken"] is False


def test_the_version_is_the_stacks(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Elasticsearch's version is that of .env.example."""
    assert objects["Elasticsearch", "logs"]["spec"]["version"] == defaults()["ELASTIC_VERSION"]
