"""The notebook runs from its first cell to its last, as somebody would who opens it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "own_model.ipynb"


def test_the_notebook_runs_and_its_models_learn(tmp_path: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell.get("outputs") for cell in cells), "outputs belong to whoever runs it"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "tok/s" in done.stderr, "progress is shown"
    assert "Kneser-Ney 5-gram" in done.stdout
    assert (tmp_path / "own-model" / "adapted" / "report.html").exists()
    before, after = (
        float(found) for found in re.findall(r"(?:before|after): ([\d.]+) bits", done.stdout)
    )
    assert after < before
    good, bad = (float(found) for found in re.findall(r"\.: perplexity ([\d.]+)", done.stdout))
    assert good < bad
