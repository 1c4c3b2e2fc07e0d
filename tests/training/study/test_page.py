"""What the page says follows from the numbers."""

import json
from pathlib import Path

import pytest

from models.config import ModelConfig
from models.lstm import LSTMLanguageModel
from training.__main__ import main
from training.study.experiments import Explosion, Trained
from training.study.page import (
    Finding,
    comparison_finding,
    explosion_finding,
    parameters_finding,
    reach_finding,
    truncation_finding,
    write_page,
)

MODEL = LSTMLanguageModel(ModelConfig(vocab_size=5, embedding_size=2, hidden_sizes=(2,)))


def trained(perplexity: float) -> Trained:
    return Trained(parameters=1000, perplexity=perplexity, seconds=1.0, model=MODEL)


def test_a_verdict_follows_the_numbers() -> None:
    assert parameters_finding({"window MLP": 1_000_100, "RNN": 20_100}).holds
    assert not parameters_finding({"window MLP": 1_000_000, "RNN": 20_100}).holds
    names = ("window MLP (8 tokens)", "Elman RNN", "LSTM")
    for perplexities, holds in (((9, 8, 7), True), ((9, 6, 7), False), ((6, 8, 7), False)):
        results = {name: trained(p) for name, p in zip(names, perplexities, strict=True)}
        finding = comparison_finding(results, 1000)
        assert finding.holds == holds
        verdict = "As expected." if holds else "Not as expected."
        assert f"**Verdict.** {verdict}" in finding.to_markdown()


def test_exploding_runs_are_judged_by_where_they_end(tmp_path: Path) -> None:
    tame = Explosion([7.0] + [5.0] * 20, [3.0] * 21)
    runs = {"without clipping": tame, "clipped at 0.5": tame}
    assert not explosion_finding(runs, tmp_path).holds, "nothing exploded"
    long = Explosion([7.0] + [5.0] * 20, [3.0] * 21)
    bad = Explosion([7.0] + [50.0] * 20, [1e9] * 21)
    assert explosion_finding({"without clipping": bad, "clipped at 0.5": long}, tmp_path).holds
    assert (tmp_path / "exploding-gradients.png").read_bytes().startswith(b"\x89PNG")


def test_reach_and_truncation_are_judged(tmp_path: Path) -> None:
    short, far = [0.5**k for k in range(127)], [0.99**k for k in range(127)]
    names = ("RNN, orthogonal start", "RNN, skips through time", "LSTM", "LSTM, trained")
    reaches = {"tanh RNN": short, "RNN, trained": short} | dict.fromkeys(names, far)
    assert reach_finding(reaches, tmp_path).holds
    assert not reach_finding(reaches | {"LSTM": short}, tmp_path).holds
    agreement = {1: 0.7, 64: 0.99, 256: 1.0}
    better = {2: trained(20), 32: trained(15)}
    assert truncation_finding(better, agreement, 256, tmp_path).holds
    worse = {2: trained(15), 32: trained(20)}
    assert not truncation_finding(worse, agreement, 256, tmp_path).holds


def test_the_page_counts_what_held(tmp_path: Path) -> None:
    findings = [
        Finding(title=t, expected="e", seen="s", holds=h, table=[["a", "b"], ["1", "2"]])
        for t, h in (("One", True), ("Two", False))
    ]
    write_page(tmp_path, "some text", 90.0, 60.0, findings)
    page = (tmp_path / "README.md").read_text()
    assert "Text: some text;" in page
    assert "All together took 1.5 minutes, 1.0 of them on a processor" in page
    assert "1 of 2 experiments came out as expected" in page
    assert "| a | b |\n| --- | --- |\n| 1 | 2 |" in page
    assert json.loads((tmp_path / "study.json").read_text())["Two"]["holds"] is False


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_study_runs_in_minutes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "--out", str(tmp_path / "page")]) == 0
    assert capsys.readouterr().out.count("as expected") == 5
    assert len(list((tmp_path / "page").glob("*.png"))) == 3
