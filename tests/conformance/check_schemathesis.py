"""Schemathesis over the whole OpenAPI document: no server error, no undocumented answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conformance.conftest import Service

CONFIG = Path(__file__).with_name("schemathesis.toml")


def test_every_operation_keeps_to_its_description(service: Service, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--no-color", "--config-file", str(CONFIG), "run"]
    command += [f"{service.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {service.api_key}"]
    command += ["--seed", "1", "--generation-deterministic", "--request-timeout", "60"]
    done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout
