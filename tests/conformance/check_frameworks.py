"""litellm, llm and pydantic-ai, each by a script in an environment of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conformance.conftest import Service

SCRIPTS = Path(__file__).parent / "frameworks"
PYTHON = os.environ.get("CONFORMANCE_FRAMEWORKS_PYTHON", "")


@pytest.mark.skipif(not PYTHON, reason="CONFORMANCE_FRAMEWORKS_PYTHON names no environment")
@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_a_client(service: Service, script: str) -> None:
    environment = {
        **os.environ,
        "BASE_URL": service.base_url,
        "API_KEY": service.api_key,
        "MODEL": service.model,
        "PYTHONPATH": "",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet for prices
    }
    done = subprocess.run(
        [PYTHON, str(SCRIPTS / script)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("ok")
