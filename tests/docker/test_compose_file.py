"""The Docker stack as written: what can be checked without a daemon."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose" / "compose.yaml").read_text(encoding="utf-8")
STACK: dict[str, Any] = yaml.safe_load(TEXT)
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
    for name, service in SERVICES.items():
        if name in OWN:
            continue
        image = filled(service["image"])
        assert re.search(r":v?\d+\.\d+\.\d+$", image), f"{name}: {image}"


def test_the_example_names_what_the_stack_uses() -> None:
    """Each variable of the stack is in .env.example with the same default, and the reverse."""
    used = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", TEXT))
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


def test_docker_compose_works_from_the_root_as_well() -> None:
    """The root's .env names the file, so that `docker compose up` needs no option."""
    assert (ROOT / ".env").read_text(encoding="utf-8").strip() == "COMPOSE_FILE=compose/compose.yaml"
