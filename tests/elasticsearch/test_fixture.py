"""The real Elasticsearch of the tests is what it says it is."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from elasticsearch import Elasticsearch

from tests.elasticsearch import distribution

POM = "{http://maven.apache.org/POM/4.0.0}"


def test_versions_agree() -> None:
    """The pom, the plugin's descriptor and the checksum's constant name one version."""
    pom = ET.parse(distribution.HERE / "pom.xml")  # noqa: S314 - our own file
    assert pom.findtext(f"{POM}dependencies/{POM}dependency/{POM}version") == distribution.VERSION
    descriptor = (distribution.HERE / "plugin" / "plugin-descriptor.properties").read_text()
    assert f"elasticsearch.version={distribution.VERSION}" in descriptor.splitlines()


def test_damaged_archive_is_refused(tmp_path: Path) -> None:
    """A zip whose SHA-256 is not the pinned one is never unpacked."""
    archive = tmp_path / "elasticsearch.zip"
    archive.write_bytes(b"something else")
    with pytest.raises(distribution.DistributionError, match="SHA-256"):
        distribution._check(archive)


def test_server_is_the_vendors(real_client: Elasticsearch) -> None:
    """The server answers as Elasticsearch of the 8 line, not as the embedded store."""
    version = real_client.info()["version"]
    assert version["number"].startswith("8.")
    assert version["build_flavor"] != "embedded"
