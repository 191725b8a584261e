"""`migrate`: copies the embedded store's indices into an Elasticsearch; ids and versions are kept, counts are compared.

How far each index is stands in a file of the stack's folder after every page: what was interrupted goes on from there.
Documents are written with their own version (`version_type: external`), so one that is sent again, or is newer over
there, is a 409 and no second copy.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec

from compose.stack.remote import CERTIFICATE, is_refused_certificate, reason
from compose.stack.supervisor import StackError

PAGE = 1000  # documents of one bulk request
ATTEMPTS = 6  # of one request; the pauses between them grow to 16 s
_COPIED = ("index.mapping.", "index.codec", "index.refresh_interval", "index.auto_expand_replicas",
           "index.number_of_replicas")  # fmt: skip

Say = Callable[[str], None]
Show = Callable[[str, int, int], None]


class Progress(msgspec.Struct):
    """How far the indices are.

    Attributes:
        target: uuid of the Elasticsearch: another one at the same address gets everything.
        source: uuid of the store.
        after: index uuid → position behind the last page that was acknowledged.
    """

    target: str
    source: str
    after: dict[str, list[Any]] = {}


class Outcome(msgspec.Struct):
    """What a migration did.

    Attributes:
        copied: documents that were written.
        present: documents that were there already, in this version or a newer one.
        refused: id → reason, of documents that the other side did not take.
        counts: index → documents here and there.
    """

    copied: int = 0
    present: int = 0
    refused: dict[str, str] = {}
    counts: dict[str, tuple[int, int]] = {}

    def complete(self) -> bool:
        """Return whether everything is over there."""
        return not self.refused and all(there >= here for here, there in self.counts.values())


class Migration:
    """Copies from one server to another.

    Args:
        source: client of the embedded store.
        target: client of the Elasticsearch, with its authentication.
        folder: where the progress is kept.
        pause: sleeps; tests hand in their own.
    """

    def __init__(
        self, source: httpx.Client, target: httpx.Client, folder: Path, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._source, self._target, self._pause = source, target, pause
        name = hashlib.sha256(str(target.base_url).encode()).hexdigest()[:12]
        self._file = folder / f"migrate-{name}.json"

    def run(self, pattern: str, say: Say, show: Show) -> Outcome:
        """Copy every index that a pattern means.

        Args:
            pattern: names and wildcards, separated by commas.
            say: takes a line for people.
            show: takes index, documents done, documents in all.

        Raises:
            StackError: a server does not answer, or refuses a request; run it again to go on.
        """
        here, there = self._uuid(self._source), self._uuid(self._target)
        if here == there:
            raise StackError(f"{self._target.base_url} is the store itself; --to names the Elasticsearch to copy into")
        progress = self._progress(here, there)
        indices = self._ask(self._source, "GET", f"/{pattern}")
        if not indices:
            say(f"no index fits {pattern}")
        outcome = Outcome()
        for name in sorted(indices):
            uuid = indices[name]["settings"]["index"]["uuid"]
            if self._make(name, indices[name]):
                progress.after.pop(uuid, None)  # what was copied into one that was deleted since is not there
            refused = len(outcome.refused)
            self._copy(name, uuid, progress, outcome, show)
            self._ask(self._target, "POST", f"/{name}/_refresh")
            before, after = outcome.counts[name] = (self._count(self._source, name), self._count(self._target, name))
            if after < before or len(outcome.refused) > refused:
                # The next run tries all of it again: what is there is known by its version, the rest may fit by then.
                progress.after.pop(uuid, None)
                self._keep(progress)
        return outcome

    def _uuid(self, client: httpx.Client) -> str:
        told = self._ask(client, "GET", "/")
        if not isinstance(told, dict) or "cluster_uuid" not in told:
            raise StackError(
                f"{client.base_url} is no Elasticsearch: it tells no cluster_uuid; look at --to and --from"
            )
        return str(told["cluster_uuid"])

    def _make(self, name: str, shown: dict[str, Any]) -> bool:
        """Make an index over there unless it exists, and return whether: templates apply, its own mapping wins."""
        if self._send(self._target, "HEAD", f"/{name}").status_code == 200:
            return False
        flat = _flat(shown["settings"])
        settings = {key: value for key, value in flat.items() if key.startswith(_COPIED)}
        policy = flat.get("index.lifecycle.name")
        if policy and self._send(self._target, "GET", f"/_ilm/policy/{policy}").status_code == 200:
            settings |= {key: value for key, value in flat.items() if key.startswith("index.lifecycle.")}
        self._ask(self._target, "PUT", f"/{name}", {"settings": settings, "mappings": shown["mappings"]})
        return True

    def _copy(self, name: str, uuid: str, progress: Progress, outcome: Outcome, show: Show) -> None:
        total, done = self._count(self._source, name), 0
        while True:
            body: dict[str, Any] = {"size": PAGE, "sort": ["_doc"], "version": True, "track_total_hits": False}
            if uuid in progress.after:
                body["search_after"] = progress.after[uuid]
            hits = self._ask(self._source, "POST", f"/{name}/_search", body)["hits"]["hits"]
            if not hits:
                break
            self._write(name, hits, outcome)
            progress.after[uuid] = hits[-1]["sort"]
            self._keep(progress)
            done += len(hits)
            show(name, done, max(total, done))

    def _write(self, name: str, hits: list[dict[str, Any]], outcome: Outcome) -> None:
        lines = []
        for hit in hits:
            action = {"_index": name, "_id": hit["_id"], "version": hit["_version"], "version_type": "external"}
            lines += [msgspec.json.encode({"index": action}), msgspec.json.encode(hit["_source"])]
        body = b"\n".join(lines) + b"\n"
        waiting = {hit["_id"] for hit in hits}
        for attempt in range(ATTEMPTS):
            items = self._ask(self._target, "POST", "/_bulk", body)["items"]
            busy = 0
            for item in items:
                result = item["index"]
                if result["_id"] not in waiting:
                    continue
                if result["status"] in (429, 502, 503, 504):
                    busy += 1
                    continue
                waiting.discard(result["_id"])
                if result["status"] == 409:
                    outcome.present += 1
                elif result["status"] < 300:
                    outcome.copied += 1
                else:
                    outcome.refused[result["_id"]] = str(result.get("error", {}).get("reason", result["status"]))
            if not busy:
                return
            self._pause(2.0**attempt / 2)
        raise StackError(f"{self._target.base_url} is too busy for {len(waiting)} documents of {name}; run it again")

    def _count(self, client: httpx.Client, name: str) -> int:
        return int(self._ask(client, "GET", f"/{name}/_count")["count"])

    def _ask(self, client: httpx.Client, method: str, path: str, body: Any = None) -> Any:
        answer = self._send(client, method, path, body)
        if answer.status_code >= 300:
            remedy = {401: "; give --user and --password-file", 403: "; this user may not do that"}
            raise StackError(
                f"{client.base_url}: {method} {path} was answered {answer.status_code}: {reason(answer)}"
                f"{remedy.get(answer.status_code, '')}"
            )
        try:
            return answer.json()
        except ValueError:
            raise StackError(
                f"{client.base_url} is no Elasticsearch: {method} {path} was not answered in JSON"
            ) from None

    def _send(self, client: httpx.Client, method: str, path: str, body: Any = None) -> httpx.Response:
        content, kind = None, "application/json"
        if isinstance(body, bytes):
            content, kind = body, "application/x-ndjson"
        elif body is not None:
            content = msgspec.json.encode(body)
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                answer = client.request(method, path, content=content, headers={"content-type": kind})
            except httpx.TransportError as error:
                if is_refused_certificate(error):
                    raise StackError(f"{client.base_url}: {error}; {CERTIFICATE}") from None
                if last:
                    raise StackError(f"{client.base_url} does not answer: {error}; run it again to go on") from None
            else:
                if answer.status_code not in (429, 502, 503, 504) or last:
                    return answer
            self._pause(2.0**attempt / 2)
        raise AssertionError  # the last attempt returns or raises

    def _progress(self, source: str, target: str) -> Progress:
        try:
            found = msgspec.json.decode(self._file.read_bytes(), type=Progress)
        except (FileNotFoundError, msgspec.DecodeError):
            return Progress(target, source)
        return found if (found.target, found.source) == (target, source) else Progress(target, source)

    def _keep(self, progress: Progress) -> None:
        unfinished = self._file.with_suffix(".unfinished")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(msgspec.json.encode(progress))
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self._file)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
