"""`adapt`: rate and length found by itself, the best kept, before and after told."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.activation_scales import INT8_LOSS_METRIC
from models.checkpoint import load_checkpoint
from models.tokenizer import Tokenizer
from tests.training.small_runs import train_arguments, write_sentences
from training.__main__ import main
from training.adapt import RATES, Adapted, find_base, tell
from training.evaluate import model_of
from training.run_state import Progress
from training.scoring import sample_documents, split_documents, token_losses
from training.trainer import Outcome

Adapt = Callable[..., int]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, sentences: dict[str, Path]) -> Path:
    out = tmp_path_factory.mktemp("base") / "base"
    sets = ("loop.batch_size=4", "optimizer.lr=0.02", "loop.max_tokens=30000")
    assert main(train_arguments(sentences, out, sets=sets)) == 0
    return out


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Old words in a new order: what is seen comes first."""
    path = write_sentences(tmp_path_factory.mktemp("domain") / "text.txt", 300, 7)
    lines = [line.removesuffix(" .").split(" ") for line in path.read_text().splitlines()]
    path.write_text("".join(" ".join(reversed(words)) + " ?\n" for words in lines))
    return path


def run(base: Path, corpus: Path, out: Path, *options: str) -> int:
    arguments = ["--base", str(base), "--corpus", f"{corpus}@lines", "--out", str(out)]
    return main(["adapt", *arguments, "--epochs", "6", *options])


def test_adapting_tells_before_and_after_and_keeps_the_best(
    base: Path, domain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.txt").write_text("river\nmoon\n")
    out = tmp_path / "mine"
    assert run(base, domain, out, "--words", str(tmp_path / "names.txt")) == 0
    said = capsys.readouterr().out
    checkpoint = load_checkpoint(out)
    found = checkpoint.metrics["adaptation"]
    assert found["valid_after_nats_per_token"] < 0.85 * found["valid_before_nats_per_token"]
    assert set(found["learning_rate_trials"]) == {f"{rate:g}" for rate in RATES}
    assert set(found["words"]) == {"river", "moon"}
    assert f"{found['valid_before_nats_per_token']:.4f} -> " in said
    assert "river: ln P" in said
    page = (out / "report.html").read_text()
    assert "<h2>What was won and what was lost</h2>" in page
    assert "<td>river</td>" in page
    assert "| the held-out text of the domain |" in checkpoint.card
    assert found["base_text_after_nats_per_token"] > found["base_text_before_nats_per_token"]
    assert "lstm-serve serve --model" in said
    # What the service asks of a checkpoint is there.
    assert isinstance(checkpoint.metrics[INT8_LOSS_METRIC], float)
    assert checkpoint.training["origin"]["base"] == load_checkpoint(base).digest
    config = json.loads((tmp_path / "mine.run" / "config.json").read_text())
    best = min(found["learning_rate_trials"].items(), key=lambda item: item[1])[0]
    assert config["optimizer"]["lr"] == float(best)


@pytest.mark.parametrize(
    ("valid_after", "own_after", "warning"),
    [(3.0, 4.1, ""), (3.0, 4.3, "has become worse on the base's own text"), (5.1, 4.0, "keep the")],
)
def test_what_was_lost_is_said_loudly(
    valid_after: float, own_after: float, warning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    adapted = Adapted(
        outcome=Outcome("finished", Progress()),
        rates={1e-3: 3.0},
        valid_before=5.0,
        valid_after=valid_after,
        own_before=4.0,
        own_after=own_after,
    )
    tell(adapted)
    said = capsys.readouterr().out
    assert (warning in said) if warning else ("WARNING" not in said)


def test_text_mixed_in_holds_what_the_base_knew(base: Path, domain: Path, tmp_path: Path) -> None:
    kept = {}
    for name, options in (("alone", ()), ("mixed", ("--mix", "self", "--mix-share", "0.6"))):
        assert run(base, domain, tmp_path / name, "--rate", "3e-3", *options) == 0
        kept[name] = load_checkpoint(tmp_path / name).metrics["adaptation"]
    after = "base_text_after_nats_per_token"
    assert kept["mixed"][after] < kept["alone"][after]
    mixture = (tmp_path / "mixed.run" / "mix.jsonl").read_text().splitlines()
    assert len(mixture) > 20
    documents = map(json.loads, mixture)
    assert all(each.get("text") or each.get("turns") for each in documents)


def test_a_base_is_found_by_name_or_the_names_are_told() -> None:
    assert (find_base("en-small") / "config.json").exists()
    with pytest.raises(ValueError, match="there are en-asr, en-small"):
        find_base("en-smal")


def test_token_losses_are_those_of_the_plain_score(base: Path) -> None:
    checkpoint = load_checkpoint(base)
    model, tokenizer = model_of(checkpoint), checkpoint.tokenizer
    texts = ["the cat sees the moon .", "", "nobody paints two boats . " * 30]
    sequences = [[tokenizer.bos_id, *tokenizer.encode(text)] for text in texts]
    for ids, losses in zip(sequences, token_losses(model, sequences), strict=True):
        assert -losses == pytest.approx(model.score(ids), abs=1e-4)


def test_drawn_documents_begin_and_end_and_repeat_with_their_seed(base: Path) -> None:
    checkpoint = load_checkpoint(base)
    model, tokenizer = model_of(checkpoint), checkpoint.tokenizer
    drawn, again, other = (
        sample_documents(model, tokenizer, count=8, max_tokens=40, seed=seed) for seed in (1, 1, 2)
    )
    assert drawn == again != other
    for ids in drawn:
        assert ids[0] == tokenizer.bos_id
        assert tokenizer.bos_id not in ids[1:]
        assert tokenizer.eos_id not in ids[:-1]
        assert len(ids) <= 41


def test_documents_are_cut_where_they_begin() -> None:
    lines = [f"some words {n}" for n in range(30)]
    bos = Tokenizer.train(lines, vocab_size=285, model_type="bpe").bos_id
    ids = np.array([bos, 7, 8, bos, 9])
    assert split_documents(ids, bos) == [[bos, 7, 8], [bos, 9]]
    assert split_documents(ids[1:], bos) == [[bos, 7, 8], [bos, 9]]
