"""Nothing leaves the machine, and nothing is collected in order to."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import PROJECT, SHIPPED


def test_the_runtime_collects_nothing(tmp_path: Path) -> None:
    """A home of its own, and none of the variables by which tests and CI switch it off anyway."""
    silent = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in silent}
    code = (
        "from service.language_model import LanguageModel\n"
        f"with LanguageModel.load({str(SHIPPED)!r}) as model: model.score('hello')"
    )
    subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=PROJECT,
        env={**environment, "HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)},
        check=True,
    )
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
