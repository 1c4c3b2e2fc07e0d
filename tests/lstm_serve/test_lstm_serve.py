"""What others import, and what they type, works from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import lstm_serve
from benchmarks.harness import PROJECT


def test_the_public_names_are_there() -> None:
    assert dir(lstm_serve) == sorted(lstm_serve.__all__)
    for name in lstm_serve.__all__:
        assert getattr(lstm_serve, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Model'"):
        lstm_serve.Model  # noqa: B018


def test_naming_the_package_loads_nothing() -> None:
    code = "import sys, lstm_serve; print([m for m in sys.modules if m.startswith('service')])"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.slow
def test_an_installed_wheel_serves_from_any_folder(tmp_path: Path) -> None:
    """Folders of the same names as our packages lie in the user's own, and break nothing."""
    # The checkout on the path would pass for an installation.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    wheels = tmp_path / "wheels"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = tmp_path / "source"  # building leaves files beside the sources
    for name in ("lstm_serve", "models", "service", "training"):
        shutil.copytree(PROJECT / name, source / name)
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(wheels), str(source)], check=True)
    venv.create(tmp_path / "env", with_pip=True)
    bin_ = tmp_path / "env" / "bin"
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([bin_ / "pip", "install", "--quiet", wheel], env=environment, check=True)
    home = tmp_path / "home"
    for name in ("models", "service", "training"):
        (home / name).mkdir(parents=True)
        (home / name / "__init__.py").write_text("raise RuntimeError('not this one')\n")
    found = subprocess.run(
        [bin_ / "lstm-serve", "score"],
        input="the cat\n",
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"text": "the cat"' in found.stdout
