"""Alertmanager's file: who is told what, in which groups, and what is kept quiet."""

from __future__ import annotations

from typing import Any

from compose.provision.yaml_text import yaml_text

# The webhook's address lies in a file, so that the configuration holds no secret and is the same everywhere.
WEBHOOK_FILE = "/run/secrets/alert_webhook_url"
WATCHDOG_FILE = "/run/secrets/watchdog_webhook_url"


# A cause that is told, what then need not be told, and the labels that both have to share: one fault, one message.
COVERS: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = (
    # A service that is down neither serves nor ships.
    (('alertname="ServiceDown"', 'severity="critical"'), "ServiceUnstable", ("stack", "job", "instance")),
    (('alertname="ServiceDown"', 'severity="critical"', 'job="app"'), "NoPredictions", ("stack",)),
    (('alertname="ModelNotLoaded"', 'severity="critical"'), "PredictionErrorRateHigh", ("stack", "instance")),
    # Lines wait because the store takes none, and the shipper says so.
    (('alertname="ServiceDown"', 'severity="critical"', 'job="store"'), "ShipperLag|ShipperNotReady", ("stack",)),
    (('alertname="ElasticsearchDown"',), "ElasticsearchRed|ShipperLag|ShipperNotReady", ("stack",)),
    (('alertname="ElasticsearchRed"',), "ShipperLag|ShipperNotReady", ("stack",)),
    (('alertname="StoreDiskFilling"', 'severity="critical"'), "ShipperLag|ShipperNotReady", ("stack",)),
    (('alertname="ShipperLag"',), "ShipperNotReady", ("stack", "instance")),
)


def configuration(
    *, webhook: dict[str, str] | None = None, watchdog: dict[str, str] | None = None, group_wait: str = "30s",
    group_interval: str = "5m", repeat_interval: str = "4h",
) -> str:  # fmt: skip
    """Return alertmanager.yml.

    Args:
        webhook, watchdog: `{"url": …}` or `{"url_file": …}` (Alertmanager 0.26 or later) of who is told, and of who
            notices that the Watchdog stopped; None leaves that receiver empty: alerts are then seen only at
            Alertmanager itself.
        group_wait, group_interval, repeat_interval: Alertmanager's own.
    """
    content: dict[str, Any] = {
        "route": {
            "receiver": "people",
            # When a machine goes, all of its services do: one message.
            "group_by": ["stack", "alertname"],
            "group_wait": group_wait,
            "group_interval": group_interval,
            "repeat_interval": repeat_interval,
            "routes": [
                {
                    "receiver": "dead-mans-switch",
                    "matchers": ['alertname="Watchdog"'],
                    "group_wait": "1s",
                    "group_interval": "1m",
                    "repeat_interval": "1m",
                },
                # Grafana's two alerts are the same conditions as Prometheus's own: shown there, paged once.
                {"receiver": "nobody", "matchers": ['origin="grafana"']},
                {"receiver": "people", "matchers": ['severity="critical"'], "repeat_interval": "1h"},
            ],
        },
        "inhibit_rules": [
            {
                "source_matchers": ['severity="critical"'],
                "target_matchers": ['severity="warning"'],
                "equal": ["stack", "alertname", "job", "instance", "feature"],
            },
            *(_covers(*rule) for rule in COVERS),
        ],
        "receivers": [
            _receiver("people", webhook),
            _receiver("dead-mans-switch", watchdog),
            {"name": "nobody"},
        ],
    }
    return yaml_text(content)


def _covers(cause: tuple[str, ...], effects: str, equal: tuple[str, ...]) -> dict[str, Any]:
    return {
        "source_matchers": list(cause),
        "target_matchers": [f'alertname=~"{effects}"' if "|" in effects else f'alertname="{effects}"'],
        "equal": list(equal),
    }


def _receiver(name: str, webhook: dict[str, str] | None) -> dict[str, Any]:
    if webhook is None:
        return {"name": name}
    return {"name": name, "webhook_configs": [{**webhook, "send_resolved": True}]}
