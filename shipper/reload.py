"""Settings that change while files are in flight: what may change, and whether the new ones can be used at all."""

from __future__ import annotations

from typing import Any

from shipper.errors import SettingsError
from shipper.generation import seed_of
from shipper.record import RecordMaker
from shipper.redaction import Redaction
from shipper.server import Server
from shipper.settings import ShipperSettings

# What is held on to for the life of the process: a lock, a port, the ids' seed, the other processes.
FIXED = ("state_dir", "host", "port", "volume_id", "workers")


def changes(old: ShipperSettings, new: ShipperSettings) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, by name, each with its old and its new value."""
    pairs = {name: (getattr(old, name), getattr(new, name)) for name in ShipperSettings.__struct_fields__}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def validated(old: ShipperSettings, new: ShipperSettings) -> Server:
    """Return a client made of new settings, its secrets read again.

    Raises:
        SettingsError: they cannot be used; nothing has changed.
    """
    for name, (was, would) in changes(old, new).items():
        if name in FIXED:
            raise SettingsError(f"SHIPPER_{name.upper()} cannot change from {was} to {would} without a restart")
    if not new.globs:
        raise SettingsError("SHIPPER_PATHS: name the log files, such as /var/log/app/*.jsonl")
    return Server(new)


def maker(settings: ShipperSettings) -> RecordMaker:
    """Return what makes records of lines."""
    redaction = Redaction(
        settings.redact,
        drop=settings.redact_drop,
        masked=settings.redact_mask,
        hashed=settings.redact_hash,
        seed=seed_of(settings.volume_id or str(settings.state_dir)),
    )
    return RecordMaker(redaction, settings.max_line_bytes, settings.retention_days, settings.sample)
