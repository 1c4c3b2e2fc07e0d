"""The server under test, its processes, and the figures that a test prints of it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from models.checkpoint import Checkpoint, save_checkpoint
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from tests.service.conftest import CORPUS
from tests.service.engine.small_models import random_weights

STREAM = {"prompt": "the cat", "stream": True, "ignore_eos": True, "seed": 1}


def save_small_model(folder: Path) -> Path:
    """A model of random weights that is fast on any machine."""
    tokenizer = Tokenizer.train(CORPUS * 4, vocab_size=360, character_coverage=1.0)
    config = ModelConfig(vocab_size=tokenizer.vocab_size, embedding_size=64, hidden_sizes=(64,))
    weights = random_weights(config)
    save_checkpoint(Checkpoint(model=config, weights=weights, tokenizer=tokenizer), folder)
    return folder


@dataclass(kw_only=True)
class Target:
    """address: of the server, which is a child of this process; key: sent with every request."""

    address: str
    key: str | None = None
    statuses: Counter[int] = field(default_factory=Counter)

    def client(self, timeout_s: float = 60) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None)
        headers = {} if self.key is None else {"authorization": f"Bearer {self.key}"}
        return httpx.AsyncClient(
            base_url=self.address, timeout=timeout_s, limits=limits, headers=headers
        )

    def engine_pid(self) -> int:
        """The server's engine process."""
        (pid,) = (
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _is_engine(entry, self.server_pid())
        )
        return pid

    def server_pid(self) -> int:
        """Of the process that listens at the address."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _parent(entry) == os.getpid():
                command = (entry / "cmdline").read_bytes()
                if b"service\0serve" in command:
                    return int(entry.name)
        raise LookupError("no server")

    def memory_mb(self) -> float:
        """Resident memory of server and engine together."""
        pages = 0
        for pid in (self.server_pid(), self.engine_pid()):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def num_descriptors(self) -> int:
        """Files and sockets that the server has open."""
        return len(list(Path(f"/proc/{self.server_pid()}/fd").iterdir()))

    async def score(self, client: httpx.AsyncClient, text: str) -> httpx.Response:
        response = await client.post("/v1/score", json={"texts": [text]})
        self.statuses[response.status_code] += 1
        return response

    async def ready(self, within_s: float = 60) -> float:
        """Wait until the server is ready; the seconds that it took."""
        started = time.perf_counter()
        async with self.client() as client, asyncio.timeout(within_s):
            while (await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.02)
        return time.perf_counter() - started

    @contextmanager
    def watching_liveness(self) -> Iterator[list[float]]:
        """Seconds that each of many liveness probes took meanwhile.

        From a thread: the clients' own event loop may be as busy as the server's.
        """
        times: list[float] = []
        ended = threading.Event()

        def probe() -> None:
            with httpx.Client(base_url=self.address, timeout=60) as client:
                while not ended.wait(0.05):
                    started = time.perf_counter()
                    assert client.get("/health/live").status_code == 200
                    times.append(time.perf_counter() - started)

        thread = threading.Thread(target=probe)
        thread.start()
        try:
            yield times
        finally:
            ended.set()
            thread.join()
            assert times


async def running_rows(client: httpx.AsyncClient) -> float:
    """Rows of the batch that are in use."""
    return await metric(client, "vllm:num_requests_running")


async def metric(client: httpx.AsyncClient, name: str) -> float:
    """What the metrics page says now; the sum over models."""
    page = (await client.get("/metrics")).text
    lines = (line for line in page.splitlines() if line.startswith(name))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def stream(client: httpx.AsyncClient, max_tokens: int) -> list[str]:
    """The data of all events of a completion of exactly so many tokens."""
    body = {**STREAM, "max_tokens": max_tokens}
    async with client.stream("POST", "/v1/completions", json=body) as response:
        lines = [line async for line in response.aiter_lines()]
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def _parent(entry: Path) -> int | None:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def _is_engine(entry: Path, server: int) -> bool:
    try:
        return _parent(entry) == server and b"process_worker" in (entry / "cmdline").read_bytes()
    except OSError:
        return False
