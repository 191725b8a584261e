"""What is known of a running shipper: why it is not ready, its files, its status."""

from __future__ import annotations

import time

import msgspec

from shipper.deadletter import moment as written
from shipper.service import Service
from shipper.tail import Tail
from shipper.wording import counted

FILES_SHOWN = 200
TICK_LIMIT = 30.0  # seconds without a turn of the reading thread: it hangs


class File(msgspec.Struct):
    """One file in /status; sizes in bytes, lag in bytes and seconds."""

    path: str
    generation: str
    size: int
    offset: int
    acknowledged: int
    lag_bytes: int
    lag_seconds: float


class Cluster(msgspec.Struct):
    """Elasticsearch in /status."""

    reachable: bool | None
    cluster_uuid: str | None


class Status(msgspec.Struct):
    """/status; `state` is starting, shipping, waiting or stopping."""

    state: str
    reasons: list[str]
    lag_bytes: int
    lag_seconds: float
    files: list[File]
    files_total: int
    acknowledged: int
    already_there: int
    dead_letters: int
    retries: int
    expired: int
    wrapped: int
    lost_bytes: int
    lost_files: int
    last_acknowledged_at: str | None
    last_error: str | None
    checkpoint_age_seconds: float
    started_at: str
    elasticsearch: Cluster


def files(service: Service, moment: float) -> list[File]:
    """Return all files under way at a moment of the monotonic clock, the one that lags most first."""
    shown = [
        File(
            path=tail.path,
            generation=tail.record.generation,
            size=tail.size,
            offset=tail.read,
            acknowledged=tail.record.offset,
            lag_bytes=tail.lag,
            lag_seconds=max(0.0, moment - tail.behind_since) if tail.behind_since and tail.lag else 0.0,
        )
        for tail in list(service.tails.tails.values())
    ]
    return sorted(shown, key=lambda file: (-file.lag_bytes, file.path))


def hanging(service: Service, moment: float) -> float:
    """Return for how many seconds the reading thread has made no turn; 0 below the limit."""
    still = moment - service.ticked
    return still if still >= TICK_LIMIT else 0.0


def lag_seconds(service: Service, listed: list[File], moment: float) -> float:
    """Return for how long the oldest bytes wait; while nothing is looked at, at least for how long that is so."""
    return max((file.lag_seconds for file in listed), default=0.0) + hanging(service, moment)


def reasons(service: Service, moment: float) -> list[str]:
    """Return why the shipper is not ready at a moment of the monotonic clock; empty when it is."""
    found = [f"{key}: {text}" for key, text in list(service.tally.stuck.items())]
    if still := hanging(service, moment):
        found.append(
            f"hangs: no file was looked at for {still:.0f} s; does the disk of the log files, or of "
            f"SHIPPER_STATE_DIR={service.settings.state_dir}, still answer?"
        )
    if service.target.cluster is None and not found:
        found.append("starting: Elasticsearch was not reached yet")
    behind = sum(tail.lag for tail in list(service.tails.tails.values()))
    still = moment - service.progressed
    limit = service.settings.stall_seconds
    oldest = max((file.lag_seconds for file in files(service, moment)), default=0.0)
    if behind and service.tally.reachable and still > limit and oldest > limit:
        found.append(
            f"stalled: {counted(behind, 'byte', 'waits', 'wait')} and nothing was acknowledged for {still:.0f} s"
        )
    elif service.tally.reachable:
        stuck = stalled(service, moment)
        found += [f"{tail.path} grows, and nothing of it was acknowledged for {limit:.0f} s" for tail in stuck[:5]]
    troubles = list(service.tails.unreadable.troubles.items())
    found += [f"{path} cannot be read: {trouble.text}" for path, trouble in troubles[:5]]
    return found


def stalled(service: Service, moment: float) -> list[Tail]:
    """Return the files that grow while their acknowledged offset does not move."""
    limit = service.settings.stall_seconds
    return [tail for tail in list(service.tails.tails.values()) if tail.stuck(moment, limit)]


def status(service: Service, now: float) -> Status:
    """Return /status at a moment, seconds since 1970."""
    tally, counts = service.tally, service.tally.counts
    moment = time.monotonic()
    listed = files(service, moment)
    why = reasons(service, moment)
    state = "stopping" if service.stopping.is_set() else "waiting" if why else "shipping"
    if service.target.cluster is None and state == "waiting" and tally.reachable is None:
        state = "starting"
    return Status(
        state=state,
        reasons=why,
        lag_bytes=sum(file.lag_bytes for file in listed),
        lag_seconds=lag_seconds(service, listed, moment),
        files=listed[:FILES_SHOWN],
        files_total=len(listed),
        acknowledged=counts["acknowledged"],
        already_there=counts["already_there"],
        dead_letters=counts["dead_letter"],
        retries=counts["retries"],
        expired=service.maker.counts["expired"],
        wrapped=service.maker.counts["wrapped"],
        lost_bytes=service.tails.counts["lost_bytes"],
        lost_files=service.tails.counts["lost_files"],
        last_acknowledged_at=written(tally.last_acknowledged) if tally.last_acknowledged else None,
        last_error=tally.last_error,
        checkpoint_age_seconds=max(0.0, now - service.saved_at),
        started_at=written(service.started_at),
        elasticsearch=Cluster(tally.reachable, service.target.cluster),
    )
