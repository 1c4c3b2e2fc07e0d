"""Serving on a CPU needs no torch: neither at run time nor in the installation."""

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "module",
    [
        "models.config",
        "models.tokenizer",
        "models.checkpoint",
        "service.__main__",
        "service.server",
        "service.engine.hosts.build",
        "service.engine.hosts.loading",
        "service.engine.hosts.process_worker",
    ],
)
def test_a_module_that_serving_imports_leaves_torch_alone(module: str) -> None:
    """A process of its own: this one may have torch loaded by other tests."""
    code = f"import sys, {module}; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout.strip()) == (0, "False"), result.stderr


def test_the_server_has_no_kernel() -> None:
    """It computes in other processes; without their libraries it starts sooner and is smaller."""
    kernels = ["onnxruntime", "onnx", "service.engine.engine"]
    code = f"import sys, service.server; print([m for m in {kernels} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


def test_the_serving_requirements_never_lead_to_torch() -> None:
    """Follows what is installed from requirement to requirement, extras aside, as pip would."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or not _applies(requirement):
            continue
        seen.add(name)
        waiting += map(Requirement, metadata.requires(name) or [])
    assert "pydantic-core" in seen, "the walk did not reach a requirement's requirement"
    assert not {name for name in seen if name == "torch" or name.startswith(("nvidia-", "triton"))}


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})
