"""Losses of many sequences at once are those of each alone; samples; streams and pieces of text."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.small_checkpoints import random_checkpoint, small_tokenizer
from training.evaluate import model_of
from training.scoring import sample_documents, split_documents, streams_of, token_losses


def test_losses_are_those_of_each_sequence_alone() -> None:
    """Of all lengths, more than fit into one batch, and longer than one window."""
    model = model_of(random_checkpoint())
    draw = np.random.default_rng(0)
    sequences = [draw.integers(300, size=size).tolist() for size in (0, 1, 2, 600, 7)]
    sequences += [draw.integers(300, size=k % 9).tolist() for k in range(70)]
    found = token_losses(model, sequences)
    for ids, losses in zip(sequences, found, strict=True):
        assert len(losses) == max(len(ids) - 1, 0)
        if len(ids) > 1:
            assert losses == pytest.approx([-own for own in model.score(ids)], abs=1e-4)
    assert token_losses(model, []) == []


def test_samples_begin_with_the_prompt_and_end_at_the_end() -> None:
    model, tokenizer = model_of(random_checkpoint()), small_tokenizer()
    with torch.no_grad():
        model.embedding.weight[tokenizer.eos_id] *= 3  # so that some end by themselves
    prompt = tokenizer.encode("some words")
    drawn = sample_documents(model, tokenizer, count=8, max_tokens=40, seed=1, prompt=prompt)
    assert drawn == sample_documents(
        model, tokenizer, count=8, max_tokens=40, seed=1, prompt=prompt
    )
    begun = [tokenizer.bos_id, *prompt]
    for ids in drawn:
        assert ids[: len(begun)] == begun
        assert len(ids) <= len(begun) + 40
        assert tokenizer.bos_id not in ids[1:]
        assert tokenizer.eos_id not in ids[:-1]
    assert len({tuple(ids) for ids in drawn}) > 1
    other = sample_documents(model, tokenizer, count=8, max_tokens=40, seed=2, prompt=prompt)
    assert other != drawn


def test_a_cold_sample_takes_the_most_probable_token() -> None:
    model, tokenizer = model_of(random_checkpoint()), small_tokenizer()
    (cold,) = sample_documents(model, tokenizer, count=1, max_tokens=5, seed=0, temperature=1e-4)
    state = model.initial_state(1)
    with torch.no_grad():
        for token, following in itertools.pairwise(cold):
            logprobs, state = model.step(torch.tensor([token]), state)
            logprobs[:, tokenizer.bos_id] = -math.inf
            assert int(logprobs.argmax()) == following


def test_streams_are_the_text_cut_into_equal_columns(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("some words of the river\n" * 200)
    streams = streams_of(small_tokenizer(), tmp_path / "t.txt")
    whole = streams.T.ravel().tolist()
    assert streams.shape[1] == 16
    ids = small_tokenizer().encode("some words of the river\n" * 200)
    assert whole[1 : 1 + len(whole[1:])] == ids[: len(whole) - 1]


def test_documents_begin_where_their_first_token_says() -> None:
    ids = np.array([1, 5, 6, 1, 7, 1])
    assert split_documents(ids, bos_id=1) == [[1, 5, 6], [1, 7], [1]]
    # A piece whose beginning was cut off gets one.
    assert split_documents(np.array([5, 6, 1, 7]), bos_id=1) == [[1, 5, 6], [1, 7]]
    assert split_documents(np.array([5]), bos_id=1) == [[1, 5]]
