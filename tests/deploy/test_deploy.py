"""What operators copy: it fits its schemas, and names settings and metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.engine.stats import EngineStats
from service.metrics import Metrics, ModelStats
from service.settings import Settings
from service.work_metrics import Work

DEPLOY = Path(__file__).parents[2] / "deploy"
_VARIABLE = re.compile(r"LSTM_SERVE_([A-Z_]+)")
_METRIC = re.compile(r"\b(?:vllm:|lstm_serve_|process_)[a-z0-9_]+")


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


@pytest.mark.parametrize("document", documents(), ids=lambda document: document["kind"])
def test_the_manifest_fits_the_schema(document: dict[str, Any]) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is missing")
    validator.validate(document, validator.latest_version(), strict=True)


@pytest.mark.parametrize("path", sorted(p for p in DEPLOY.rglob("*") if p.is_file()), ids=str)
def test_settings_exist(path: Path) -> None:
    for name in _VARIABLE.findall(path.read_text()):
        assert name.lower() in Settings.model_fields, name


def exposed() -> set[str]:
    """Names of samples on a page of metrics, with those of histograms."""
    engine = EngineStats(
        counters=dict.fromkeys(("cache_hits", "cache_lookups"), 0),
        gauges=dict.fromkeys(("running", "waiting"), 0),
    )
    metrics = Metrics(lambda: {"m": ModelStats(engine=engine)})
    metrics.count_tokens("m", prompt=1, completion=1)
    metrics.observe_work("m", Work(queued_s=0.01, first_s=0.1, total_s=1, new_tokens=3))
    metrics.requests.labels("r", "GET", "200").inc()
    return set(re.findall(r"^([a-z][a-zA-Z0-9_:]*)", metrics.render().decode(), re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "at_least"), [("alerts.yml", 4), ("grafana/lstm-serve.json", 4), ("keda.yaml", 1)]
)
def test_metrics_exist(name: str, at_least: int) -> None:
    found = _METRIC.findall((DEPLOY / name).read_text())
    assert len(found) >= at_least
    assert set(found) <= exposed()


def test_either_autoscaler_is_for_the_same_deployment_within_the_same_bounds() -> None:
    keda = yaml.safe_load((DEPLOY / "keda.yaml").read_text())["spec"]
    plain = next(d["spec"] for d in documents() if d["kind"] == "HorizontalPodAutoscaler")
    assert keda["scaleTargetRef"] == plain["scaleTargetRef"]
    bounds = keda["minReplicaCount"], keda["maxReplicaCount"]
    assert bounds == (plain["minReplicas"], plain["maxReplicas"])
    # What KEDA's prometheus scaler asks for; all values of its metadata are strings.
    (prometheus, cpu) = keda["triggers"]
    assert {"serverAddress", "query", "threshold"} <= set(prometheus["metadata"])
    for trigger in (prometheus, cpu):
        assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_the_dashboard_is_json_with_a_query_a_panel() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "lstm-serve.json").read_text())
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


def test_every_panel_is_in_the_runbook() -> None:
    runbook = (DEPLOY.parent / "docs" / "operations.md").read_text()
    dashboard = json.loads((DEPLOY / "grafana" / "lstm-serve.json").read_text())
    for panel in dashboard["panels"]:
        assert f"| {panel['title']} |" in runbook, panel["title"]


def test_every_alert_is_in_the_runbook() -> None:
    runbook = (DEPLOY.parent / "docs" / "operations.md").read_text()
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    for rule in groups[0]["rules"]:
        assert f"`{rule['alert']}`" in runbook, rule["alert"]


def test_settings_of_the_ray_application_exist() -> None:
    (application,) = yaml.safe_load((DEPLOY / "ray-serve.yaml").read_text())["applications"]
    assert set(application["args"]) <= set(Settings.model_fields)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that is there on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY / "lstm-serve.service").read_text()
    unit = tmp_path / "lstm-serve.service"
    unit.write_text(text.replace("/opt/lstm-serve/bin/lstm-serve", sys.executable))
    return unit


def test_systemd_takes_the_unit(unit: Path) -> None:
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "lstm-serve.service" not in checked.stderr, checked.stderr


def test_the_unit_may_do_little(unit: Path) -> None:
    """By systemd's own measure: 10 is a service that may do everything."""
    checked = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=30", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout[-300:]


def test_haproxy_takes_the_file() -> None:
    haproxy = shutil.which("haproxy")
    if haproxy is None:
        pytest.skip("haproxy is not installed (Debian: apt-get install haproxy)")
    command = [haproxy, "-c", "-f", str(DEPLOY / "haproxy.cfg")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
