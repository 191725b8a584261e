"""`ml-app`'s commands as a person runs them."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from app.__main__ import main
from app.model import bundle


def test_evaluate_measures_the_active_model(model_dir: Path) -> None:
    """Scores for all fields and for the required ones are printed, each between 0 and 1, on rows kept apart."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "app", "evaluate"],
        env={**os.environ, "APP_MODEL_DIR": str(model_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("all", "required"):
        line = re.search(rf"^  {name} +([\d. ]+)$", done.stdout, re.MULTILINE)
        assert line is not None, done.stdout
        assert all(0 < float(figure) < 1 for figure in line[1].split())
    assert "these are the rows it was trained on" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--openml", "--rows", "1000"], "--data, --openml and --rows name different data: give one of them"),
        (["train", "--seed", "-1"], "-1 is not in the range"),
        (["evaluate", "--on-generated"], "give --splits too"),
        (["evaluate", "--data", "nowhere.csv"], "nowhere.csv: No such file or directory"),
        (["models", "list"], "there is no model; run `ml-app train`"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, words: list[str], said: str) -> None:
    """Options that contradict each other, a file that is not there, no model: one sentence that says what to do."""
    done = CliRunner().invoke(main, words, env={"APP_MODEL_DIR": str(tmp_path), "APP_MODEL": ""})
    assert said in done.output


def test_models_are_listed_activated_and_rolled_back(model_dir: Path, trained: bundle.Bundle) -> None:
    """The star moves; a version that is not there, or no former one, is one sentence that says what to do."""

    def models(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["models", *words], env={"APP_MODEL_DIR": str(model_dir), "APP_MODEL": ""})
        return done.exit_code, done.output

    def starred() -> list[str]:
        return re.findall(r"^\* (\S+)", models("list")[1], re.MULTILINE)

    (first,) = starred()
    code, said = models("rollback")
    assert code == 1
    assert "no version was active before this one" in said
    assert models("activate", "nope") == (
        1,
        f"Error: there is no version 'nope' in {model_dir}; `ml-app models list` shows those there are\n",
    )
    later = msgspec.structs.replace(trained.manifest, trained_at=dt.datetime(2026, 12, 1, tzinfo=dt.UTC))
    second = bundle.save(bundle.Bundle(later, trained.scorer), model_dir).version
    assert models("activate", second) == (0, f"{second} is active\n")
    assert starred() == [second]
    assert models("rollback") == (0, f"{first} is active\n")
    assert starred() == [first]
    (model_dir / second / "arrays.npz").write_bytes(b"cut")
    assert re.search(rf"^  {second}  broken: .*arrays.npz: its SHA-256", models("list")[1], re.MULTILINE)
    assert models("activate", second)[0] == 1
    assert starred() == [first]
