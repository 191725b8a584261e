"""`ml-app`'s commands as a person runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


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
