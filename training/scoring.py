"""Losses of single tokens, and samples: what reports and comparisons are made of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.language_model import LanguageModel
from models.tokenizer import Tokenizer
from training.corpus import Source, read_source
from training.shards import encode_documents

Floats = NDArray[np.float32]
_WINDOW, _ROWS = 256, 64


@torch.no_grad()
def token_losses(model: LanguageModel, sequences: Sequence[Sequence[int]]) -> list[Floats]:
    """-ln P of every id but the first of each sequence, in nats; rows of like length together."""
    losses = [np.zeros(max(len(ids) - 1, 0), np.float32) for ids in sequences]
    order = sorted(range(len(sequences)), key=lambda k: len(sequences[k]), reverse=True)
    for first in range(0, len(order), _ROWS):
        rows = order[first : first + _ROWS]
        longest = len(sequences[rows[0]])
        ids = torch.zeros(longest, len(rows), dtype=torch.long)
        for column, k in enumerate(rows):
            ids[: len(sequences[k]), column] = torch.tensor(sequences[k])
        found = _padded_losses(model, ids).numpy()
        for column, k in enumerate(rows):
            losses[k] = found[: len(losses[k]), column]
    return losses


def _padded_losses(model: LanguageModel, ids: Tensor) -> Tensor:
    """ids (T + 1, B) -> (T, B)."""
    state: Any = model.initial_state(ids.shape[1])
    parts = [torch.zeros(0, ids.shape[1])]
    for start in range(0, len(ids) - 1, _WINDOW):
        stop = min(start + _WINDOW, len(ids) - 1)
        features, state = model(ids[start:stop], state)
        logits = model.logits(features).flatten(0, 1)
        targets = ids[start + 1 : stop + 1].flatten()
        loss = F.cross_entropy(logits, targets, reduction="none")
        parts.append(loss.view(stop - start, -1))
    return torch.cat(parts)


@torch.no_grad()
def sample_documents(
    model: LanguageModel,
    tokenizer: Tokenizer,
    *,
    count: int,
    max_tokens: int,
    seed: int,
    prompt: Sequence[int] = (),
    temperature: float = 1.0,
) -> list[list[int]]:
    """`count` documents drawn from the model: ids from begin to end, or to `max_tokens`."""
    generator = torch.Generator().manual_seed(seed)
    ids = [[tokenizer.bos_id, *prompt] for _ in range(count)]
    state: Any = model.initial_state(count)
    for token in ids[0][:-1]:
        _, state = model.step(torch.full((count,), token), state)
    last, open_ = torch.tensor([row[-1] for row in ids]), torch.ones(count, dtype=torch.bool)
    for _ in range(max_tokens):
        logprobs, state = model.step(last, state)
        logprobs[:, tokenizer.bos_id] = -torch.inf
        weights = torch.softmax(logprobs / temperature, dim=1)
        last = torch.multinomial(weights, 1, generator=generator)[:, 0]
        for row, token, goes_on in zip(ids, last.tolist(), open_.tolist(), strict=True):
            if goes_on:
                row.append(token)
        open_ &= last != tokenizer.eos_id
        if not open_.any():
            break
    return ids


def streams_of(tokenizer: Tokenizer, path: Path) -> NDArray[np.int64]:
    """Ids of a text in up to 16 parallel streams of up to 512 steps, (T + 1, B)."""
    documents = read_source(Source(path=path))
    ids = encode_documents(tokenizer, itertools.islice(documents, 2000)).ids.astype(np.int64)
    streams = min(16, max(1, len(ids) // 64))
    length = min(513, len(ids) // streams)
    return ids[: streams * length].reshape(streams, length).T.copy()


def split_documents(ids: NDArray[Any], bos_id: int) -> list[list[int]]:
    """A shard's ids (T,) cut where documents begin; a piece without a beginning gets one."""
    starts = np.flatnonzero(ids == bos_id)
    if not len(starts) or starts[0] != 0:
        ids, starts = np.concatenate([[bos_id], ids]), np.concatenate([[0], starts + 1])
    return [part.tolist() for part in np.split(ids, starts[1:])]
