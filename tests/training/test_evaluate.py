import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import Checkpoint, expected_shapes
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from training.corpus import CorpusError
from training.evaluate import Measure, evaluate_file, model_of

VOCAB = 300
# Two articles in the manner of WikiText: indented, tokenised, with empty lines and an <unk>.
WIKITEXT = " \n = A river = \n \n The <unk> runs , it is said , to the sea . \n It ends . \n"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    lines = [f"some words {n} and other words of the <unk> river" for n in range(30)]
    tokenizer = Tokenizer.train(lines, vocab_size=VOCAB, model_type="bpe")
    model = ModelConfig(vocab_size=VOCAB, embedding_size=8, hidden_sizes=(10, 8))
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in expected_shapes(model).items()
    }
    return Checkpoint(model=model, weights=weights, tokenizer=tokenizer)


def text_file(tmp_path: Path, text: str, name: str = "text.txt") -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_the_three_figures_by_hand() -> None:
    """Four nats over 8 tokens, 3 words on 1 line, 10 bytes."""
    measure = Measure(nll=4.0, tokens=8, words=3, lines=1, bytes=10)
    assert measure.token_perplexity == pytest.approx(math.exp(0.5))
    assert measure.word_perplexity == pytest.approx(math.exp(1.0))
    assert measure.bits_per_byte == pytest.approx(4 / (0.6931471805599453 * 10))


def test_a_uniform_model_costs_ln_v_a_token(checkpoint: Checkpoint, tmp_path: Path) -> None:
    model = model_of(checkpoint)
    torch.nn.init.zeros_(model.embedding.weight)  # tied: every logit is 0
    text = "some words\nother\n"
    measure = evaluate_file(model, checkpoint.tokenizer, text_file(tmp_path, text))
    tokens = len(checkpoint.tokenizer.encode(text))
    assert measure.tokens == tokens
    assert measure.nll == pytest.approx(tokens * math.log(VOCAB), rel=1e-5)
    assert measure.token_perplexity == pytest.approx(VOCAB, rel=1e-4)
    assert measure.bits_per_byte == pytest.approx(tokens * math.log2(VOCAB) / 17, rel=1e-5)


def test_words_lines_and_bytes_are_counted_as_for_wikitext(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """Words by white space, plus every line (empty ones too); stripped lines, a newline each."""
    path = text_file(tmp_path, WIKITEXT)
    measure = evaluate_file(model_of(checkpoint), checkpoint.tokenizer, path)
    assert (measure.words, measure.lines) == (0 + 4 + 0 + 12 + 3, 5)
    lines = ["", "= A river =", "", "The <unk> runs , it is said , to the sea .", "It ends ."]
    assert measure.bytes == sum(len(line) for line in lines) + 5
    assert measure.tokens == len(checkpoint.tokenizer.encode("\n".join(lines) + "\n"))


def test_bytes_are_those_of_utf_8(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = text_file(tmp_path, "é日\n")
    assert evaluate_file(model_of(checkpoint), checkpoint.tokenizer, path).bytes == 2 + 3 + 1


def test_a_missing_last_newline_changes_nothing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    model = model_of(checkpoint)
    one = evaluate_file(model, checkpoint.tokenizer, text_file(tmp_path, "some\nwords\n"))
    other = evaluate_file(model, checkpoint.tokenizer, text_file(tmp_path, "some\nwords"))
    assert one == other


@pytest.mark.parametrize("repeat", [1, 60])  # within one window of the network, and over several
def test_the_sum_is_that_of_the_plain_score(
    repeat: int, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """One contiguous pass with carried state, from begin on, every piece counted."""
    model, tokenizer = model_of(checkpoint), checkpoint.tokenizer
    text = "some words\nother words\n" * repeat
    measure = evaluate_file(model, tokenizer, text_file(tmp_path, text))
    scores = model.score([tokenizer.bos_id, *tokenizer.encode(text)])
    assert measure.tokens == len(scores)
    assert measure.nll == pytest.approx(-sum(scores), rel=1e-5)


@pytest.mark.parametrize("line_end", ["newline", "eos"])
def test_restarted_lines_are_scored_each_on_its_own(
    line_end: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    model, tokenizer = model_of(checkpoint), checkpoint.tokenizer
    lines = ["some words", "", "and other words of the river", "words"]
    end = tokenizer.newline_id if line_end == "newline" else tokenizer.eos_id
    measure = evaluate_file(
        model,
        tokenizer,
        text_file(tmp_path, "\n".join(lines) + "\n"),
        restart_lines=True,
        line_end=line_end,  # type: ignore[arg-type]
    )
    scores = [model.score([tokenizer.bos_id, *tokenizer.encode(line), end]) for line in lines]
    assert measure.nll == pytest.approx(-sum(map(sum, scores)), rel=1e-5)
    assert (measure.lines, measure.words) == (4, 9)


def test_of_a_dialogue_the_roles_are_given_and_every_turn_is_a_line(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    model, tokenizer = model_of(checkpoint), checkpoint.tokenizer
    control = tokenizer.control_ids
    turns = [("user", "some words"), ("assistant", "and other words")]
    dialogue = {"turns": [{"role": role, "content": content} for role, content in turns]}
    path = text_file(tmp_path, json.dumps(dialogue) + "\n", "d.jsonl")
    ids, counted = [tokenizer.bos_id], [False]
    for role, content in turns:
        spoken = [*tokenizer.encode(content), control["<|end|>"]]
        ids += [control[f"<|{role}|>"], *spoken]
        counted += [False] + [True] * len(spoken)
    scores = model.score(ids)
    expected = -sum(s for s, counts in zip(scores, counted[1:], strict=True) if counts)
    measure = evaluate_file(model, tokenizer, path)
    assert measure.nll == pytest.approx(expected, rel=1e-5)
    assert (measure.tokens, measure.words, measure.lines) == (sum(counted), 5, 2)
    assert measure.bytes == len("some words") + len("and other words") + 2


def test_system_turns_are_given_and_stand_before_every_restarted_turn(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    model, tokenizer = model_of(checkpoint), checkpoint.tokenizer
    control = tokenizer.control_ids
    turns = [("system", "the river"), ("user", "some words"), ("assistant", "and other words")]
    dialogue = {"turns": [{"role": role, "content": content} for role, content in turns]}
    path = text_file(tmp_path, json.dumps(dialogue) + "\n", "d.jsonl")
    spelled = {
        role: [control[f"<|{role}|>"], *tokenizer.encode(content), control["<|end|>"]]
        for role, content in turns
    }
    begin = [tokenizer.bos_id, *spelled["system"]]
    spoken = {role: len(spelled[role]) - 1 for role in ("user", "assistant")}
    whole = model.score([*begin, *spelled["user"], *spelled["assistant"]])
    alone = [model.score([*begin, *spelled[role]])[-n:] for role, n in spoken.items()]
    last = spoken["assistant"]
    carried = sum(whole[-last:]) + sum(whole[-last - 1 - spoken["user"] : -last - 1])
    measure = evaluate_file(model, tokenizer, path)
    restarted = evaluate_file(model, tokenizer, path, restart_lines=True)
    assert measure.nll == pytest.approx(-carried, rel=1e-5)
    assert restarted.nll == pytest.approx(-sum(map(sum, alone)), rel=1e-5)
    for found in (measure, restarted):
        assert (found.tokens, found.words, found.lines) == (sum(spoken.values()), 5, 2)


def test_an_empty_file_is_told(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"text\.txt is empty: there is nothing to measure"):
        evaluate_file(model_of(checkpoint), checkpoint.tokenizer, text_file(tmp_path, ""))
