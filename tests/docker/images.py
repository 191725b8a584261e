"""The images that the stack names, made here where none can be pulled: Debian's packages under the vendors' tags.

They let the project's own files be tried for real: compose files, Dockerfiles, wiring, behaviour. They do not show that
the vendors' images of those versions behave the same.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.docker.daemon import Daemon, DaemonError
from tests.docker.plugins import room
from tests.elasticsearch.distribution import prepare
from tests.optional import need

HERE = Path(__file__).resolve().parent
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
DEBIAN_TEMPLATES = Path("/usr/share/prometheus/alertmanager")  # compiled in upstream, files at Debian
SUITE = "bookworm"
PACKAGES = "ca-certificates,netbase,tzdata,python3,python3-pip,python3-venv"
LABEL = "ml-pipeline.recipe"

APT = """\
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends {packages} \\
 && apt-get clean && rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/*
"""

TOOLS = "FROM {python}\n" + APT.format(packages="busybox-static curl") + "RUN ln -s /bin/busybox /usr/local/bin/wget\n"

PROMETHEUS = """\
FROM {tools}
COPY program /bin/prometheus
RUN mkdir -p /prometheus /etc/prometheus && chown nobody:nogroup /prometheus
USER nobody
WORKDIR /prometheus
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
"""

ALERTMANAGER = """\
FROM {tools}
COPY program /bin/alertmanager
COPY templates /usr/share/prometheus/alertmanager
RUN mkdir -p /alertmanager /etc/alertmanager && chown nobody:nogroup /alertmanager
USER nobody
WORKDIR /alertmanager
ENTRYPOINT ["/bin/alertmanager"]
CMD ["--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager"]
"""

EXPORTER = """\
FROM {tools}
COPY program /bin/elasticsearch_exporter
USER nobody
ENTRYPOINT ["/bin/elasticsearch_exporter"]
"""

NGINX = (
    """\
FROM {tools}
"""
    + APT.format(packages="nginx-light")
    + """\
RUN usermod -u 101 www-data 2>/dev/null; groupadd -f -g 101 nginx \\
 && mkdir -p /etc/nginx/conf.d /var/cache/nginx && ln -sf /dev/stdout /var/log/nginx/access.log
USER 101:101
ENTRYPOINT ["nginx"]
CMD ["-g", "daemon off;"]
"""
)

# No folder for snapshots, as in the vendor's image: who mounts one has to see to its rights.
ELASTICSEARCH = (
    """\
FROM {tools}
RUN mkdir -p /usr/share/man/man1
"""
    + APT.format(packages="openjdk-17-jre-headless")
    + """\
RUN groupadd -g 1000 elasticsearch && useradd -u 1000 -g 1000 -G 0 -M -d /usr/share/elasticsearch elasticsearch
COPY --chown=1000:0 home /usr/share/elasticsearch
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
COPY entrypoint.sh /usr/local/bin/docker-entrypoint.sh
RUN cd /usr/share/elasticsearch && mkdir -p data logs && chown -R 1000:0 data logs config \\
 && chmod 0775 . data logs config && chmod 0755 /usr/local/bin/docker-entrypoint.sh \\
 && printf 'cluster.name: "docker-cluster"\\nnetwork.host: 0.0.0.0\\n' > config/elasticsearch.yml
ENV ES_JAVA_HOME=/usr/lib/jvm/java-17-openjdk-amd64 ELASTIC_CONTAINER=true \\
    CLI_JAVA_OPTS="-Xms16m -Xmx64m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
WORKDIR /usr/share/elasticsearch
USER 1000:0
EXPOSE 9200 9300
ENTRYPOINT ["/bin/tini", "--", "/usr/local/bin/docker-entrypoint.sh"]
CMD ["eswrapper"]
"""
)


def make(daemon: Daemon, tags: dict[str, str]) -> None:
    """Make each stand-in that the daemon lacks.

    Args:
        daemon: where they are kept.
        tags: `python`, `elasticsearch`, `prometheus`, `alertmanager`, `exporter` and `nginx`, each the tag that the
            stack names.
    """
    python = tags["python"]
    _python(daemon, python)
    tools = "ml-pipeline-tests/tools"
    _build(daemon, tools, TOOLS.format(python=python))
    programs = {
        "prometheus": (PROMETHEUS, "prometheus", "prometheus"),
        "alertmanager": (ALERTMANAGER, "prometheus-alertmanager", "prometheus-alertmanager"),
        "exporter": (EXPORTER, "prometheus-elasticsearch-exporter", "prometheus-elasticsearch-exporter"),
    }
    for name, (recipe, program, package) in programs.items():
        files = {"program": Path(need(program, apt=package))}
        if name == "alertmanager":
            files["templates"] = DEBIAN_TEMPLATES
        _build(daemon, tags[name], recipe.format(tools=tools), files)
    _build(daemon, tags["nginx"], NGINX.format(tools=tools))
    home = prepare(need("java", apt="default-jdk-headless"), need("mvn", apt="maven"))
    files = {"home": home, "entrypoint.sh": HERE / "standins" / "elasticsearch-entrypoint.sh"}
    _build(daemon, tags["elasticsearch"], ELASTICSEARCH.format(tools=tools), files)


def _present(daemon: Daemon, tag: str, recipe: str) -> bool:
    """Whether the daemon has this image, made by this recipe."""
    found = daemon.docker("image", "inspect", "-f", f'{{{{index .Config.Labels "{LABEL}"}}}}', tag, check=False)
    return found.returncode == 0 and found.stdout.strip() == recipe


def _build(daemon: Daemon, tag: str, dockerfile: str, files: dict[str, Path] | None = None) -> None:
    parts = [dockerfile]
    for name, path in sorted((files or {}).items()):
        stat = path.stat()
        parts.append(f"{name}:{path.name}:{stat.st_size if path.is_file() else ''}")
    recipe = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    if _present(daemon, tag, recipe):
        return
    with tempfile.TemporaryDirectory(dir=room(), prefix="context-") as folder:
        context = Path(folder)
        (context / "Dockerfile").write_text(dockerfile)
        for name, path in (files or {}).items():
            if path.is_dir():
                shutil.copytree(path, context / name, symlinks=True)
            else:
                shutil.copy(path, context / name)
        daemon.docker("build", "-q", "-t", tag, "--label", f"{LABEL}={recipe}", str(context), timeout=900)


def _python(daemon: Daemon, tag: str) -> None:
    """Make the Python base by debootstrap, looking like the official one as far as a Dockerfile can tell."""
    recipe = f"{SUITE}-{PACKAGES}-1"
    if _present(daemon, tag, recipe):
        return
    program = need("debootstrap", apt="debootstrap")
    with tempfile.TemporaryDirectory(dir=room(), prefix="rootfs-") as folder:
        root = Path(folder) / "root"
        command = [program, "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root), _mirror()]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DaemonError(f"debootstrap failed: {done.stdout[-1500:]}")
        for name in ("python", "python3"):
            (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3")
        for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        for litter in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"):
            shutil.rmtree(root / litter, ignore_errors=True)
        (root / "var/lib/apt/lists/partial").mkdir(parents=True)
        (root / "var/cache/apt/archives/partial").mkdir(parents=True)
        # Inside a build, pip and apt trust what this machine trusts. Such an image is never published.
        shutil.copy(CERTIFICATES, root / "etc/ssl/certs/ca-certificates.crt")
        _import(daemon, root, tag, recipe)


def _import(daemon: Daemon, root: Path, tag: str, recipe: str) -> None:
    changes = [
        'CMD ["python3"]',
        "ENV LANG=C.UTF-8",
        "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE={CERTIFICATES}",
        f"LABEL {LABEL}={recipe}",
    ]
    options = [part for change in changes for part in ("--change", change)]
    archive = root.parent / "root.tar"
    subprocess.run(["tar", "-C", str(root), "--numeric-owner", "-cf", str(archive), "."], check=True)
    daemon.docker("import", *options, str(archive), tag)


def _mirror() -> str:
    """Return the mirror that this machine's own apt uses."""
    for file in (*Path("/etc/apt/sources.list.d").glob("*.sources"), Path("/etc/apt/sources.list")):
        if not file.exists():
            continue
        for line in file.read_text().splitlines():
            words = line.split()
            if words and words[0] in ("URIs:", "deb") and "debian" in line and "security" not in line:
                return next(word for word in words if word.startswith("http"))
    return "http://deb.debian.org/debian"
