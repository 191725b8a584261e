"""The Runbook page: a section for each alert, and where the alerts of each mode point to."""

from __future__ import annotations

from pathlib import Path

import yaml
from dash import html

from compose.console.pages import runbook
from compose.provision import prometheus
from compose.provision.alerts import alerts
from compose.stack import monitoring
from compose.stack.settings import read_settings


def test_every_alert_has_its_section() -> None:
    """The address that the Overview links to is an element of the page, and it says something."""
    shown = {each.id: each for each in runbook.layout()._traverse() if isinstance(each, html.Section)}
    for alert in alerts():
        section = shown[runbook.address(alert.name).partition("#")[2]]
        assert section.children[0].children == alert.name
        assert any(isinstance(each, html.P) for each in section.children)


def test_blocks_are_read() -> None:
    """Paragraphs keep their code, fences and tables stay as they are written, and no markup is taken for HTML."""
    text = "# T\nx\n\n## One\nGo `a b` and [there](x.md)\nnow <b>.\n\n```sh\n# c\n\nd\n```\n| a |\n| - |\n\n"
    text += "## Two\n**No `x`.** Do.\n**B** c\n\n- e\n"
    (one, first), (two, second) = runbook.sections(text)
    assert (one, two) == ("One", "Two")
    made = [runbook.block(each) for each in first]
    assert [type(each).__name__ for each in made] == ["P", "Pre", "Pre"]
    assert [getattr(piece, "children", piece) for piece in made[0].children] == ["Go ", "a b", " and there now <b>."]
    assert made[1].children == "# c\n\nd"
    entry, other, listed = map(runbook.block, second)
    assert [getattr(piece, "children", piece) for piece in entry.children] == ["No `x`.", " Do."]
    assert [type(each).__name__ for each in (entry.children[0], other, listed)] == ["Strong", "P", "Pre"]
    assert listed.children == "- e"


def test_what_stands_before_the_alerts_is_shown() -> None:
    """What the commands of the sections are on a stack without Docker stands on the page as in the file."""
    assert runbook.opening("# T\nOne.\ntwo\n\nThree\n## A\nb\n") == ["One.\ntwo", "Three"]
    tables = [str(each.children) for each in runbook.layout()._traverse() if isinstance(each, html.Pre)]
    assert any("| docker compose ps | python3 compose status |" in table for table in tables)


def told(text: str) -> set[str]:
    """Return the runbook addresses of rules."""
    groups = yaml.safe_load(text)["groups"]
    return {rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule}


def test_where_alerts_point_to(tmp_path: Path) -> None:
    """The committed rules point into the sources, the local stack's to its console, and RUNBOOK_URL moves both."""
    names = {alert.name.lower() for alert in alerts()}
    assert told(prometheus.rules()) == {f"docs/runbook.md#{name}" for name in names}
    assert told(prometheus.rules(runbook="https://w/r")) == {f"https://w/r#{name}" for name in names}
    given = {"STACK_DIR": str(tmp_path), "CONSOLE_PORT": "5678"}
    for more, page in (({}, "http://127.0.0.1:5678/runbook"), ({"RUNBOOK_URL": "https://w/r"}, "https://w/r")):
        settings = read_settings({**given, **more})
        parts = monitoring.monitoring_services(settings, prometheus_program="/usr/bin/prometheus")
        monitoring.write_configuration(settings, parts, {})
        assert told((settings.monitoring_dir / "rules.yml").read_text()) == {f"{page}#{name}" for name in names}
