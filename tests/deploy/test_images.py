"""Images and compose files: nobody is root, nothing is fetched unpinned, keys come in files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = ("lstm-serve", "replica", "train")


def stages() -> dict[str, str]:
    """The Dockerfile's stages by name: what each is built on, and what is done there."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return {
        name: f"FROM {base}\n{rest}"
        for base, name, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    }


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


def locked() -> dict[str, tuple[Version, int]]:
    """Of each package in the lock, its version and how many hashes of files it may have."""
    text = (ROOT / "deploy" / "requirements.lock").read_text()
    found = re.findall(
        r"^([\w.-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n)+)", text, re.M
    )
    return {name: (Version(v), hashes.count("--hash=")) for name, v, hashes in found}


def test_images_do_not_run_as_root() -> None:
    for name in ("service", "training"):
        assert re.findall(r"^USER (\S+)$", stages()[name], re.MULTILINE) == ["10001:10001"]


def test_the_base_can_be_pinned_by_its_digest() -> None:
    assert stages()["base"].startswith("FROM ${PYTHON_IMAGE}\n")
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.13-slim-trixie$", DOCKERFILE, re.MULTILINE)
    assert "PYTHON_IMAGE=python:3.13-slim-trixie@sha256:" in DOCKERFILE  # how


def test_only_files_with_known_hashes_are_installed_for_serving() -> None:
    installs = re.findall(r"pip install (.*)$", stages()["service-environment"], re.MULTILINE)
    assert len(installs) == 2
    from_lock, package = installs
    assert "--require-hashes --only-binary :all: -r requirements.lock" in from_lock
    assert "--no-deps --no-build-isolation" in package
    assert "pip install" not in stages()["service"]
    assert "!deploy/requirements.lock" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_lock_has_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = project["project"]["dependencies"] + project["build-system"]["requires"]
    for extra in ("guided", "otel"):
        asked += project["project"]["optional-dependencies"][extra]
    pinned = locked()
    assert len(pinned) > 30
    assert all(hashes for _, hashes in pinned.values())
    for text in asked:
        requirement = Requirement(text)
        version, _ = pinned[requirement.name]
        assert version in requirement.specifier, f"{text}: the lock has {version}; run `make lock`"
    assert "torch" not in pinned


def test_containers_can_change_nothing(compose: dict[str, Any]) -> None:
    for name in OURS:
        service = compose["services"][name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"] == "10001:10001", name
        assert "privileged" not in service, name
    for name in ("lstm-serve", "replica"):
        service = compose["services"][name]
        assert all(volume.endswith(":ro") for volume in service["volumes"]), name
        assert service["mem_limit"], name
        assert service["pids_limit"], name


def test_images_of_others_have_versions_and_ports_are_this_machines(
    compose: dict[str, Any],
) -> None:
    for name, service in compose["services"].items():
        if "build" not in service:
            assert re.search(r":v?\d", service["image"]), name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_keys_may_come_in_files(compose: dict[str, Any]) -> None:
    added = yaml.safe_load((ROOT / "deploy" / "compose.secrets.yml").read_text())
    assert set(added["services"]) == {"lstm-serve", "replica"} <= set(compose["services"])
    for service in added["services"].values():
        paths = [f"/run/secrets/{name}" for name in service["secrets"]]
        assert sorted(service["environment"].values()) == sorted(paths)
        assert set(service["secrets"]) == set(added["secrets"])
        for variable in service["environment"]:
            assert variable.removeprefix("LSTM_SERVE_").lower() in Settings.model_fields
