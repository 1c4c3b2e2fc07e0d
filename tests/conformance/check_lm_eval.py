"""EleutherAI's evaluation harness measures the served model as our own evaluation does.

How its requests come to mean the same. The harness takes the tokenizer from the server
(`tokenizer_backend=remote`), sends token ids, puts one prefix token before them and scores the
rest. By default the prefix is what the *text* "<s>" encodes to, which here is text like any other;
so begin-of-sequence is named by its id (`custom_prefix_token_id`). The harness sends it only where
there is no context; where there is one, its ids come without, and the service puts it before them.
A newline is an ordinary token at the end of each line, and there is no end-of-sequence, in both
evaluations.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.conftest import Service

pytest.importorskip("lm_eval", reason="lm-eval could not be installed")

ROOT = Path(__file__).parents[2]
TASKS = Path(__file__).parent / "lm_eval_tasks"
TEXT = TASKS / "text.txt"
# Sums of a few hundred float32 log-probabilities, in two implementations.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def written(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the harness's results, and its requests with what came back."""
    folder = tmp_path_factory.mktemp("lm-eval")
    headers = {"authorization": f"Bearer {service.api_key}"}
    info = httpx.get(f"{service.url}/tokenizer_info", headers=headers).json()
    model = {
        "model": service.model,
        "base_url": f"{service.base_url}/completions",
        "tokenizer_backend": "remote",
        "auth_token": service.api_key,
        "custom_prefix_token_id": info["bos_token_id"],
        "max_length": 1 << 20,  # the model has no limit; at a shorter one texts would be cut
    }
    program = Path(sys.executable).with_name("lm_eval")
    command = [str(program), "run", "--model", "local-completions"]
    command += ["--model_args", json.dumps(model), "--include_path", str(TASKS)]
    command += ["--tasks", "lstm_serve_lines", "lstm_serve_running_text"]
    command += ["lstm_serve_choices", "lstm_serve_continuations"]
    command += ["--log_samples", "--output_path", str(folder)]
    offline = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    environment = {**os.environ, **offline, "OPENAI_API_KEY": service.api_key}
    subprocess.run(command, cwd=TASKS, env=environment, check=True)
    return folder


@pytest.fixture(scope="module")
def harness(written: Path) -> Mapping[str, Any]:
    """The harness's results by task."""
    (file,) = written.rglob("results_*.json")
    results: dict[str, Any] = json.loads(file.read_text())["results"]
    return results


def samples(written: Path, task: str) -> list[dict[str, Any]]:
    """The harness's requests of a task, each with its document and what came back."""
    (file,) = written.rglob(f"samples_{task}_*.jsonl")
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def ask(service: Service, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {service.api_key}"}
    answer: dict[str, Any] = httpx.post(service.url + path, json=body, headers=headers).json()
    return answer


def evaluate(checkpoint: Path, *options: str) -> dict[str, float]:
    """What `python -m training evaluate` says of the text."""
    command = [os.environ["CONFORMANCE_TRAINING_PYTHON"], "-m", "training", "evaluate", "--json"]
    command += ["--model", str(checkpoint), "--text", str(TEXT), *options]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (measure,) = json.loads(done.stdout)["results"].values()
    figures: dict[str, float] = measure
    return figures


def test_line_by_line(harness: Mapping[str, Any], checkpoint: Path) -> None:
    ours, theirs = evaluate(checkpoint, "--restart-lines"), harness["lstm_serve_lines"]
    for name in ("word_perplexity", "bits_per_byte"):
        assert theirs[f"{name},none"] == pytest.approx(ours[name], rel=TOLERANCE)
    per_byte = 2 ** ours["bits_per_byte"]
    assert theirs["byte_perplexity,none"] == pytest.approx(per_byte, rel=TOLERANCE)


def test_as_running_text(harness: Mapping[str, Any], checkpoint: Path) -> None:
    ours, theirs = evaluate(checkpoint), harness["lstm_serve_running_text"]
    assert theirs["bits_per_byte,none"] == pytest.approx(ours["bits_per_byte"], rel=TOLERANCE)
    # Of a document the harness counts only one line end, so the sums are compared, not the means.
    nll = math.log(theirs["word_perplexity,none"]) * (ours["words"] + 1)
    assert nll == pytest.approx(ours["nll"], rel=TOLERANCE)


def test_choices_are_weighed_as_score_weighs_them(
    service: Service, harness: Mapping[str, Any], written: Path
) -> None:
    """With begin-of-sequence before every text, whether or not a context stands there."""
    hits = 0
    listed = samples(written, "lstm_serve_choices")
    for sample in listed:
        question = sample["doc"]
        body = {"context": question["before"], "texts": question["choices"], "eos": False}
        ours = [entry["logprob"] for entry in ask(service, "/v1/score", body)["data"]]
        theirs = [float(answer[0]) for answer in sample["filtered_resps"]]
        assert theirs == pytest.approx(ours, abs=1e-4)
        hits += ours.index(max(ours)) == question["label"]
    assert any(not sample["doc"]["before"] for sample in listed)
    assert harness["lstm_serve_choices"]["acc,none"] == pytest.approx(hits / len(listed))


def test_texts_are_continued_as_a_prompt_of_text_is(service: Service, written: Path) -> None:
    for sample in samples(written, "lstm_serve_continuations"):
        body = {"prompt": sample["doc"]["before"], "max_tokens": 8, "temperature": 0, "stop": "."}
        (choice,) = ask(service, "/v1/completions", body)["choices"]
        assert sample["resps"][0][0] == choice["text"]
