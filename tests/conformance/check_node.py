"""Clients for JavaScript: OpenAI's own, and Vercel's AI SDK."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conformance.conftest import Service

NODE = Path(__file__).parent / "node"
_OLDEST = 20


def _why_not() -> str | None:
    """Why these clients cannot run here."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    major = int(version.stdout.strip().lstrip("v").split(".")[0])
    return None if major >= _OLDEST else f"node {major} is installed; these need {_OLDEST}"


REASON = _why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the scripts, with their packages installed beside them."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(NODE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
    subprocess.run(command, cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("script", ["openai.mjs", "ai_sdk.mjs"])
def test_a_client(service: Service, scripts: Path, script: str) -> None:
    environment = {
        **os.environ,
        "BASE_URL": service.base_url,
        "API_KEY": service.api_key,
        "MODEL": service.model,
    }
    done = subprocess.run(
        ["node", script], cwd=scripts, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ok"
