"""The Elasticsearch that the tests run: fetched through Maven, checked, unpacked and given the lab plugin, once.

It is the vendor's own minimal distribution (server, launcher, transport, x-pack-core, x-pack-security) without a JDK.
Its licence forbids committing it, so it is fetched at test time and kept outside the checkout.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
VERSION = "8.19.21"
ZIP_SHA256 = "215d5f3dbf0609a149f6218a9e47b6ae2df34ebbff3c5754e35f15a5e5393c8a"
CACHE_VARIABLE = "ML_TESTS_CACHE"


class DistributionError(Exception):
    """Elasticsearch could not be prepared; the message says why."""


class FetchError(DistributionError):
    """Maven could not bring it: most likely this machine has no way to a repository."""


def cache_dir() -> Path:
    """Return the folder that keeps the distribution: ML_TESTS_CACHE, or one of the user's own.

    Root's is a temporary folder, because Elasticsearch refuses to run as root and `nobody` cannot enter root's home.

    Raises:
        DistributionError: the temporary folder belongs to somebody else.
    """
    if given := os.environ.get(CACHE_VARIABLE):
        folder = Path(given)
    elif os.getuid() != 0:
        folder = Path.home() / ".cache" / "ml-pipeline-tests"
    else:
        folder = Path(tempfile.gettempdir()) / "ml-pipeline-tests"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise DistributionError(f"{folder} belongs to another user; set {CACHE_VARIABLE} to a folder of your own")
    return folder


def prepare(java: str, maven: str) -> Path:
    """Return the home of an Elasticsearch with the lab plugin, made on first use.

    Args:
        java: path of the `java` program; `javac` lies beside it or on PATH.
        maven: path of the `mvn` program.

    Raises:
        FetchError: Maven could not bring it.
        DistributionError: the checksum is another, or the plugin does not compile.
    """
    cache = cache_dir()
    home = cache / f"elasticsearch-{VERSION}-{_plugin_digest()}"
    with _locked(cache / "lock"):
        if home.is_dir():
            return home
        with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as temporary:
            room = Path(temporary)
            archive = _fetch(maven, room)
            _check(archive)
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(room)
            made = room / f"elasticsearch-{VERSION}"
            _compile_plugin(java, made)
            _open_to_all(made)
            made.rename(home)
    return home


def _plugin_sources() -> list[Path]:
    return [*sorted((HERE / "plugin").rglob("*.java")), HERE / "plugin" / "plugin-descriptor.properties"]


def _plugin_digest() -> str:
    """A short name for the plugin's sources: another plugin is another home."""
    digest = hashlib.sha256()
    for source in _plugin_sources():
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time prepare the distribution."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(arguments: list[str], what: str, error: type[DistributionError]) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise error(f"{what} failed: {(done.stdout + done.stderr)[-2000:]}")


def _fetch(maven: str, room: Path) -> Path:
    pom, goal = str(HERE / "pom.xml"), "dependency:copy-dependencies"
    target = room / "fetched"
    _run(
        [maven, "-B", "-q", "-f", pom, goal, "-DincludeTypes=zip", f"-DoutputDirectory={target}"],
        f"fetching Elasticsearch {VERSION} through Maven",
        FetchError,
    )
    return target / f"elasticsearch-{VERSION}.zip"


def _check(archive: Path) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != ZIP_SHA256:
        raise DistributionError(f"{archive.name} has the SHA-256 {found}, expected {ZIP_SHA256}: not used")


def _compile_plugin(java: str, home: Path) -> None:
    beside = Path(java).resolve().with_name("javac")
    javac = str(beside) if beside.exists() else shutil.which("javac")
    if javac is None:
        raise DistributionError("java is here, javac is not; on Debian: apt-get install default-jdk-headless")
    jars = [*home.glob("lib/*.jar"), *home.glob("modules/x-pack-core/*.jar")]
    plugin = home / "plugins" / "lab-ilm"
    classes = home.parent / "classes"
    plugin.mkdir(parents=True)
    sources = [str(source) for source in _plugin_sources() if source.suffix == ".java"]
    path = ":".join(str(jar) for jar in jars)
    options = ["--release", "17", "-nowarn", "-Xlint:-options", "-proc:none"]
    _run([javac, *options, "-cp", path, "-d", str(classes), *sources], "compiling the lab plugin", DistributionError)
    with zipfile.ZipFile(plugin / "lab-ilm.jar", "w", zipfile.ZIP_DEFLATED) as jar:
        for compiled in sorted(classes.rglob("*.class")):
            jar.write(compiled, compiled.relative_to(classes))
    shutil.copy(HERE / "plugin" / "plugin-descriptor.properties", plugin)


def _open_to_all(home: Path) -> None:
    """Make the programs executable and everything readable: the server may run as another user."""
    for path in [home, *home.rglob("*")]:
        executable = path.is_dir() or path.parent.name == "bin"
        path.chmod(0o755 if executable else 0o644)
