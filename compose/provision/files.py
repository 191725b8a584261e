"""Every generated file: its path under compose/provision/generated and its content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from compose.provision import alertmanager, elasticsearch, grafana, grafana_provisioning, kibana, prometheus
from compose.provision.objectives import Objectives
from compose.provision.panels import dashboards

FOLDER = Path(__file__).resolve().parent / "generated"


def generated(
    objectives: Objectives | None = None, runbook: str = "", viewers: grafana.Viewers = grafana.HERE
) -> dict[str, str]:
    """Return the content of each generated file by its path.

    Args:
        objectives: the numbers; None for the defaults.
        runbook: address of the page that alerts point to; empty: its path in the sources.
        viewers: where Grafana's panels lead to.
    """
    aims = objectives or Objectives()
    local = prometheus.local_targets(app=5000, shipper=9108, store=9200, prometheus=9090, alertmanager=9093)
    contents = {
        "prometheus/prometheus.yml": prometheus.configuration(prometheus.DOCKER_TARGETS, "alertmanager:9093"),
        "prometheus/prometheus.local.yml": prometheus.configuration(local, "127.0.0.1:9093", stack="local"),
        "prometheus/rules.yml": prometheus.rules(aims, runbook=runbook),
        "alertmanager/alertmanager.yml": alertmanager.configuration(),
        "alertmanager/alertmanager.webhook.yml": alertmanager.configuration(
            webhook={"url_file": alertmanager.WEBHOOK_FILE}, watchdog={"url_file": alertmanager.WATCHDOG_FILE}
        ),
        "alertmanager/nobody.txt": "",  # stands for a webhook's address until one is given
        "grafana/provisioning/datasources/datasources.yml": grafana_provisioning.datasources(),
        "grafana/provisioning/dashboards/provider.yml": grafana_provisioning.providers(),
        "grafana/provisioning/alerting/contact-points.yml": grafana_provisioning.contact_points(),
        "grafana/provisioning/alerting/rules.yml": grafana_provisioning.alert_rules(aims, runbook),
        "kibana/ml-pipeline.ndjson": kibana.ndjson(),
        "kibana/rule.json": _json(kibana.rule_body()),
        "kibana/connector.json": _json(kibana.connector_body()),
    }
    contents |= {
        f"grafana/dashboards/{page.uid}.json": _json(grafana.dashboard_json(page, viewers)) for page in dashboards(aims)
    }
    contents |= {f"elasticsearch/roles/{name}.json": _json(role) for name, role in elasticsearch.ROLES.items()}
    return contents


def write(
    folder: Path,
    say: Callable[[str], None],
    objectives: Objectives | None = None,
    runbook: str = "",
    viewers: grafana.Viewers = grafana.HERE,
) -> None:
    """Write every file that differs, and say which; the arguments are those of `generated`."""
    for path, text in generated(objectives, runbook, viewers).items():
        target = folder / path
        if not target.exists() or target.read_text() != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            say(f"written: {target}")


def differing(folder: Path, objectives: Objectives | None = None) -> list[str]:
    """Return what lies in `folder` and is not as it would be generated: changed, missing or superfluous paths."""
    wanted = generated(objectives)
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    return sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
