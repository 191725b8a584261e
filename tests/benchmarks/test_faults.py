"""The same faults for our shipper and its peers, into a real Elasticsearch; asserts only what ours promises."""

from __future__ import annotations

import os

import pytest
from elasticsearch import Elasticsearch

from tests.benchmarks import report
from tests.benchmarks.contenders import CHECKED, faulty_peers, ours
from tests.benchmarks.faults import SCENARIOS, Outcome, run

pytestmark = pytest.mark.bench


def cell(outcome: Outcome) -> str:
    """Return one outcome as the table has it."""
    said = [
        f"**{outcome.silent} lost**" if outcome.silent else "",
        f"**{outcome.doubled} doubled**" if outcome.doubled else "",
        f"{outcome.named} set aside" if outcome.named else "",
    ]
    return ", ".join(filter(None, said)) or "all, once"


def test_faults_of_production(real_client: Elasticsearch) -> None:
    """Each fault is done to each contender; ours loses and doubles nothing, and a table says what the others did."""
    others, absent = faulty_peers()
    wanted = os.environ.get("ML_BENCH_CONTENDERS")
    field = [each for each in (ours(), *others) if not wanted or each.name in wanted.split(",")]
    outcomes: dict[tuple[str, str], Outcome] = {}
    chosen = os.environ.get("ML_BENCH_FAULTS")
    scenarios = [each for each in SCENARIOS if not chosen or each in chosen.split(";")]
    for scenario in scenarios:
        for contender in field:
            outcome = run(contender, scenario, real_client)
            print(f"{scenario:28} {contender.name:32} {outcome.written} written: {cell(outcome)}", flush=True)
            outcomes[scenario, contender.name] = outcome
            if contender.name == "ours":
                assert (outcome.silent, outcome.doubled) == (0, 0), outcome
    names = [contender.name for contender in field]
    rows = ["| " + " | ".join(["fault (lines)", *names]) + " |", "| --- " * (len(names) + 1) + "|"]
    for scenario in scenarios:
        cells = [cell(outcomes[scenario, name]) for name in names]
        written = outcomes[scenario, names[0]].written
        rows.append("| " + " | ".join([f"{scenario} ({written:,})", *cells]) + " |")
    versions = "; ".join(f"{each.name}: {each.version}" for each in field if CHECKED not in each.name)
    missing = f" Not on PATH: {', '.join(absent)}." if absent else ""
    report.write("faults", f"{report.machine()}. {versions}.{missing}\n\n" + "\n".join(rows))
