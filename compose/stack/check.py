"""`check daily` and `check weekly`: what the guide's routine looks at, on one screen, with an exit code."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable
from textwrap import shorten
from typing import Any

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table
from rich.text import Text

from compose.provision.elasticsearch import PATTERN, REPOSITORY
from compose.provision.objectives import Objectives
from compose.stack.remote import CERTIFICATE, Servers, is_refused_certificate, reason
from compose.stack.supervisor import StackError
from compose.wording import counted

HEALTH = {
    "app": "/ready",
    "shipper": "/ready",
    "elasticsearch": "/_cluster/health",
    "prometheus": "/-/healthy",
    "alertmanager": "/-/healthy",
    "grafana": "/api/health",
    "kibana": "/api/status",
}
COLOURS = {"ok": "green", "warning": "yellow", "bad": "red", "left out": "dim"}
MARKS = {"ok": "ok", "warning": "!!", "bad": "XX", "left out": "--"}
BACKUP_HOURS = {"daily": 26, "weekly": 24 * 8}
_DAY = re.compile(r"ml-pipeline-(\d{4})\.(\d{2})\.(\d{2})$")
BACK_UP = "a backup: docs/runbook.md#backup-and-restore"


class Finding(msgspec.Struct, frozen=True):
    """One line of a check: `ok`, `warning`, `bad` or `left out`; what was looked at; what was found; what to do."""

    state: str
    what: str
    found: str
    remedy: str = ""


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 when all is well, 1 for warnings, 2 when something is bad."""
    states = {finding.state for finding in findings}
    return 2 if "bad" in states else 1 if "warning" in states else 0


def render(findings: list[Finding], title: str) -> Table:
    """Return the one screen a person reads."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in ("", "what", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for each in findings:
        # As texts: what a log line says in brackets is no markup, and its control characters are not the terminal's.
        words = (Text(printable(text)) for text in (each.what, each.found, each.remedy))
        table.add_row(Text(MARKS[each.state], style=COLOURS[each.state]), *words)
    return table


def printable(text: str) -> str:
    """Return a text with its control characters shown as `\\x1b`, so that a log line cannot command a terminal."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def daily(servers: Servers, objectives: Objectives, now: dt.datetime) -> list[Finding]:
    """Health, recent errors, prediction volume, and what waits for a person, over the last day."""
    return _collect(
        [
            *(lambda name=name: _health(servers, name) for name in HEALTH),
            lambda: _errors(servers, "now-1d"),
            lambda: _volume(servers, objectives),
            lambda: _error_rate(servers, objectives, "now-1d"),
            lambda: _latency(servers, objectives, "now-1d"),
            lambda: _ignored(servers, "now-1d"),
            lambda: _shipper(servers),
            lambda: _app_log(servers),
            lambda: _alerts(servers),
            lambda: _backup(servers, now, "daily"),
        ]
    )


def weekly(servers: Servers, objectives: Objectives, now: dt.datetime, retention_days: int) -> list[Finding]:
    """Error patterns, model trends, thresholds against what was, old indices, over the last week."""
    return _collect(
        [
            lambda: _patterns(servers),
            lambda: _model(servers, objectives),
            lambda: _trend(servers),
            lambda: _drift(servers),
            lambda: _error_rate(servers, objectives, "now-7d"),
            lambda: _latency(servers, objectives, "now-7d"),
            lambda: _ignored(servers, "now-7d"),
            lambda: _old_indices(servers, now, retention_days),
            lambda: _sizes(servers),
            lambda: _backup(servers, now, "weekly"),
        ]
    )


def old_indices(names: Iterable[str], now: dt.datetime, retention_days: int) -> list[str]:
    """Return the daily indices whose day is longer ago than the retention and a day for the lifecycle to act."""
    oldest = now.astimezone(dt.UTC).date() - dt.timedelta(days=retention_days + 1)
    days = ((_day(name), name) for name in names)
    return sorted(name for day, name in days if day is not None and day < oldest)


def _day(index: str) -> dt.date | None:
    if (match := _DAY.fullmatch(index)) is None:
        return None
    try:
        return dt.date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None  # 2026.13.45: somebody's own


def _collect(looks: list[Callable[[], Finding]]) -> list[Finding]:
    findings = []
    for look in looks:
        try:
            findings.append(look())
        except StackError as error:
            findings.append(Finding("bad", "could not look", str(error)))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            odd = f"a server answered in another form than its API has ({type(error).__name__}: {error})"
            findings.append(
                Finding("bad", "could not look", odd, "is each address that of the server it is named for?")
            )
    return findings


def _health(servers: Servers, name: str) -> Finding:
    if not servers.has(name):
        return Finding("left out", name, "not part of this stack")
    server = servers[name]
    try:
        answer = server.client.get(server.url + HEALTH[name], timeout=5)
    except httpx.HTTPError as error:
        if isinstance(error, httpx.TimeoutException):
            server.hurry()
        where = f"no answer at {server.url} ({type(error).__name__})"
        remedy = f"`docker compose logs {name}`, or `python3 compose status`"
        return Finding("bad", name, where, CERTIFICATE if is_refused_certificate(error) else remedy)
    if answer.status_code != 200:
        return Finding("bad", name, f"answers {answer.status_code}: {reason(answer)}", "docs/runbook.md#servicedown")
    if name == "elasticsearch":
        status = answer.json()["status"]
        state = {"green": "ok", "yellow": "warning"}.get(status, "bad")
        return Finding(state, name, status, "" if state == "ok" else f"{server.url}/_cluster/allocation/explain")
    if name == "kibana":
        level = answer.json().get("status", {}).get("overall", {}).get("level", "unknown")
        return Finding("ok" if level == "available" else "bad", name, level)
    return Finding("ok", name, "ready" if HEALTH[name] == "/ready" else "healthy")


def _search(servers: Servers, body: dict[str, Any]) -> dict[str, Any]:
    path = f"/{PATTERN}/_search"
    found: dict[str, Any] = servers["elasticsearch"].json(
        "POST", path, params={"ignore_unavailable": "true"}, json={"size": 0, "track_total_hits": True, **body}
    )
    return found


def _within(since: str, *clauses: dict[str, Any], until: str = "now") -> dict[str, Any]:
    return {"bool": {"filter": [{"range": {"@timestamp": {"gte": since, "lte": until}}}, *clauses]}}


def _count(servers: Servers, query: dict[str, Any]) -> int:
    return int(_search(servers, {"query": query})["hits"]["total"]["value"])


def _top(servers: Servers, since: str, until: str = "now") -> dict[str, int]:
    body = {
        "query": _within(since, {"exists": {"field": "error"}}, until=until),
        "aggs": {"errors": {"terms": {"field": "error", "size": 5}}},
    }
    buckets = _search(servers, body).get("aggregations", {}).get("errors", {}).get("buckets", [])
    return {bucket["key"]: bucket["doc_count"] for bucket in buckets}


def _listed(counts: dict[str, int], limit: int = 3) -> str:
    return "; ".join(f"{count}× {shorten(text, 60, placeholder=' …')}" for text, count in list(counts.items())[:limit])


def _errors(servers: Servers, since: str) -> Finding:
    errors = _count(servers, _within(since, {"term": {"level": "ERROR"}}))
    warnings = _count(servers, _within(since, {"term": {"level": "WARNING"}}))
    found = f"{errors:,} ERROR, {warnings:,} WARNING lines in a day"
    if top := _top(servers, since):
        found += f"; most: {_listed(top)}"
    query = "GET /ml-pipeline-*/_search?q=level:ERROR&sort=@timestamp:desc&size=5"
    return Finding("warning" if errors else "ok", "recent errors", found, query if errors else "")


def _volume(servers: Servers, objectives: Objectives) -> Finding:
    day = _count(servers, _within("now-1d", {"exists": {"field": "prediction"}}))
    hour = _count(servers, _within("now-1h", {"exists": {"field": "prediction"}}))
    found = f"{day:,} in a day, {hour / 60:,.1f} a minute in the last hour"
    wanted = objectives.predictions_per_minute
    state = "ok" if hour / 60 >= wanted else "warning" if hour else "bad"
    remedy = "" if state == "ok" else f"{wanted:g} a minute are expected: docs/runbook.md#nopredictions"
    return Finding(state, "prediction volume", found, remedy)


def _error_rate(servers: Servers, objectives: Objectives, since: str) -> Finding:
    requests = _within(since, {"term": {"endpoint": "/predict"}})
    total = _count(servers, requests)
    failed = _count(servers, _within(since, {"term": {"endpoint": "/predict"}}, {"range": {"status": {"gte": 500}}}))
    rate = failed / total if total else 0.0
    state = "ok" if rate < objectives.error_rate_warning else "warning" if rate < objectives.error_rate else "bad"
    floor = objectives.error_rate_warning
    found = f"{rate:.2%} of {total:,} (objective: below {floor:.0%}; available {1 - rate:.3%})"
    return Finding(state, "failed requests", found, "" if state == "ok" else "docs/runbook.md#predictionerrorratehigh")


def _latency(servers: Servers, objectives: Objectives, since: str) -> Finding:
    body = {
        "query": _within(since, {"exists": {"field": "prediction"}}),
        "aggs": {"p": {"percentiles": {"field": "duration", "percents": [95]}}},
    }
    values = _search(servers, body).get("aggregations", {}).get("p", {}).get("values", {})
    value = values.get("95.0")
    if value is None:
        return Finding("left out", "95th percentile latency", "no prediction in that time")
    limit, worst = objectives.latency, objectives.latency_critical
    state = "ok" if value < limit else "warning" if value < worst else "bad"
    found = f"{value * 1000:,.1f} ms (objective: below {limit * 1000:g} ms)"
    return Finding(
        state, "95th percentile latency", found, "" if state == "ok" else "docs/runbook.md#predictionlatencyhigh"
    )


def _ignored(servers: Servers, since: str) -> Finding:
    count = _count(servers, _within(since, {"exists": {"field": "_ignored"}}))
    found = f"{counted(count, 'document')} of which Elasticsearch did not index every field"
    remedy = 'find them: {"query": {"exists": {"field": "_ignored"}}}; their source is whole'
    return Finding("warning" if count else "ok", "ignored fields", found, remedy if count else "")


def _shipper(servers: Servers) -> Finding:
    told = servers["shipper"].json("GET", "/status")
    letters, lag = int(told.get("dead_letters") or 0), float(told.get("lag_seconds") or 0)
    found = f"lag {int(told.get('lag_bytes') or 0):,} B, {lag:.0f} s; {counted(letters, 'dead letter')}"
    if letters:
        return Finding("warning", "log shipping", found, "docs/runbook.md#shipperdeadletters")
    if lag > 60:
        return Finding("bad", "log shipping", f"{found}; {told.get('last_error')}", "docs/runbook.md#shipperlag")
    return Finding("ok", "log shipping", found)


def _metrics(servers: Servers) -> dict[str, list[tuple[dict[str, str], float]]]:
    text = servers["app"].answer("GET", "/metrics").text
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def _app_log(servers: Servers) -> Finding:
    metrics = _metrics(servers)
    dropped = sum(value for _labels, value in metrics.get("ml_log_dropped_total", []))
    free = min((value for _labels, value in metrics.get("ml_log_disk_free_bytes", [])), default=float("nan"))
    found = f"{dropped:,.0f} lines dropped since the start, {free / 1e9:,.1f} GB free on the log volume"
    state = "bad" if dropped else "warning" if free < 2e9 else "ok"
    return Finding(state, "log volume", found, "" if state == "ok" else "docs/runbook.md#loglinesdropped")


def _alerts(servers: Servers) -> Finding:
    if not servers.has("alertmanager"):
        return Finding("left out", "alerts", "this stack has no Alertmanager")
    listed = servers["alertmanager"].json("GET", "/api/v2/alerts", params={"silenced": "false", "inhibited": "false"})
    names = [f"{each['labels']['alertname']} ({each['labels'].get('severity')})" for each in listed]
    firing = sorted(name for name in names if "(none)" not in name)
    state = "bad" if any("(critical)" in name for name in firing) else "warning" if firing else "ok"
    return Finding(state, "alerts", ", ".join(firing) or "none fires", "docs/runbook.md" if firing else "")


def _backup(servers: Servers, now: dt.datetime, period: str) -> Finding:
    path = f"/_snapshot/{REPOSITORY}/_all"
    listed = servers["elasticsearch"].json("GET", path, params={"ignore_unavailable": "true"}, allowed=(404,))
    if listed is None:
        return Finding("warning", "backup", f"no snapshot repository {REPOSITORY!r}", f"ml-stack setup, then {BACK_UP}")
    good = [each for each in listed.get("snapshots", []) if each["state"] == "SUCCESS"]
    if not good:
        return Finding("warning", "backup", "no snapshot yet", BACK_UP)
    newest = max(good, key=lambda each: int(each["end_time_in_millis"]))
    hours = (now.timestamp() - int(newest["end_time_in_millis"]) / 1000) / 3600
    state = "ok" if hours < BACKUP_HOURS[period] else "warning"
    return Finding(state, "backup", f"{newest['snapshot']}, {hours:.0f} h old", "" if state == "ok" else BACK_UP)


def _patterns(servers: Servers) -> Finding:
    new, old = _top(servers, "now-7d"), _top(servers, "now-14d", "now-7d")
    if not new:
        return Finding("ok", "error patterns", "no errors in seven days")
    fresh = {text: count for text, count in new.items() if text not in old}
    found = f"most in seven days: {_listed(new, 5)}"
    if fresh and old:
        found += f"; new since last week: {len(fresh)}"
    return Finding("warning" if fresh and old else "ok", "error patterns", found)


def _model(servers: Servers, objectives: Objectives) -> Finding:
    metrics = _metrics(servers)
    if "ml_model_accuracy" not in metrics:
        return Finding("left out", "model", "it brings no hold-out, and too few labels came: there are no scores")
    values = {name: metrics[f"ml_model_{name}"][0][1] for name in ("accuracy", "precision", "recall", "f1_score")}
    live = bool(metrics.get("ml_model_metrics_live", [({}, 0.0)])[0][1])
    source = "live labels" if live else "hold-out"
    found = ", ".join(f"{name} {value:.3f}" for name, value in values.items()) + f" ({source})"
    if servers.has("prometheus"):
        query = {"query": "ml_model_accuracy - ml_model_accuracy offset 7d"}
        if change := servers["prometheus"].json("GET", "/api/v1/query", params=query)["data"]["result"]:
            found += f"; accuracy in seven days {float(change[0]['value'][1]):+.3f}"
    accuracy = values["accuracy"]
    state = (
        "ok" if accuracy >= objectives.accuracy else "warning" if accuracy >= objectives.accuracy_critical else "bad"
    )
    return Finding(state, "model", found, "" if state == "ok" else "docs/runbook.md#modelaccuracylow")


def _trend(servers: Servers) -> Finding:
    body = {
        "query": _within("now-7d", {"exists": {"field": "prediction"}}),
        "aggs": {
            "days": {
                "date_histogram": {"field": "@timestamp", "calendar_interval": "day"},
                "aggs": {"confidence": {"avg": {"field": "confidence"}}, "share": {"avg": {"field": "prediction"}}},
            }
        },
    }
    days = _search(servers, body).get("aggregations", {}).get("days", {}).get("buckets", [])
    told = []
    for day in days:
        if day["doc_count"]:
            sure = day["confidence"]["value"]  # None: a service of the user's own need not log it
            words = "" if sure is None else f", confidence {sure:.2f}"
            told.append(f"{day['key_as_string'][5:10]}: {day['doc_count']:,}, {day['share']['value']:.0%} yes{words}")
    return Finding("ok" if told else "warning", "predictions by day", "; ".join(told) or "none in seven days")


def _drift(servers: Servers) -> Finding:
    metrics = _metrics(servers)
    limits = {labels.get("feature"): value for labels, value in metrics.get("ml_feature_psi_threshold", [])}
    values = {labels.get("feature"): value for labels, value in metrics.get("ml_feature_psi", [])}
    over = sorted(str(name) for name, value in values.items() if value > limits.get(name, 0.2))
    if "ml_feature_psi_samples" not in metrics:
        return Finding("left out", "feature drift", "off: the model brings no reference rows")
    if not values:
        return Finding("left out", "feature drift", "too few predictions to judge")
    found = f"above its threshold: {', '.join(over)}" if over else f"{len(values)} inputs within their thresholds"
    return Finding("warning" if over else "ok", "feature drift", found, "docs/runbook.md#featuredrift" if over else "")


def _indices(servers: Servers) -> list[dict[str, Any]]:
    query = {"format": "json", "bytes": "b"}
    rows: list[dict[str, Any]] = servers["elasticsearch"].json("GET", f"/_cat/indices/{PATTERN}", params=query)
    return rows


def _old_indices(servers: Servers, now: dt.datetime, retention_days: int) -> Finding:
    old = old_indices((row["index"] for row in _indices(servers)), now, retention_days)
    if not old:
        return Finding("ok", "old indices", f"none older than {retention_days} days")
    remedy = f"the lifecycle did not delete them; by hand: curl -X DELETE {servers['elasticsearch'].url}/{old[0]}"
    return Finding("warning", "old indices", f"{len(old)}: {', '.join(old[:3])}", remedy)


def _sizes(servers: Servers) -> Finding:
    rows = _indices(servers)
    size = sum(int(row["store.size"] or 0) for row in rows)
    documents = sum(int(row["docs.count"] or 0) for row in rows)
    each = size / len(rows) / 1e6 if rows else 0.0
    held = f"{counted(len(rows), 'index', 'indices')}, {counted(documents, 'document')}"
    found = f"{held}, {size / 1e6:,.1f} MB, {each:,.1f} MB a day"
    return Finding("ok", "room for logs", found)
