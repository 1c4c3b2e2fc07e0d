"""autogen, litellm, llm and pydantic-ai, each by a script.

They are installed apart from the other clients, and autogen apart from the rest.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conformance.conftest import Service

SCRIPTS = Path(__file__).parent / "frameworks"
# What each script imports, and the variable that names the environment to find it in.
NEEDS = {
    "autogen_client.py": ("autogen_agentchat", "CONFORMANCE_AUTOGEN_PYTHON"),
    "litellm_client.py": ("litellm", "CONFORMANCE_FRAMEWORKS_PYTHON"),
    "llm_client.py": ("llm", "CONFORMANCE_FRAMEWORKS_PYTHON"),
    "pydantic_ai_client.py": ("pydantic_ai", "CONFORMANCE_FRAMEWORKS_PYTHON"),
}


def test_every_script_is_run() -> None:
    assert {path.name for path in SCRIPTS.glob("*.py")} == NEEDS.keys()


@pytest.mark.parametrize("script", sorted(NEEDS))
def test_a_client(service: Service, script: str) -> None:
    module, variable = NEEDS[script]
    python = os.environ.get(variable, "")
    if not python or not Path(python).exists():
        pytest.skip(f"{variable} names no environment")
    finds = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    if subprocess.run([python, "-c", finds]).returncode:
        pytest.skip(f"{module} could not be installed in the environment of {python}")
    environment = {
        **os.environ,
        "BASE_URL": service.base_url,
        "API_KEY": service.api_key,
        "MODEL": service.model,
        "PYTHONPATH": "",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet for prices
    }
    done = subprocess.run(
        [python, str(SCRIPTS / script)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("ok")
