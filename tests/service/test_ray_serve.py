"""A local Ray cluster with two replicas: the same answers, and conversations that move between."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
serve = pytest.importorskip("ray.serve", reason="the extra `ray` is not installed")

from tests.reliability.target import save_small_model  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
PORT = 18417


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    from service.ray_serve import deployment

    folder = save_small_model(tmp_path_factory.mktemp("models") / "small")
    root = str(Path(__file__).parents[2])
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": root}},
    )
    settings = {"model": str(folder), "models": str(folder.parent), "state_key": "s" * 32}
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    two = deployment.options(num_replicas=2, autoscaling_config=None)
    serve.run(two.bind({**settings, "allowed_hosts": "*"}), route_prefix="/")
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=60) as client:
            yield client
    finally:
        serve.shutdown()
        ray.shutdown()


def post(client: httpx.Client, path: str, **body: Any) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_contract_through_ray(client: httpx.Client) -> None:
    assert client.get("/health/ready").status_code == 200
    whole = post(client, "/v1/score", texts=["the cat sat"], eos=False)["data"][0]["logprob"]
    assert all(
        post(client, "/v1/score", texts=["the cat sat"], eos=False)["data"][0]["logprob"] == whole
        for _ in range(10)
    )
    body = {"prompt": "the", "stream": True, "max_tokens": 5, "ignore_eos": True}
    with client.stream("POST", "/v1/completions", json=body) as response:
        lines = [line for line in response.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    assert client.post("/v1/score", json={"texts": 5}).status_code == 400


def test_a_conversation_goes_on_at_any_replica(client: httpx.Client) -> None:
    first = post(client, "/v1/score", texts=["the cat"], eos=False, return_state=True)["data"][0]
    for _ in range(10):  # whichever replica answers
        rest = post(client, "/v1/score", texts=[" sat"], state=first["state"])["data"][0]
        assert rest["num_tokens"] > 0


def test_a_replica_that_dies_loses_what_it_was_computing_and_no_more(client: httpx.Client) -> None:
    first = post(client, "/v1/score", texts=["the cat"], eos=False, return_state=True)["data"][0]
    expected = post(client, "/v1/score", texts=[" sat"], state=first["state"])["data"]
    os.kill(replica_pid(), signal.SIGKILL)
    answers, failures, started = 0, 0, time.perf_counter()
    while answers < 20 and time.perf_counter() - started < 120:
        response = client.post("/v1/score", json={"texts": [" sat"], "state": first["state"]})
        if response.status_code == 200:
            assert response.json()["data"] == expected
            answers += 1
        else:
            failures += 1
    assert answers == 20
    print(f"\nreplica killed: {failures} requests failed before the other took over")


def replica_pid() -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(b"ray::ServeReplica"):
                return int(entry.name)
    raise LookupError("no replica")


def test_replicas_must_share_a_state_key() -> None:
    from service.ray_serve import build

    with pytest.raises(ValueError, match="share a state key"):
        build({})
