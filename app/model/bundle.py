"""Stored models: a folder per version with manifest.json and arrays.npz, and which of them is active.

Nothing that can run is ever loaded: the manifest is JSON, the arrays are plain numbers (no pickle), and each file is
named by its SHA-256 in the one before it: active.json → manifest.json → arrays.npz.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from app.model.about import About
from app.model.reference import OUTPUTS, Reference
from app.model.scoring import MAX_LEAVES, Scorer, Trees
from app.schema import FIELDS, NAMES, Field

_PROBE_BYTES = 1_000_000  # more than a bundle has


class BundleError(ValueError):
    """A stored model cannot be used; the message names the file and the reason."""


class Manifest(About, frozen=True, kw_only=True):
    """What is known about a stored model; see `app.model.scoring.Trees` for the last fields.

    Attributes:
        version: date of training and the first digits of the arrays' SHA-256.
        scores: of the hold-out, with all fields ("all") and with the required ones ("required").
        reference: bins for drift.
        arrays_sha256: of arrays.npz.
    """

    trained_at: dt.datetime
    description: str
    seed: int
    data_sha256: str
    data_rows: int
    fields: list[Field]
    reference: Reference
    libraries: dict[str, str]
    thresholds: list[list[float]]
    first: list[int]
    baseline: float
    slope: float
    intercept: float
    arrays_sha256: str


class Bundle(msgspec.Struct, frozen=True):
    """A model that is ready to score, and what is known about it."""

    manifest: Manifest
    scorer: Scorer


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """Which model is active: the contents of active.json.

    Attributes:
        sha256: of the version's manifest.json.
        previous: versions that were active before, newest first.
    """

    version: str
    sha256: str
    activated_at: dt.datetime
    previous: list[str] = []


def save(bundle: Bundle, folder: Path) -> Manifest:
    """Write a bundle; return its manifest with version and hash filled in.

    Raises:
        OSError: it cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, masks=bundle.scorer.trees.masks, leaves=bundle.scorer.trees.leaves)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    content = hashlib.sha256(bundle.scorer.trees.masks.tobytes() + bundle.scorer.trees.leaves.tobytes()).hexdigest()
    version = f"{bundle.manifest.trained_at:%Y%m%d-%H%M%S}-{content[:8]}"
    manifest = msgspec.structs.replace(bundle.manifest, version=version, arrays_sha256=digest)
    target = folder / version
    target.mkdir(parents=True, exist_ok=True)
    _write(target / "arrays.npz", buffer.getvalue())
    _write(target / "manifest.json", msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    return manifest


def check_folder(folder: Path) -> None:
    """Find out whether a bundle can be kept in a folder.

    Raises:
        OSError: it cannot; the message names the folder and says what to do.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        try:
            probe.write_bytes(bytes(_PROBE_BYTES))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(
            f"APP_MODEL_DIR={folder}: {error.strerror}; a model needs {_PROBE_BYTES:,} bytes there: "
            "free space, or name a folder of yours"
        ) from None


def load(folder: Path, version: str, sha256: str | None = None) -> Bundle:
    """Read a bundle.

    Args:
        folder: the model folder.
        version: which one.
        sha256: of its manifest, when known.

    Raises:
        BundleError: it is absent, broken, changed, or made for other fields.
    """
    if not version or Path(version).name != version or version.startswith("."):
        raise BundleError(f"{version!r} is not the name of a version")
    path = folder / version / "manifest.json"
    if not path.parent.is_dir():
        raise BundleError(f"there is no version {version!r} in {folder}; `ml-app models list` shows those there are")
    text = _read(path)
    if sha256 is not None and hashlib.sha256(text).hexdigest() != sha256:
        raise BundleError(f"{path}: it is not the file that was activated (SHA-256 differs)")
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BundleError(f"{path}: {error}") from None
    if manifest.version != version:
        raise BundleError(f"{path}: it says version {manifest.version}")
    if [(field.name, field.categories) for field in manifest.fields] != [(f.name, f.categories) for f in FIELDS]:
        raise BundleError(f"{path}: it was made for other fields than this service has; train again")
    arrays = folder / version / "arrays.npz"
    data = _read(arrays)
    if hashlib.sha256(data).hexdigest() != manifest.arrays_sha256:
        raise BundleError(f"{arrays}: its SHA-256 is not the one in the manifest")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as opened:
            masks, leaves = opened["masks"], opened["leaves"]
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"{arrays}: {error}") from None
    if not _fit(manifest, masks, leaves):
        raise BundleError(f"{arrays}: its arrays do not fit the manifest")
    trees = Trees(
        manifest.thresholds, manifest.first, masks, leaves, manifest.baseline, manifest.slope, manifest.intercept
    )
    return Bundle(manifest, Scorer(trees))


def _fit(manifest: Manifest, masks: npt.NDArray[Any], leaves: npt.NDArray[Any]) -> bool:
    """Whether arrays and manifest make a model that can score any row and count it for drift."""
    if masks.dtype != np.uint32 or leaves.dtype != np.float64 or masks.ndim != 2:
        return False
    rows, trees = masks.shape
    if leaves.shape != (trees, MAX_LEAVES) or not np.isfinite(leaves).all():
        return False
    # Each field has one row of masks for each of its intervals, and one for "missing".
    intervals = [
        len(field.categories) or len(cuts) + 1 for field, cuts in zip(FIELDS, manifest.thresholds, strict=False)
    ]
    starts = np.cumsum([0, *(count + 1 for count in intervals)]).tolist()
    reference = manifest.reference
    return bool(
        len(manifest.thresholds) == len(FIELDS)
        and [*manifest.first, rows] == starts
        and len(reference.bin_of) == rows
        and all(0 <= number <= reference.bins() for number in reference.bin_of)
        and [feature.name for feature in reference.features] == [*NAMES, *OUTPUTS]
        and [len(cuts) + 1 for cuts in reference.edges] == [len(each.counts) for each in reference.features[-2:]]
        and {"all", "required"} <= set(manifest.scores)
    )


def versions(folder: Path) -> list[str]:
    """Return the stored versions, oldest first."""
    return sorted(path.parent.name for path in folder.glob("*/manifest.json"))


def active(folder: Path) -> Activation | None:
    """Return which model is active, or None when none ever was.

    Raises:
        BundleError: active.json is broken.
    """
    path = folder / "active.json"
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(_read(path), type=Activation)
    except msgspec.MsgspecError as error:
        raise BundleError(f"{path}: {error}; run `ml-app models activate VERSION`") from None


def activate(folder: Path, version: str, now: dt.datetime) -> Activation:
    """Make a version the active one, after checking that it loads.

    Raises:
        BundleError: it does not load.
    """
    load(folder, version)
    try:
        before = active(folder)
    except BundleError:  # a broken active.json is what activating repairs
        before = None
    previous = [before.version, *before.previous] if before and before.version != version else []
    if before and before.version == version:
        previous = before.previous
    return _activate(folder, version, previous[:20], now)


def rollback(folder: Path, now: dt.datetime) -> Activation:
    """Make the version active that was so before the present one.

    Raises:
        BundleError: there is none, or it does not load.
    """
    present = active(folder)
    if present is None or not present.previous:
        raise BundleError(f"{folder}: no version was active before this one")
    load(folder, present.previous[0])
    return _activate(folder, present.previous[0], present.previous[1:], now)


def _activate(folder: Path, version: str, previous: list[str], now: dt.datetime) -> Activation:
    digest = hashlib.sha256(_read(folder / version / "manifest.json")).hexdigest()
    activation = Activation(version=version, sha256=digest, activated_at=now.astimezone(dt.UTC), previous=previous)
    _write(folder / "active.json", msgspec.json.format(msgspec.json.encode(activation), indent=1))
    return activation


def load_active(folder: Path) -> Bundle:
    """Read the active bundle.

    Raises:
        BundleError: there is none, or it is broken.
    """
    activation = active(folder)
    if activation is None:
        raise BundleError(f"{folder}: there is no model; run `ml-app train --if-missing` first")
    return load(folder, activation.version, activation.sha256)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None


def _write(path: Path, data: bytes) -> None:
    """Write whole or not at all, and durably."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
