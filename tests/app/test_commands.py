"""`ml-app`'s commands as a person runs them."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
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
