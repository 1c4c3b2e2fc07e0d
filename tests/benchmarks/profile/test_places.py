"""Stacks and their places."""

from __future__ import annotations

import pytest

from benchmarks.profile.places import ELSEWHERE, PLACES, by_place, place_of


@pytest.mark.parametrize(
    ("files", "place"),
    [
        (["/x/onnxruntime/session.py", "/p/service/engine/runners/onnx_runner.py"], "kernel"),
        (["/p/service/engine/sampling/draw.py", "/p/service/engine/engine.py"], "draw"),
        (["/p/service/engine/engine.py", "/p/service/engine/hosts/worker.py"], "engine's loop"),
        (["/usr/multiprocessing/connection.py", "/p/service/engine/hosts/worker.py"], "pipe"),
        (["/usr/json/encoder.py", "/p/service/api/openai/responses.py"], "routes"),
        (["/x/starlette/responses.py", "/p/service/api/x.py"], "middleware, framework"),
        (["/usr/asyncio/runners.py", "/p/service/server.py"], ELSEWHERE),
    ],
)
def test_the_innermost_file_with_a_place_decides(files: list[str], place: str) -> None:
    assert place_of(files) == place
    assert place in PLACES


def test_samples_add_up() -> None:
    counts = {"/p/service/engine/engine.py\n/a.py": 3, "/p/service/engine/scheduler.py": 4, "/a": 1}
    assert by_place(counts) == {"engine's loop": 7, ELSEWHERE: 1}
