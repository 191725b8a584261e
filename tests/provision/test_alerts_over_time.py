"""What a night on call would see: restarts, missed scrapes, new stacks, hours with one request; a sample every 15 s."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from tests.provision.alert_cases import Series
from tests.provision.test_alerts import cut, promtool

APP = 'instance="app:5000",job="app"'
SHIPPER = 'instance="shipper:9108",job="shipper"'
EXPORTER = 'instance="exporter:9114",job="elasticsearch-exporter"'
PREDICT = f'{APP},endpoint="/predict"'
DAY = 24 * 60


class Night(msgspec.Struct, frozen=True, kw_only=True):
    """One course of events.

    Attributes:
        series: every 15 seconds, or every `interval`.
        firing: minute → how many alerts whose name and severity match fire then.
        matching: which alerts are counted: matchers of the series ALERTS.
        interval: between two samples and two evaluations.
    """

    series: Series
    matching: str
    firing: dict[float, int]
    interval: str = "15s"


def _alert(name: str, severity: str = "critical") -> str:
    return f'alertname="{name}",severity="{severity}"'


def _hourly(value: str) -> str:
    """A gauge that has a value for five minutes of each hour and is 0 for the rest, six hours long, in minutes."""
    return f"0+0x54 {value} {value} {value} {value} {value} " * 6


def _slow_hourly() -> Series:
    """One prediction an hour, which takes two seconds and fails."""
    steps = " ".join(f"{count}+0x59" for count in range(6))
    edges = {"0.5": "0+0x359", "1.0": "0+0x359", "2.5": steps, "+Inf": steps}
    return {
        f"http_request_duration_seconds_count{{{PREDICT}}}": steps,
        f'http_requests_total{{{PREDICT},status="500",method="POST"}}': steps,
        f"ml_predictions_total{{{APP}}}": steps,
        f"ml_prediction_failures_total{{{APP}}}": steps,
        f"ml_prediction_error_rate{{{APP}}}": _hourly("1"),
    } | {f'http_request_duration_seconds_bucket{{{PREDICT},le="{edge}"}}': values for edge, values in edges.items()}


def _outage(minutes: int) -> Series:
    """A hundred requests a minute for six hours, of which all fail for so long at the end."""
    name = f'http_requests_total{{{PREDICT},method="POST",status='
    served = 360 - minutes
    return {
        f'{name}"200"}}': f"0+100x{served} {served * 100}+0x{minutes}",
        f'{name}"500"}}': f"0+0x{served} 0+100x{minutes}",
    }


def _days(*busy: int) -> Series:
    """So many hours with 11 requests a minute at the beginning of each day, none in the rest; in steps of 5 minutes."""
    parts, total = [], 0
    for hours in busy:
        steps = 12 * hours
        parts.append(f"{total}+55x{steps - 1} {total + 55 * steps}+0x{DAY // 5 - steps - 1}")
        total += 55 * steps
    return {f"ml_predictions_total{{{APP}}}": " ".join(parts)}


def _shipping(waiting: str, a_second: int) -> Series:
    """A shipper with so many bytes waiting, that sends so many bytes a second and is answered at once."""
    return {
        f"ml_shipper_lag_bytes{{{SHIPPER}}}": waiting,
        f"ml_shipper_lag_seconds{{{SHIPPER}}}": "0.2+0x160",
        f"ml_shipper_request_bytes_total{{{SHIPPER}}}": f"0+{15 * a_second}x160",
    }


NIGHTS = {
    "a scrape that was missed resolves nothing": Night(
        series={f"ml_model_accuracy{{{APP}}}": "0.8+0x39 stale 0.8+0x40"},
        matching=_alert("ModelAccuracyLow"),
        firing={9: 1, 10: 1, 10.25: 1, 12: 1},
    ),
    "what was mended resolves within minutes": Night(
        series={f"ml_model_accuracy{{{APP}}}": "0.8+0x39 0.95+0x40"},
        matching=_alert("ModelAccuracyLow"),
        firing={9: 1, 11: 1, 12.5: 0},
    ),
    "what was counted before the first scrape is told": Night(
        series={f"ml_shipper_dead_letters_total{{{SHIPPER}}}": "7+0x200"},
        matching=_alert("ShipperDeadLetters", "warning"),
        firing={1: 1, 14: 1, 20: 0},
    ),
    "a counter that starts anew is no growth": Night(
        series={f"ml_shipper_lost_bytes_total{{{SHIPPER}}}": "7+0x100 0+0x100"},
        matching=_alert("LogBytesLost"),
        firing={20: 0, 24.5: 0, 26: 0, 40: 0},
    ),
    "a file that vanished before it was seen is told": Night(
        series={f'ml_shipper_files_changes_total{{{SHIPPER},event="lost_files"}}': "0+0x8 1+0x40"},
        matching=_alert("LogFilesLost"),
        firing={2: 0, 3: 1, 10: 1},
    ),
    "one failing slow request an hour wakes nobody": Night(
        series=_slow_hourly(),
        matching='severity="critical",alertname!="TargetMissing"',
        firing=dict.fromkeys((56, 57, 59, 63, 117, 119, 183, 299, 355), 0),
        interval="1m",
    ),
    "one failing request an hour is a warning": Night(
        series=_slow_hourly(),
        matching=_alert("PredictionErrorRateHigh", "warning"),
        firing={58: 1, 90: 0},
        interval="1m",
    ),
    "an hour without the one request of the hour is no silence": Night(
        series={f"ml_predictions_total{{{APP}}}": " ".join(f"{count}+0x59" for count in range(6))},
        matching='alertname="NoPredictions"',
        firing={45: 0, 110: 0, 235: 0, 355: 0},
        interval="1m",
    ),
    "traffic that stopped is told until it comes back": Night(
        series={f"ml_predictions_total{{{APP}}}": "0+11x120 1320+0x300 1320+11x60"},
        matching=_alert("NoPredictions"),
        firing={130: 0, 140: 1, 200: 1, 300: 1, 420: 1, 425: 0},
        interval="1m",
    ),
    "a service that rests at night wakes nobody": Night(
        series=_days(10, 10, 10),
        matching=_alert("NoPredictions"),
        firing={DAY + 650: 0, DAY + 900: 0, 2 * DAY - 10: 0, 2 * DAY + 700: 0},
        interval="5m",
    ),
    "a service that stops by day is told": Night(
        series=_days(10, 5),
        matching=_alert("NoPredictions"),
        firing={DAY + 290: 0, DAY + 330: 1, DAY + 500: 1},
        interval="5m",
    ),
    "a message that cannot be delivered every five minutes is told": Night(
        series={
            'alertmanager_notifications_failed_total{instance="alertmanager:9093",integration="webhook"}': " ".join(
                f"{count}+0x20" for count in range(8)
            )
        },
        matching=_alert("AlertmanagerNotificationsFailing"),
        firing={4: 0, 11: 1, 20: 1, 30: 1},
    ),
    "a restart, and a scrape that was missed, are no outage": Night(
        series={f"up{{{APP}}}": "1+0x40 0 1+0x40 0 0 0 1+0x80"},
        matching='alertname=~"Service.*"',
        firing={10.5: 0, 20.5: 0, 21.25: 0, 30: 0},
    ),
    "an outage is over when it is over": Night(
        series={f"up{{{APP}}}": "1+0x40 0+0x40 1+0x120"},
        matching='alertname=~"Service.*"',
        firing={12: 1, 14: 2, 20: 2, 23: 0, 30: 0},
    ),
    "a service that starts again and again is told": Night(
        series={f"up{{{APP}}}": "1+0x40 " + "0 0 1 1 " * 20 + "1+0x80"},
        matching='alertname="ServiceUnstable"',
        firing={10: 0, 13: 1, 22: 2, 50: 0},
    ),
    "a new service that warms up is no spike": Night(
        series={f"ml_app_memory_bytes{{{APP}}}": "120e6+0x24 700e6+0x200"},
        matching='alertname="MemorySpike"',
        firing={12: 0, 14: 0, 17: 0, 20: 0, 40: 0},
    ),
    "an Elasticsearch that is killed is told, and that it is back": Night(
        series={
            f"up{{{EXPORTER}}}": "1+0x200",
            f'elasticsearch_cluster_health_status{{{EXPORTER},cluster="c",color="green"}}': "1+0x39 stale"
             " _x39 1+0x100",
        },
        matching='alertname=~"Elasticsearch.*"',
        firing={5: 0, 12.75: 0, 13.25: 1, 19: 1, 23: 0},
    ),
    "an outage burns the budget at every pace, and is one alert of each severity": Night(
        series=_outage(20),
        matching='alertname=~"PredictionErrorBudgetBurn.*"',
        firing={335: 0, 358: 2},
        interval="1m",
    ),
    "half a minute without acknowledgement after an idle hour wakes nobody": Night(
        series={
            f"ml_shipper_last_acknowledgement_timestamp_seconds{{{SHIPPER}}}": "0+0x280",
            f"ml_shipper_lag_bytes{{{SHIPPER}}}": "0+0x240 500+0x8 0+0x30",
            f"ml_shipper_lag_seconds{{{SHIPPER}}}": "0+0x240 0+15x8 0+0x30",
            f"ml_shipper_ready{{{SHIPPER}}}": "1+0x280",
        },
        matching='alertname=~"Shipper.*"',
        firing={61: 0, 61.5: 0, 62: 0, 65: 0},
    ),
    "a shipper that falls ever further behind is told": Night(
        series=_shipping(waiting="0+8000000x160", a_second=500_000),
        matching=_alert("ShipperLag"),
        firing={5: 0, 25: 1, 39: 1},
    ),
    "a shipper that is busy and keeps pace wakes nobody": Night(
        series=_shipping(waiting="3000000+0x160", a_second=500_000),
        matching='alertname=~"Shipper.*"',
        firing={5: 0, 25: 0, 39: 0},
    ),
    "a last line that its writer never ended wakes nobody": Night(
        series=_shipping(waiting="300+0x160", a_second=0),
        matching='alertname=~"Shipper.*"',
        firing={5: 0, 25: 0, 39: 0},
    ),
    "a new stack is silent": Night(
        series={
            f"up{{{APP}}}": "0 1+0x200",
            f"up{{{SHIPPER}}}": "0 0 1+0x200",
            f"ml_predictions_total{{{APP}}}": "_ 0+0x200",
            f"ml_prediction_error_rate{{{APP}}}": "_ 0+0x200",
            f"ml_model_accuracy{{{APP}}}": "_ 0.908+0x200",
            f"ml_model_metrics_live{{{APP}}}": "_ 0+0x200",
            f'ml_model_activated_timestamp_seconds{{{APP},version="1"}}': "_ 0+0x200",
            f"ml_app_memory_bytes{{{APP}}}": "_ 90e6 150e6 300e6+0x200",
            f"ml_log_disk_free_bytes{{{APP}}}": "_ 9e9 8.9e9 8.8e9 8.7e9+0x200",
            f'ml_log_dropped_total{{{APP},reason="full"}}': "_ 0+0x200",
            f"ml_shipper_ready{{{SHIPPER}}}": "_ _ 0 0 1+0x200",
            f"ml_shipper_lag_seconds{{{SHIPPER}}}": "_ _ 30 45 0+0x200",
            f"ml_shipper_lag_bytes{{{SHIPPER}}}": "_ _ 900 900 0+0x200",
            f"ml_shipper_last_acknowledgement_timestamp_seconds{{{SHIPPER}}}": "_ _ 0+0x200",
            f"ml_shipper_dead_letters_total{{{SHIPPER}}}": "_ _ 0+0x200",
            f"ml_shipper_lost_bytes_total{{{SHIPPER}}}": "_ _ 0+0x200",
            f'ml_shipper_files_changes_total{{{SHIPPER},event="lost_files"}}': "_ _ 0+0x200",
        },
        matching='alertname!="Watchdog"',
        firing={0.25: 0, 0.5: 0, 1: 0, 2: 0, 5: 0, 15: 0, 20: 0, 35: 0, 48: 0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NIGHTS)
def test_a_night_on_call(name: str, tmp_path: Path) -> None:
    """So many alerts fire at each minute of the course of events, and no others."""
    night = NIGHTS[name]
    named = re.search(r'alertname=~?"([^"]+)"', night.matching)
    rules = cut(named[1] if named else ".+")
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    content = {
        "rule_files": ["rules.yml"],
        "group_eval_order": [group["name"] for group in rules["groups"]],
        "evaluation_interval": night.interval,
        "tests": [
            {
                "interval": night.interval,
                "name": name,
                "input_series": [{"series": key, "values": values} for key, values in night.series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertstate="firing",{night.matching}}})',
                        "eval_time": f"{round(minute * 60)}s",
                        "exp_samples": [{"labels": "{}", "value": count}] if count else [],
                    }
                    for minute, count in night.firing.items()
                ],
            }
        ],
    }
    path = tmp_path / "night.yml"
    path.write_text(yaml.safe_dump(content))
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr
