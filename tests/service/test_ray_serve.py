"""A local Ray cluster: the same answers from two replicas, conversations that move between them, a
checkpoint where it is loaded already, and more replicas while work queues.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
serve = pytest.importorskip("ray.serve", reason="the extra `ray` is not installed")

from tests.reliability.target import save_small_model  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
PORT = 18417
ROOT = Path(__file__).parents[2]
Deploy = Callable[..., None]


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploy]:
    """(Re)deploy the service of two small models with the given options of the deployment."""
    from service.ray_serve import deployment

    folder = save_small_model(tmp_path_factory.mktemp("models") / "small")
    save_small_model(folder.parent / "other")
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    settings = {"model": str(folder), "models": str(folder.parent), "state_key": "s" * 32}
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})

    def deploy(**options: Any) -> None:
        application = deployment.options(**options).bind({**settings, "allowed_hosts": "*"})
        serve.run(application, route_prefix="/")

    try:
        yield deploy
    finally:
        serve.shutdown()
        ray.shutdown()


@pytest.fixture(scope="module")
def client(deploy: Deploy) -> Iterator[httpx.Client]:
    """Of two replicas."""
    deploy(num_replicas=2, autoscaling_config=None)
    with httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=60) as client:
        yield client


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
    refused = client.post("/v1/score", json={"texts": 5})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "texts")
    assert "x-request-id" in refused.headers


def test_a_conversation_goes_on_at_any_replica(client: httpx.Client) -> None:
    first = post(client, "/v1/score", texts=["the cat"], eos=False, return_state=True)["data"][0]
    answers = [
        post(client, "/v1/score", texts=[" sat"], state=first["state"])["data"] for _ in range(10)
    ]  # whichever replica answers
    assert answers == [answers[0]] * 10


def test_a_checkpoint_is_loaded_at_one_replica(client: httpx.Client) -> None:
    """Where requests name it to Ray; they would reach both replicas otherwise."""
    headers = {"serve_multiplexed_model_id": "other"}
    body = {"model": "other", "texts": ["the cat"]}
    for _ in range(12):
        assert client.post("/v1/score", json=body, headers=headers).status_code == 200
    assert len(engines_of("other")) == 1
    unknown = {"serve_multiplexed_model_id": "nothing"}
    answer = client.post("/v1/score", json={**body, "model": "nothing"}, headers=unknown)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_a_replica_that_dies_loses_what_it_was_computing_and_no_more(client: httpx.Client) -> None:
    """In the middle of a conversation, whose every turn goes on from the state of the last."""
    turns = ["the cat", " sat", " on", " the", " mat"] * 3
    unbroken, failures = converse(client, turns)
    assert failures == 0
    broken, failures = converse(client, turns, kill_before=7)
    assert broken == unbroken
    print(f"\nreplica killed: {failures} requests failed before the other took over")


def converse(
    client: httpx.Client, turns: list[str], kill_before: int | None = None
) -> tuple[list[Any], int]:
    """The answers to all turns, and how often one had to be sent again."""
    answers, failures, state = [], 0, None
    for number, text in enumerate(turns):
        if number == kill_before:
            os.kill(next(iter(processes(b"ray::ServeReplica"))), signal.SIGKILL)
        body = {"texts": [text], "eos": False, "return_state": True, "state": state}
        deadline = time.perf_counter() + 120
        while (response := client.post("/v1/score", json=body)).status_code != 200:
            failures += 1
            assert time.perf_counter() < deadline
            time.sleep(0.05)
        answers.append(response.json()["data"][0])
        state = answers[-1]["state"]
    return answers, failures


def test_throughput_of_one_replica_and_of_two(deploy: Deploy) -> None:
    """Shown, not held: what two gain is a matter of the cores that are free."""
    rates = {}
    for replicas in (1, 2):
        deploy(num_replicas=replicas, autoscaling_config=None)
        wait_for_replicas(replicas)
        rates[replicas] = asyncio.run(requests_per_s(clients=16, seconds=4))
        assert rates[replicas] > 0
    print(f"\n{rates[1]:.0f} requests/s at one replica, {rates[2]:.0f} at two")
    print(f"({os.cpu_count()} cores, which Ray, its proxy and the clients share with the replicas)")


async def requests_per_s(clients: int, seconds: float) -> float:
    """Scoring a text of some 300 tokens, by so many clients at once."""
    text, ended = "the cat sat on the mat and the dog sat by the door " * 12, 0
    deadline = time.perf_counter() + seconds

    async def ask(number: int) -> None:
        nonlocal ended
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=60) as client:
            while time.perf_counter() < deadline:
                body = {"texts": [f"{number} {ended} {text}"]}
                ended += (await client.post("/v1/score", json=body)).status_code == 200

    await asyncio.gather(*map(ask, range(clients)))
    return ended / seconds


def test_replicas_are_added_while_work_queues(deploy: Deploy) -> None:
    from ray.serve.config import AutoscalingConfig

    scaling = AutoscalingConfig(
        min_replicas=1,
        max_replicas=2,
        target_ongoing_requests=2,
        upscale_delay_s=1,
        metrics_interval_s=0.5,
        look_back_period_s=2,
    )
    deploy(num_replicas=1, autoscaling_config=None)  # Ray takes its time to end replicas
    wait_for_replicas(1)
    deploy(autoscaling_config=scaling)
    wait_for_replicas(1)
    started = time.perf_counter()
    while len(processes(b"ray::ServeReplica")) < 2 and time.perf_counter() - started < 90:
        asyncio.run(requests_per_s(clients=16, seconds=2))
    assert len(processes(b"ray::ServeReplica")) == 2
    print(f"\na second replica after {time.perf_counter() - started:.0f} s of work that queued")


def test_the_configuration_file_is_one_of_ray_serve() -> None:
    from ray.serve.schema import ServeDeploySchema

    from service.ray_serve import build

    content = yaml.safe_load((ROOT / "deploy" / "ray-serve.yaml").read_text())
    config = ServeDeploySchema(**content)
    (application,) = config.applications
    assert application.import_path == f"{build.__module__}:build"
    assert build({"state_key": "s" * 32}) is not None


def test_replicas_must_share_a_state_key() -> None:
    from service.ray_serve import build

    with pytest.raises(ValueError, match="share a state key"):
        build({})


def wait_for_replicas(count: int, within_s: float = 120) -> None:
    deadline = time.perf_counter() + within_s
    while len(processes(b"ray::ServeReplica")) != count:
        assert time.perf_counter() < deadline
        time.sleep(0.1)


def processes(beginning: bytes) -> list[int]:
    """Ids of processes whose command line begins so."""
    return [pid for pid, line in command_lines() if line.startswith(beginning)]


def engines_of(model: str) -> list[int]:
    """Ids of the engine processes of a checkpoint in the folder that is served."""
    return [
        pid
        for pid, line in command_lines()
        if b"process_worker" in line and f"/{model}\0".encode() in line
    ]


def command_lines() -> Iterator[tuple[int, bytes]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / "cmdline").read_bytes()
            except OSError:
                continue
