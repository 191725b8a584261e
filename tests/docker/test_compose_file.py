"""The Docker stack as written: what can be checked without a daemon."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
VARIANTS = ("secure", "cluster", "host")


class Loader(yaml.SafeLoader):
    """Reads compose's own tags, `!reset` and `!override`, as what stands after them."""


def _plain(loader: yaml.SafeLoader, _tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return None


Loader.add_multi_constructor("!", _plain)


def read(name: str) -> tuple[str, dict[str, Any]]:
    """Return a compose file as text and as what it says."""
    text = (ROOT / "compose" / name).read_text(encoding="utf-8")
    return text, yaml.load(text, Loader)  # noqa: S506 - a safe loader that knows two tags more


TEXT, STACK = read("compose.yaml")
OVERLAYS = {name: read(f"compose.{name}.yaml") for name in VARIANTS}
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
OWN = {name: service for name, service in SERVICES.items() if "build" in service}
EXAMPLE = (ROOT / "compose" / ".env.example").read_text(encoding="utf-8")
DEFAULTS = dict(re.findall(r"^([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
GUIDE_PORTS = {"app": 5000, "elasticsearch": 9200, "kibana": 5601, "prometheus": 9090, "alertmanager": 9093,
               "grafana": 3000, "shipper": 9108}  # fmt: skip


def filled(text: str) -> str:
    """Return a value with its variables at their defaults."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


def test_every_port_is_the_guides_and_on_loopback() -> None:
    """Nothing listens beyond 127.0.0.1, and the defaults are the guide's ports."""
    found = {}
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            address, outside, inside = filled(port).split(":")
            assert address == "127.0.0.1", f"{name}: {port}"
            assert outside == inside
            found[name] = int(outside)
    assert found == GUIDE_PORTS


def test_every_image_is_pinned() -> None:
    """Each foreign image has a version, and none is `latest`."""
    images = [service["image"] for name, service in SERVICES.items() if name not in OWN]
    for _text, overlay in OVERLAYS.values():
        images += [service["image"] for service in overlay["services"].values() if "image" in service]
    for image in map(filled, images):
        assert image == "ml-pipeline/stack" or re.search(r":v?\d+\.\d+\.\d+(-alpine)?$", image), image


def test_the_example_names_what_the_stack_uses() -> None:
    """Each variable of the stack is in .env.example with the same default, and the reverse."""
    used: dict[str, str] = {}
    for text in (TEXT, *(text for text, _overlay in OVERLAYS.values())):
        for variable, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text):
            assert used.setdefault(variable, default) == default, f"{variable} has two defaults"
    secret = used.pop("KIBANA_ENCRYPTION_KEY")
    assert len(secret) >= 32, "Kibana asks for 32 characters"
    assert used == DEFAULTS


@pytest.mark.parametrize("name", sorted(OWN))
def test_our_own_containers_may_do_nothing_but_their_work(name: str) -> None:
    """Read-only, without capabilities and new privileges, limited, with an init, logs rotated."""
    service = OWN[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert service["mem_limit"]
    assert service["logging"]["options"]["max-size"]


def test_every_lasting_service_has_a_limit_a_policy_and_a_health_check() -> None:
    """The exporter's image has nothing to look with; every other lasting service is looked at."""
    for name, service in SERVICES.items():
        assert service["mem_limit"], name
        assert service["logging"]["options"]["max-file"], name
        if service["restart"] == "no" or "profiles" in service or name == "elasticsearch-exporter":
            continue
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name


def test_what_is_mounted_is_there() -> None:
    """Each file that is mounted from the checkout exists, read-only; each other volume is declared."""
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            parts = filled(volume).split(":")
            if parts[1] == "/backups":
                continue  # the one folder that is written
            if parts[0].startswith("."):
                assert (ROOT / "compose" / parts[0]).exists(), f"{name}: {volume}"
                assert parts[2] == "ro"
            else:
                assert parts[0] in STACK["volumes"], f"{name}: {volume}"


@pytest.mark.parametrize(("image", "rooms"), [("app", {"app"}), ("shipper", {"shipper", "index_templates"})])
def test_an_image_has_its_own_room_and_lock_alone(image: str, rooms: set[str]) -> None:
    """The app's image has no shipper and the reverse; dependencies are locked with hashes, the user is not root."""
    text = (ROOT / "compose" / "images" / f"{image}.Dockerfile").read_text(encoding="utf-8")
    copied = set(re.findall(r"^COPY (\S+) /srv/", text, re.MULTILINE))
    assert copied == rooms
    assert f"compose/locks/{image}.txt" in text
    assert "--require-hashes" in text
    assert re.search(r"^USER ml$", text, re.MULTILINE)


def test_the_secure_variant_publishes_only_what_asks_for_a_login() -> None:
    """Each port is the proxy's or Elasticsearch's own, on loopback; no password stands in a file of git."""
    services = OVERLAYS["secure"][1]["services"]
    for name, service in SERVICES.items():
        if "ports" in service and name != "elasticsearch":
            assert services[name]["ports"] == [], name
    published = {filled(port) for port in services["proxy"]["ports"]}
    assert published == {f"127.0.0.1:{port}:{port}" for name, port in GUIDE_PORTS.items() if name != "elasticsearch"}
    for secret in OVERLAYS["secure"][1]["secrets"].values():
        assert filled(secret["file"]).startswith("./secrets/")
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "compose/secrets/" in ignored
    assert "**/secrets" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def test_docker_compose_works_from_the_root_as_well() -> None:
    """The root's .env names the file, so that `docker compose up` needs no option."""
    assert (ROOT / ".env").read_text(encoding="utf-8").strip() == "COMPOSE_FILE=compose/compose.yaml"
