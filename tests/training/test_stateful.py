import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.architectures import build_model
from models.checkpoint import load_checkpoint
from models.config import ModelConfig
from models.language_model import LanguageModel
from tests.training.small_runs import train_arguments
from training.__main__ import main
from training.stateful import CacheSettings, DynamicSettings, cache_losses, dynamic_losses

VOCAB = 12


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=VOCAB, embedding_size=6, hidden_sizes=(6,))
    model = build_model(config)
    torch.nn.init.normal_(model.embedding.weight)
    return model.eval()


def ids(count: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randint(VOCAB, (count,))


@pytest.mark.parametrize("size", [3, 50, 1000])
def test_the_cache_is_the_sum_of_its_definition(model: LanguageModel, size: int) -> None:
    text, theta, share = ids(600), 0.5, 0.3
    settings = CacheSettings(size=size, flatness=theta, share=share)
    losses = cache_losses(model, text, settings)
    with torch.no_grad():
        features, _ = model(text[:-1, None], model.initial_state(1))
    h = features[:, 0]
    own = model.logits(h).softmax(dim=1).detach()
    for t in (0, 1, 2, 5, 255, 256, 257, 598):
        past = range(max(0, t - size), t)
        scores = {i: math.exp(theta * float(h[t] @ h[i])) for i in past}
        cached = [0.0] * VOCAB
        for i in past:
            cached[int(text[i + 1])] += scores[i] / sum(scores.values())
        part = share if past else 0.0
        mixed = [(1 - part) * float(own[t, w]) + part * cached[w] for w in range(VOCAB)]
        assert sum(mixed) == pytest.approx(1, rel=1e-4)
        assert float(losses[t]) == pytest.approx(-math.log(mixed[int(text[t + 1])]), rel=1e-3)


def test_dynamic_evaluation_scores_a_segment_before_it_learns_from_it(
    model: LanguageModel,
) -> None:
    text = ids(40)
    plain = -torch.tensor(model.score(text.tolist()))
    settings = DynamicSettings(rate=0.5, segment=16)
    losses = dynamic_losses(model, text, settings)
    assert torch.allclose(losses[:16], plain[:16], rtol=1e-4)
    assert not torch.allclose(losses[16:], plain[16:], rtol=1e-3)
    changed = text.clone()
    changed[-1] = (changed[-1] + 1) % VOCAB
    assert torch.equal(dynamic_losses(model, changed, settings)[:-1], losses[:-1])


def test_dynamic_evaluation_learns_what_repeats_and_leaves_the_model_alone(
    model: LanguageModel,
) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    text = ids(8).repeat(40)
    plain = -sum(model.score(text.tolist()))
    learnt = float(dynamic_losses(model, text, DynamicSettings()).sum())
    assert learnt < 0.8 * plain
    assert float(cache_losses(model, text, CacheSettings(share=0.5)).sum()) < 0.9 * plain
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_rate_of_nothing_is_plain_evaluation(model: LanguageModel) -> None:
    text = ids(50)
    losses = dynamic_losses(model, text, DynamicSettings(rate=0.0, segment=7))
    assert torch.allclose(losses, -torch.tensor(model.score(text.tolist())), rtol=1e-4)


def test_the_command_reports_them_apart_and_records_the_plain_figures_only(
    sentences: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, text = tmp_path / "model", str(sentences["test"])
    assert main(train_arguments(sentences, out, sets=("loop.max_tokens=2000",))) == 0
    digest = load_checkpoint(out).digest
    capsys.readouterr()
    command = ["evaluate", "--model", str(out), "--text", text, "--json"]
    assert main(command) == 0
    plain = json.loads(capsys.readouterr().out)
    assert "stateful" not in plain
    assert main([*command, "--neural-cache", "--dynamic", "--record"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["results"] == plain["results"]
    extras = report["stateful"]
    assert set(extras) == {"neural cache", "dynamic evaluation"}
    for extra in extras.values():
        assert extra[text]["nll"] < plain["results"][text]["nll"]
        assert extra[text]["words"] == plain["results"][text]["words"]
    checkpoint = load_checkpoint(out)
    name = "/".join(sentences["test"].parts[-2:])
    assert checkpoint.digest == digest
    assert checkpoint.metrics["evaluations"] == {name: plain["results"][text]}
    assert f"| {name} | {plain['results'][text]['bits_per_byte']:.4f} |" in checkpoint.card
    assert str(tmp_path) not in checkpoint.card, "a card names no folder of the machine"
