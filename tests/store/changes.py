"""Changes of a store, one after another, and what it must hold after each: what a crash test compares with."""

from __future__ import annotations

import random
import time
from typing import Any

import httpx
import msgspec

from compose.store.engine import Engine
from compose.store.search import search

State = dict[str, Any]  # index → id → source, and the names of templates and policies
_NDJSON = {"content-type": "application/x-ndjson"}


class Change(msgspec.Struct):
    """A change that was sent: what the store holds after it, and when it was answered, if it was."""

    after: State
    answered: float | None = None


class Changes:
    """Sends random changes to a store.

    Args:
        seed: of what is chosen.
    """

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._number = 0
        self.sent = [Change({}, 0.0)]

    def next(self, client: httpx.Client) -> None:
        """Send one change and note its answer; one that is not answered raises and may be sent again by `again`."""
        state: State = {name: dict(value) for name, value in self.sent[-1].after.items()}
        chance, indices = self._chance, sorted(name for name in self.sent[-1].after if not name.startswith("_"))
        kind = chance.choice(["create"] * 6 + ["mixed"] * 3 + ["drop", "template", "policy", "mapping", "snapshot"])
        self._number += 1
        if kind == "drop" and len(indices) > 1:
            name = chance.choice(indices)
            del state[name]
            self._send(client, state, "DELETE", f"/{name}")
        elif kind == "template":
            name = f"t{chance.randrange(4)}"
            state.setdefault("_template", {})[name] = self._number
            body = {"index_patterns": [f"{name}-*"], "priority": chance.randrange(99), "version": self._number}
            self._send(client, state, "PUT", f"/_index_template/{name}", body | {"priority": 500 + int(name[1])})
        elif kind == "policy":
            name = f"p{chance.randrange(4)}"
            state.setdefault("_policy", {})[name] = f"{self._number}d"
            phases = {"delete": {"min_age": f"{self._number}d", "actions": {"delete": {}}}}
            self._send(client, state, "PUT", f"/_ilm/policy/{name}", {"policy": {"phases": phases}})
        elif kind == "mapping" and indices:
            body = {"properties": {f"new{self._number}": {"type": "keyword"}}}
            self._send(client, state, "PUT", f"/{chance.choice(indices)}/_mapping", body)
        elif kind == "snapshot":
            self._send(client, state, "PUT", f"/_snapshot/backup/s{self._number}?wait_for_completion=true")
        else:
            self._bulk(client, state, mixed=kind == "mixed")

    def _bulk(self, client: httpx.Client, state: State, *, mixed: bool) -> None:
        chance = self._chance
        lines: list[Any] = []
        for place in range(chance.randrange(1, 60)):
            index = f"logs-{chance.randrange(3)}"
            known = state.setdefault(index, {})
            name, source = f"{self._number}-{place}", {"n": place, "level": chance.choice(["INFO", "ERROR"])}
            if mixed and known and chance.random() < 0.6:
                name = chance.choice(sorted(known))
                if chance.random() < 0.5:
                    del known[name]
                    lines.append({"delete": {"_index": index, "_id": name}})
                    continue
            if mixed and chance.random() < 0.2:
                source[f"extra{chance.randrange(5)}"] = "x"
            known[name] = source
            lines += [{"index": {"_index": index, "_id": name}}, source]
        self._send(client, state, "POST", "/_bulk", b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    def _send(self, client: httpx.Client, state: State, method: str, path: str, body: Any = None) -> None:
        self.sent.append(Change(state))
        if isinstance(body, bytes):
            answer = client.request(method, path, content=body, headers=_NDJSON)
        else:
            answer = client.request(method, path, json=body)
        assert answer.status_code == 200, answer.text
        assert not answer.json().get("errors"), answer.text[:2000]
        self.sent[-1].answered = time.time()

    def possible(self, moment: float) -> list[State]:
        """Return what a store may hold that stopped at a moment: all that was answered before, and what was not yet."""
        last = max(place for place, each in enumerate(self.sent) if each.answered and each.answered < moment)
        return [each.after for each in self.sent[last : last + 2]]

    def settle(self, state: State) -> None:
        """Go on from what the store was found to hold."""
        self.sent.append(Change(state, time.time()))


def held(engine: Engine) -> State:
    """Return what an opened store holds."""
    engine.refresh()
    state: State = {}
    for name, index in engine.indices.items():
        found = search(engine, [index], {"size": 10_000, "track_total_hits": True})["hits"]
        state[name] = {hit["_id"]: msgspec.json.decode(msgspec.json.encode(hit["_source"])) for hit in found["hits"]}
        assert found["total"]["value"] == len(found["hits"]) == len(state[name]) == engine.count_of(index)
    if templates := engine.group("template"):
        state["_template"] = {name: each["version"] for name, each in templates.items()}
    if policies := engine.group("policy"):
        state["_policy"] = {name: each["policy"]["phases"]["delete"]["min_age"] for name, each in policies.items()}
    return state
