"""The compose plugin of docker, built once through the Go module proxy: Debian's own is the old version 1."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from compose.bootstrap import PIP_WHEEL
from tests.elasticsearch.distribution import cache_dir

COMPOSE_VERSION = "v2.40.3"
KUBECONFORM_VERSION = "v0.7.0"
ACTIONLINT_VERSION = "v1.7.12"
KUSTOMIZE_VERSION = "v5.7.1"
SCHEMAS_VERSION = "1.37.0"
SCHEMAS_SHA256 = "85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9"
SCHEMAS_FOLDER = f"v{SCHEMAS_VERSION}-local-strict"
# compose's own go.mod excludes these. `go install` refuses a module that excludes; a wrapper that does the same works.
COMPOSE_EXCLUDES = (
    "github.com/davecgh/go-spew@v1.1.2-0.20180830191138-d8f796af33cc",
    "github.com/pmezard/go-difflib@v1.0.1-0.20181226105442-5d4384ee4fb2",
)
GO_DIRECTIVE = "1.24.9"


class BuildError(Exception):
    """Go could not build the program; the message holds the end of what it said."""


def room() -> Path:
    """Return the folder of what is kept between runs: programs, and the daemon's images."""
    folder = cache_dir() / "docker"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def compose_plugin(go: str) -> Path:
    """Return the compose plugin, built on first use (two minutes of CPU time)."""
    version = "github.com/docker/compose/v2/internal.Version"
    flags = f"-s -w -X {version}={COMPOSE_VERSION}"
    return _build(go, "docker-compose", "github.com/docker/compose/v2/cmd", COMPOSE_VERSION, flags, COMPOSE_EXCLUDES)


def kubeconform(go: str) -> Path:
    """Return the program that checks Kubernetes manifests against their schemas, built on first use."""
    return _build(go, "kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", KUBECONFORM_VERSION, "-s -w", ())


def _build(go: str, name: str, package: str, version: str, flags: str, excludes: tuple[str, ...]) -> Path:
    program = room() / f"{name}-{version}"
    with (room() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return program
        with tempfile.TemporaryDirectory(dir=room(), prefix="making-") as folder:
            module = Path(folder)
            (module / "go.mod").write_text(f"module tool\n\ngo {GO_DIRECTIVE}\n")
            for exclude in excludes:
                _go(go, module, "mod", "edit", f"-exclude={exclude}")
            _go(go, module, "get", "-tool", f"{package}@{version}")
            _go(go, module, "build", "-trimpath", "-ldflags", flags, "-o", str(module / name), package)
            (module / name).rename(program)
    return program


def _go(go: str, module: Path, *arguments: str) -> None:
    environment = os.environ | {"GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0", "GOTOOLCHAIN": "auto"}
    done = subprocess.run(
        [go, *arguments],
        cwd=module,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"go {arguments[0]} failed: {done.stderr[-2000:]}")


def kustomize(go: str) -> Path:
    """Return the program that puts Kubernetes manifests together, built on first use."""
    return _build(go, "kustomize", "sigs.k8s.io/kustomize/kustomize/v5", KUSTOMIZE_VERSION, "-s -w", ())


def actionlint(go: str) -> Path:
    """Return the program that checks GitHub's workflow files, built on first use."""
    return _build(go, "actionlint", "github.com/rhysd/actionlint/cmd/actionlint", ACTIONLINT_VERSION, "-s -w", ())


def module_source(go: str, module: str, version: str) -> Path:
    """Return the folder of a Go module's source, fetched through the proxy on first use."""
    environment = os.environ | {"GOFLAGS": "-mod=mod"}
    done = subprocess.run(
        [go, "mod", "download", "-json", f"{module}@{version}"],
        cwd=room(), env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise BuildError(f"go mod download {module} failed: {(done.stdout + done.stderr)[-500:]}")
    return Path(json.loads(done.stdout)["Dir"])


def kubernetes_schemas() -> Path:
    """Return the folder of Kubernetes' own schemas, which the package kubernetes-validate carries."""
    folder = room() / f"kubernetes-schemas-{SCHEMAS_VERSION}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=room(), prefix="making-") as making:
            package = Path(making) / "requirement.txt"
            package.write_text(f"kubernetes-validate=={SCHEMAS_VERSION} --hash=sha256:{SCHEMAS_SHA256}\n")
            command = [sys.executable, str(PIP_WHEEL / "pip"), "download", "-q", "--no-deps", "--require-hashes"]
            done = subprocess.run(
                [*command, "-r", str(package), "-d", making], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise BuildError(f"pip download of kubernetes-validate failed: {done.stderr[-500:]}")
            (wheel,) = Path(making).glob("*.whl")
            with zipfile.ZipFile(wheel) as packed:
                names = [name for name in packed.namelist() if SCHEMAS_FOLDER in name]
                packed.extractall(Path(making) / "all", names)
            next((Path(making) / "all").rglob(SCHEMAS_FOLDER)).rename(folder)
    return folder
