"""`restore`: puts a backup back into an empty stack, and refuses to write over what is there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx

from compose.provision.elasticsearch import PATTERN, REPOSITORY
from compose.stack.backup import SERVER, Manifest, Places, Say, digest, read_manifest, store_kind
from compose.stack.failure import explain
from compose.stack.remote import Servers, wait_until
from compose.stack.supervisor import StackError

INDEX_SECONDS = 600.0
PARTS = {"model", "feedback", "metrics", "dashboards", "logs"}


def restore(servers: Servers, places: Places, folder: Path, say: Say) -> list[str]:
    """Put a backup back.

    Args:
        servers: the stack it goes into: Elasticsearch, Prometheus and Grafana up, the model service not yet.
        places: folders that no server hands out.
        folder: the backup.

    Returns:
        The parts that were put back.

    Raises:
        StackError: the backup is not whole or not ours, or the stack is not empty: nothing was done then. Or the disk
            or a server refused, or a part was not put back although its server is there: what was put back before
            stays, and a second run goes on.
    """
    say(f"comparing {folder} with its manifest …")
    manifest = read_manifest(folder)
    if strange := sorted(set(manifest.parts) - PARTS):
        raise StackError(f"{folder} holds {', '.join(strange)}, which this version does not know: take a newer one")
    if {"model", "feedback"} & set(manifest.parts):
        _refuse_running_app(servers)
    if "logs" in manifest.parts and servers.has("elasticsearch"):
        _refuse_other_store(servers, manifest)
        _refuse_other_indices(servers, manifest)
    if "model" in manifest.parts:
        _refuse_other_files(places.models, folder / "model")
    if "feedback" in manifest.parts:
        _refuse_other_files(places.feedback, folder / "feedback.sqlite")
    steps: dict[str, Callable[[], str | None]] = {
        "model": lambda: _models(places, folder / "model"),
        "feedback": lambda: _feedback(places, folder / "feedback.sqlite"),
        "metrics": lambda: _metrics(places, folder / "metrics"),
        "dashboards": lambda: _dashboards(servers, folder / "dashboards"),
        "logs": lambda: _logs(servers, places, folder / "logs", manifest),
    }
    done: list[str] = []
    for number, part in enumerate(manifest.parts, 1):
        say(f"[{number}/{len(manifest.parts)}] {part} …")
        try:
            why = steps[part]()
        except OSError as error:
            raise StackError(f"{part} was not put back: {explain(error)}; mend that and run it again") from None
        say(f"      left out: {why}" if why else "      put back")
        if why is None:
            done.append(part)
    if "metrics" in done:
        say("Prometheus shows the restored metrics after its next restart, or within some minutes by itself")
    lost = [part for part in manifest.parts if part not in done and servers.has(SERVER.get(part, "app"))]
    if lost:
        raise StackError(
            f"not put back: {', '.join(lost)}, for the reason above; put back: {', '.join(done) or 'nothing'}"
        )
    say(f"done: {', '.join(done) or 'nothing'}; now start the rest: `docker compose up -d`, or `python3 compose up`")
    return done


def _refuse_running_app(servers: Servers) -> None:
    if not servers.has("app"):
        return
    app = servers["app"]
    try:
        app.client.get(f"{app.url}/health")
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return
    except httpx.HTTPError:
        pass  # one that is slow to answer runs, too
    raise StackError(f"the model service at {app.url} runs: stop it first, its model and labels are replaced")


def _refuse_other_store(servers: Servers, manifest: Manifest) -> None:
    here = store_kind(servers["elasticsearch"])
    if manifest.store in (None, here):
        return
    names = {"elasticsearch": "an Elasticsearch", "embedded": "the embedded store"}
    way = "restore it into an embedded store and copy the documents over with `ml-stack migrate`, or "
    raise StackError(
        f"the backup's documents are a snapshot of {names[manifest.store]}, which {names[here]} cannot read: "
        f"{way if here == 'elasticsearch' else ''}put back all the rest with `--without elasticsearch`"
    )


def _refuse_other_indices(servers: Servers, manifest: Manifest) -> None:
    present = servers["elasticsearch"].json("GET", f"/_cat/indices/{PATTERN}", params={"format": "json"})
    if clash := sorted({row["index"] for row in present} & manifest.indices.keys()):
        raise StackError(f"index {clash[0]} is there: delete it, or take an empty Elasticsearch")


def _refuse_other_files(target: Path | None, source: Path) -> None:
    """Refuse a file or a folder that is there and is not what the backup holds."""
    if target is None or not target.exists() or _is_put_back(source, target):
        return
    if target.is_file():
        raise StackError(f"{target} is there: move it away first, a restore writes over nothing")
    if any(target.iterdir()):
        raise StackError(f"{target} is not empty: move it away first, a restore writes over nothing")


def _is_put_back(source: Path, target: Path) -> bool:
    """Whether a restore that was stopped has put this very file or folder back already."""

    def held(place: Path) -> list[tuple[str, str]]:
        files = [place] if place.is_file() else (path for path in sorted(place.rglob("*")) if path.is_file())
        return [(str(path.relative_to(place)), digest(place.parent, path).sha256) for path in files]

    return target.exists() and held(source) == held(target)


def _copy(source: Path, to: Path) -> None:
    """Copy a file or a folder, which gets its name last; it belongs to whoever owns the folder it goes into."""
    owner = to.parent.stat()
    room = to.with_name(f".{to.name}.tmp-for-restore")
    if room.exists():
        _remove(room)
    if source.is_dir():
        shutil.copytree(source, room)
    else:
        shutil.copy(source, room)
    if os.geteuid() == 0:
        for path in [room, *room.rglob("*")]:
            os.chown(path, owner.st_uid, owner.st_gid)
    room.rename(to)


def _models(places: Places, source: Path) -> str | None:
    if places.models is None:
        return "the folder was not given (--models)"
    if _is_put_back(source, places.models):
        return None
    places.models.parent.mkdir(parents=True, exist_ok=True)
    if places.models.exists():
        places.models.rmdir()
    _copy(source, places.models)
    return None


def _feedback(places: Places, source: Path) -> str | None:
    if places.feedback is None:
        return "the file was not given (--feedback)"
    if _is_put_back(source, places.feedback):
        return None
    folder = places.feedback.parent
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        owner = folder.parent.stat()
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, owner.st_uid, owner.st_gid)
    _copy(source, places.feedback)
    return None


def _metrics(places: Places, source: Path) -> str | None:
    if places.prometheus is None:
        return "Prometheus's data folder was not given (--prometheus-data)"
    places.prometheus.mkdir(parents=True, exist_ok=True)
    for block in sorted(source.iterdir()):
        if (places.prometheus / block.name).exists():
            continue  # blocks are immutable and named uniquely: this very one is there
        _copy(block, places.prometheus / block.name)
    return None


def _dashboards(servers: Servers, source: Path) -> str | None:
    if not servers.has("grafana"):
        return "this stack has no Grafana"
    grafana = servers["grafana"]
    for file in sorted(source.glob("*.json")):
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["meta"].get("provisioned"):
            continue  # comes from the files in compose/provision, and Grafana refuses another source
        board = {key: value for key, value in kept["dashboard"].items() if key not in ("id", "version")}
        present = grafana.json("GET", f"/api/dashboards/uid/{board['uid']}", allowed=(404,))
        if present is not None:
            if {key: value for key, value in present["dashboard"].items() if key not in ("id", "version")} != board:
                raise StackError(
                    f"dashboard {board['title']!r} is there and is another one: delete it first, a restore writes over "
                    "nothing"
                )
            continue
        body = {"dashboard": board, "folderUid": kept["meta"].get("folderUid", ""), "overwrite": False}
        grafana.json("POST", "/api/dashboards/db", json=body)
    return None


def _logs(servers: Servers, places: Places, source: Path, manifest: Manifest) -> str | None:
    if not servers.has("elasticsearch"):
        return "this stack has no Elasticsearch"
    elastic = servers["elasticsearch"]
    known = elastic.json("GET", f"/_snapshot/{REPOSITORY}", allowed=(404,))
    if known is None:
        raise StackError(
            f"the snapshot repository {REPOSITORY!r} is not registered; run `ml-stack setup --snapshots FOLDER` first"
        )
    location = Path(known[REPOSITORY]["settings"]["location"])
    folder = places.repository or location
    if places.repository is not None and manifest.store == "embedded":
        folder.mkdir(parents=True, exist_ok=True)  # an embedded store makes it only for its first snapshot
    if not folder.is_dir():
        return f"the repository's folder {folder} is not mounted here (--repository)"
    path = f"/_snapshot/{REPOSITORY}/{manifest.snapshot}"
    if elastic.json("GET", path, allowed=(404,)) is None:
        if elastic.json("GET", f"/_snapshot/{REPOSITORY}/_all")["snapshots"]:
            raise StackError(
                f"{folder} holds other snapshots, and not {manifest.snapshot}: restore into a stack whose repository is"
                " empty, or register this backup's folder `logs` as another repository"
            )
        # Elasticsearch remembers what a repository held: it is registered anew once the files lie there.
        body = {key: known[REPOSITORY][key] for key in ("type", "settings")}
        elastic.json("DELETE", f"/_snapshot/{REPOSITORY}")
        # What names the rest comes last: half a repository is an empty one, and a second run begins again.
        for entry in sorted(
            source.iterdir(), key=lambda path: (path.name.startswith(("index", "snapshot-")), path.name)
        ):
            if (folder / entry.name).exists():
                _remove(folder / entry.name)
            _copy(entry, folder / entry.name)
        elastic.json("PUT", f"/_snapshot/{REPOSITORY}", json=body)
    if not manifest.indices:
        return None
    wanted_indices = ",".join(sorted(manifest.indices))
    elastic.json("POST", f"{path}/_restore", json={"indices": wanted_indices, "include_global_state": False})

    def counted() -> bool:
        rows = elastic.json("GET", f"/_cat/indices/{PATTERN}", params={"format": "json", "expand_wildcards": "all"})
        found = {row["index"]: row["docs.count"] for row in rows if row["health"] in ("green", "yellow")}
        return all(int(found.get(index) or -1) >= 0 for index in manifest.indices)

    wait_until(counted, "every restored index is there", INDEX_SECONDS)
    elastic.json("POST", f"/{PATTERN}/_refresh")
    for index, wanted in manifest.indices.items():
        count = elastic.json("GET", f"/{index}/_count")["count"]
        if count < wanted:
            raise StackError(f"index {index} has {count} documents after the restore, the manifest says {wanted}")
    return None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
