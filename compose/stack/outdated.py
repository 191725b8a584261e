"""Pinned packages and image tags that have a newer version: packages asked of pip's index, tags of their registries."""

from __future__ import annotations

import itertools
import json
import operator
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import yaml

from compose.bootstrap import PIP_WHEEL
from compose.stack.dependencies import canonical, pinned
from compose.stack.settings import CHECKOUT
from compose.stack.supervisor import StackError

TIMEOUT_SECONDS = 20.0
PIP_SECONDS = 600
MOST_PAGES = 50
DOCKER_HUB = "registry-1.docker.io"
_TAG = re.compile(r"(v?)(\d+(?:\.\d+)*)(.*)")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)")
_BOUND = re.compile(r"(<=|<|==)\s*(\d+(?:\.\d+)*)")
_VARIABLE = re.compile(r"\$\{(\w+):?-([^}]*)\}")


class Image(msgspec.Struct, frozen=True, order=True):
    """An image as Docker names it: `registry/repository:tag`."""

    registry: str
    repository: str
    tag: str

    @property
    def url(self) -> str:
        """Base address of its registry; plain http on loopback, as Docker has it."""
        plain = self.registry.partition(":")[0] in ("localhost", "127.0.0.1")
        return f"{'http' if plain else 'https'}://{self.registry}"


def parse_image(text: str) -> Image:
    """Read an image's name by Docker's rules: no host means Docker Hub, no folder there means `library`.

    Raises:
        StackError: it has no tag.
    """
    name, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        raise StackError(f"image {text} has no tag: pin one")
    host, slash, rest = name.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return Image(DOCKER_HUB if host == "docker.io" else host, rest, tag)
    return Image(DOCKER_HUB, name if slash else f"library/{name}", tag)


def images(compose_file: Path, environment: Mapping[str, str]) -> list[Image]:
    """Return the images that a compose file takes from others: of services, and build arguments *_IMAGE.

    Args:
        environment: values that win over the defaults in the file.

    Raises:
        StackError: the file cannot be read, or is no compose file.
    """
    try:
        text = compose_file.read_text(encoding="utf-8")
    except OSError as error:
        raise StackError(f"{compose_file}: {error.strerror}") from None
    filled = _VARIABLE.sub(lambda found: environment.get(found[1]) or found[2], text)
    names: set[str] = set()
    built: set[str | None] = set()  # a service may use the image that another one builds
    try:
        for service in yaml.safe_load(filled)["services"].values():
            build = service.get("build")
            if build is None and "image" in service:
                names.add(service["image"])
            if build is not None:
                built.add(service.get("image"))
            arguments = build.get("args", {}) if isinstance(build, dict) else {}
            names.update(value for name, value in arguments.items() if name.endswith("_IMAGE"))
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise StackError(f"{compose_file} is no compose file: give one with --compose-file") from None
    return sorted(map(parse_image, names - built))


def newest(tag: str, others: list[str]) -> str | None:
    """Return the highest tag of the same shape (prefix, count of numbers, suffix), None when `tag` is it.

    `3.11-slim-bookworm` is compared with `3.14-slim-bookworm`, not with `3.14.1-slim-bookworm` or `3.14-alpine`.
    """
    own = _TAG.fullmatch(tag)
    if own is None:
        return None
    best, found = _numbers(own[2]), None
    for other in others:
        match = _TAG.fullmatch(other)
        if match is None or (match[1], match[3]) != (own[1], own[3]) or match[2].count(".") != own[2].count("."):
            continue
        if _numbers(match[2]) > best:
            best, found = _numbers(match[2]), other
    return found


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def our_ranges(project: Path) -> dict[str, str]:
    """Return what a pyproject.toml asks for, by package: `>=2.0,<3`; nothing where there is none."""
    if not project.exists():  # an installed copy: what may be raised is decided in a checkout
        return {}
    told = tomllib.loads(project.read_text(encoding="utf-8"))
    lists = [told["project"].get("dependencies", [])]
    lists += told["project"].get("optional-dependencies", {}).values()
    lists += told.get("dependency-groups", {}).values()
    found = (_REQUIREMENT.match(each) for each in itertools.chain(*lists))
    return {canonical(each[1]): each[2].strip() for each in found if each}


def is_within(version: str, wanted: str) -> bool:
    """Whether a version is not above a range's upper bound; only the numbers it begins with are compared."""
    begins = re.match(r"\d+(?:\.\d+)*", version)
    own = _numbers(begins[0]) if begins else ()
    ends = {"<": operator.lt, "<=": operator.le, "==": operator.eq}
    return all(ends[kind](own, _numbers(bound)) for kind, bound in _BOUND.findall(wanted))


def tags(image: Image, client: httpx.Client) -> list[str]:
    """Return all tags of an image, by the registry's API (OCI distribution specification, "listing tags").

    Raises:
        StackError: the registry does not answer, or not with tags.
    """
    found: list[str] = []
    url, headers = f"{image.url}/v2/{image.repository}/tags/list?n=1000", dict[str, str]()
    try:
        for _page in range(MOST_PAGES):
            answer = client.get(url, headers=headers)
            if answer.status_code == 401 and not headers:
                headers = {"Authorization": f"Bearer {_token(client, answer.headers.get('WWW-Authenticate', ''))}"}
                answer = client.get(url, headers=headers)
            answer.raise_for_status()
            found += answer.json().get("tags") or []
            following = answer.links.get("next", {}).get("url")
            if following is None:
                break
            url = str(answer.url.join(following))
    except httpx.HTTPStatusError as error:
        raise StackError(f"{image.registry} answered {error.response.status_code}") from None
    except httpx.HTTPError as error:
        raise StackError(f"{image.registry} cannot be reached ({str(error) or type(error).__name__})") from None
    except (ValueError, KeyError, AttributeError, TypeError):
        raise StackError(f"{image.registry} answered something that is no list of tags; is a proxy between?") from None
    return found


def _token(client: httpx.Client, challenge: str) -> str:
    """Fetch the anonymous token that a registry's challenge asks for."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = fields.pop("realm")
    answer = client.get(realm, params=fields)
    answer.raise_for_status()
    body = answer.json()
    return str(body.get("token") or body["access_token"])


def newest_packages(requirements: list[str]) -> dict[str, str]:
    """Return the newest version of each package that suits this Python, by pip and its configuration.

    Raises:
        StackError: pip failed; its last words are in the message.
    """
    command = [sys.executable, f"{PIP_WHEEL}/pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--only-binary", ":all:", "--report", "-", *requirements]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PIP_SECONDS)
    except subprocess.TimeoutExpired:
        raise StackError(f"the package index did not answer within {PIP_SECONDS} s; see `pip config list`") from None
    if done.returncode:
        last = "\n".join("  " + line for line in done.stderr.strip().splitlines()[-4:])
        raise StackError(
            f"the package index could not be asked; pip's last words:\n{last}\n"
            "what to do: check the network and pip's configuration (pip config list)"
        )
    report: list[dict[str, Any]] = json.loads(done.stdout)["install"]
    return {canonical(each["metadata"]["name"]): each["metadata"]["version"] for each in report}


def show(lock: Path, compose_file: Path, say: Callable[[str], None]) -> bool:
    """Print what has a newer version; return whether nothing has.

    Raises:
        StackError: something could not be asked; what could be is printed before.
    """
    found = images(compose_file, {**_settings_file(compose_file.with_name(".env")), **os.environ})
    old, unknown = _show_packages(lock, say)
    with httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=True) as client:
        for image in found:
            name = f"{image.repository}:{image.tag}"
            try:
                listed = tags(image, client)
            except StackError as error:
                say(f"  {name:52} not known: {error}")
                unknown.append(name)
                continue
            if image.tag not in listed:
                say(f"  {name:52} is not in the registry")
                old += 1
            elif newer := newest(image.tag, listed):
                say(f"  {name:52} -> {newer}")
                old += 1
    say(f"{len(found)} images and the packages of {lock.name}: {old} have a newer version")
    if unknown:
        raise StackError(f"not known: {', '.join(unknown)}; run it again where these can be reached")
    return not old


def _show_packages(lock: Path, say: Callable[[str], None]) -> tuple[int, list[str]]:
    pins = pinned(lock)
    try:
        latest = newest_packages(sorted({pin.requirement(exact=False) for pin in pins}))
    except StackError as error:
        say(str(error))
        return 0, ["packages"]
    mine: dict[str, list[str]] = {}
    for pin in pins:
        mine.setdefault(pin.name, []).append(pin.version)
    old = {name: newer for name, newer in latest.items() if newer not in mine.get(name, [newer])}
    ranges = our_ranges(CHECKOUT / "pyproject.toml")
    for name, newer in sorted(old.items()):
        wanted = ranges.get(name, "")
        ours = "" if is_within(newer, wanted) else f"   (pyproject.toml asks for {wanted}: raise that first)"
        say(f"  {name:28}{', '.join(mine[name]):24} -> {newer}{ours}")
    return len(old), []


def _settings_file(path: Path) -> dict[str, str]:
    """Read compose/.env: NAME=value lines; empty where there is none."""
    if not path.exists():
        return {}
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
