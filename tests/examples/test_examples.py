"""The examples, run as a reader would: as programs, against a server of the shipped model."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import jiwer
import pytest

from benchmarks.harness import SHIPPED
from tests.live_server import announced_address, live_server

EXAMPLES = Path(__file__).parents[2] / "examples"
TURNS = "Hi! How are you today?\nWhat did you do at the weekend?\n"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with live_server(sys.executable, SHIPPED, {"LSTM_SERVE_LOG_LEVEL": "warning"}) as url:
        yield url


def run(name: str, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "no_proxy": "*"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_every_example_is_tested() -> None:
    text = Path(__file__).read_text("utf-8")
    mine = [path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")]
    mine.remove("client.py")  # what the others stand on
    assert [name for name in mine if f'"{name}"' not in text] == []


def test_autocomplete(address: str) -> None:
    lines = "She opened the wi\nShe opened the \nShe opened the zqx\n"
    shown = run("autocomplete.py", "--url", address, stdin=lines).stdout.splitlines()
    assert shown[0].startswith("window ")
    assert shown[1].startswith("door ")
    assert all(word.startswith("zqx") for word in shown[2].split("  "))


@pytest.mark.parametrize("form", ["service", "recogniser"])
def test_rescore_nbest(address: str, tmp_path: Path, form: str) -> None:
    sample = Path(__file__).parents[2] / "service" / "static" / "sample_nbest.json"
    lists = json.loads(sample.read_text("utf-8"))
    weights = {"lm_weight": 4.75, "weights": {"ngram": 4.75}, "length_bonus": -0.4}
    answer = httpx.post(f"{address}/v1/rescore", json={**weights, "utterances": lists}).json()
    wanted = [found["hypotheses"][0]["text"] for found in answer["utterances"]]

    if form == "recogniser":
        for entry in lists:
            entry["utt"] = entry.pop("id")
            entry["hyps"] = [
                {"text": hyp["text"], "am": hyp["score"], "lm": hyp["scores"]["ngram"]}
                for hyp in entry.pop("hypotheses")
            ]
    file = tmp_path / "lists.jsonl"
    # As some editors save it.
    file.write_text("".join(json.dumps(entry) + "\r\n" for entry in lists), "utf-8-sig")
    options = ["--lm-weight", 4.75, "--weight", "ngram=4.75", "--word", -0.4]
    done = run("rescore_nbest.py", file, "--url", address, *options)
    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == wanted
    rate = 100 * jiwer.wer([entry["ref"] for entry in lists], wanted)
    assert f"{rate:.1f}% after" in done.stderr


def test_a_bad_list_is_named_by_its_line(tmp_path: Path, address: str) -> None:
    file = tmp_path / "lists.jsonl"
    file.write_text('{"hypotheses": []}\n{"hyps": [{"text": "a"}]}\n')
    command: list[str | Path] = [
        sys.executable,
        EXAMPLES / "rescore_nbest.py",
        file,
        "--url",
        address,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "line 2 is no N-best list" in done.stderr


def test_log_anomalies(address: str, tmp_path: Path) -> None:
    usual = "2026-01-01 12:00:00 INFO the request was answered in 12 ms\n"
    odd = "2026-01-01 12:00:07 INFO xq zzkr flrb ovrflw @@## nil\n"
    log = tmp_path / "service.log"
    log.write_text(usual * 300 + odd + usual * 300)
    shown = run("log_anomalies.py", log, "--url", address, "--top", 2).stdout.splitlines()
    assert len(shown) == 2
    assert shown[0].split(None, 2)[1:] == ["301", odd.strip()]


def test_filter_corpus(address: str, tmp_path: Path) -> None:
    good = "The old man walked slowly down to the river and sat under a tree."
    bad = "<td>qz0x 77 &nbsp; jjkw pplmz uuvvx 0x9f $$ %% wqrt</td>"
    file = tmp_path / "crawl.txt"
    file.write_text(f"{good}\n{bad}\nno\n" * 200)
    done = run("filter_corpus.py", file, "--url", address)
    assert done.stdout == f"{good}\n" * 200
    assert "kept 200 of 400 lines" in done.stderr
    shown = run("filter_corpus.py", file, "--url", address, "--show", 2).stdout.splitlines()
    assert [line.split("  ", 1)[1] for line in shown] == [good, bad]


def test_surprisal(address: str, tmp_path: Path) -> None:
    sentence = "The old man the boats."
    file = tmp_path / "items.tsv"
    file.write_text(f"garden\t{sentence}\n\nNo name here.\n")
    rows = [
        line.split("\t") for line in run("surprisal.py", file, "--url", address).stdout.splitlines()
    ]
    assert rows[0] == ["item", "position", "word", "surprisal", "entropy"]
    assert [row[:3] for row in rows[1:6]] == [
        ["garden", str(place), word] for place, word in enumerate(sentence.split(), start=1)
    ]
    assert rows[6][0] == "3"
    body = {"texts": [sentence], "eos": False}
    found = httpx.post(f"{address}/v1/score", json=body).json()["data"][0]["logprob"]
    total = sum(float(row[3]) for row in rows[1:6])
    assert total == pytest.approx(-found / math.log(2), abs=0.01)
    assert all(0 < float(row[4]) < 13 for row in rows[1:])


def test_the_chatbots(address: str) -> None:
    pytest.importorskip("openai", reason="openai is not installed")
    for name in ("chatbot.py", "chatbot_state.py"):
        answers = run(name, address, stdin=TURNS).stdout.splitlines()
        assert len(answers) >= 2
        assert all(answers[:2])
        code = (EXAMPLES / name).read_text("utf-8").split('"""', 2)[2]
        assert len([line for line in code.splitlines() if line.strip()]) <= 40


def test_a_missing_server_is_told() -> None:
    command: list[str | Path] = [
        sys.executable,
        EXAMPLES / "autocomplete.py",
        "--url",
        "http://127.0.0.1:9",
    ]
    done = subprocess.run(command, input="a\n", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "make serve" in done.stderr


@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_own_text(tmp_path: Path) -> None:
    """Trains and serves for real, in the environment that the tests run in."""
    text = tmp_path / "text.txt"
    numbers = random.Random(1)
    words = "the a old small cat dog house river sees finds likes crosses"
    text.write_text(
        "".join(" ".join(numbers.choices(words.split(), k=9)) + "\n" for _ in range(3000))
    )
    serve, dev = (installed_environment(tmp_path / name) for name in ("serve", "dev"))
    make_flags = f"SERVE={serve} DEV={dev}"
    tiny = ["--preset", "tiny", "--set", "loop.max_tokens=20000", "tokenizer.vocab_size=288"]
    process = subprocess.Popen(
        ["bash", EXAMPLES / "own_text.sh", text, tmp_path / "mine", *tiny],
        env={**os.environ, "PORT": "0", "MAKEFLAGS": make_flags, "no_proxy": "*"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        address = announced_address(process)
        served = httpx.get(f"{address}/v1/models/default").json()
        assert served["id"] == "mine"
        assert served["vocab_size"] <= 288
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)


def installed_environment(folder: Path) -> Path:
    """The tests' own environment, told to make as one that is installed and up to date."""
    folder.mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (folder / part).symlink_to(Path(sys.prefix) / part)
    for stamp in (".created", ".torch", ".installed"):
        (folder / stamp).touch()
    return folder
