"""The same model as one writes it in torch: nn.LSTM, fp32, no gradients.

Measured on the way to this form, one thread: a softmax over 256 positions at a time beats one over
all of them 1.4 times (its logits stay in the cache), LSTMCell is no faster than nn.LSTM without
oneDNN, and for texts of unequal length padding beats PackedSequence, which oneDNN does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import ModelConfig
from models.weights import Weights

_SOFTMAX_POSITIONS = 256
_PADDED_BATCH = 128

State = tuple[Tensor, Tensor]


class NnLstm:
    """Embedding, nn.LSTM, tied softmax.

    The weights are those of a checkpoint with layers of one width.
    """

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        (width,) = set(config.hidden_sizes)
        assert config.tie_weights
        assert not config.residual
        self._embedding = torch.from_numpy(weights["embedding.weight"])
        self._lstm = nn.LSTM(config.embedding_size, width, config.num_layers).eval()
        for k in range(config.num_layers):
            for name in ("weight_ih", "weight_hh"):
                values = torch.from_numpy(weights[f"layers.{k}.{name}"])
                getattr(self._lstm, f"{name}_l{k}").data.copy_(values)
            bias = torch.from_numpy(weights[f"layers.{k}.bias"])
            getattr(self._lstm, f"bias_ih_l{k}").data.copy_(bias)
            getattr(self._lstm, f"bias_hh_l{k}").data.zero_()

    @torch.inference_mode()
    def step(self, ids: Tensor, state: State | None) -> tuple[Tensor, State]:
        """(B,) ids -> (B, V) log-probabilities of what follows, and the state."""
        features, state = self._lstm(F.embedding(ids[None], self._embedding), state)
        return torch.log_softmax(F.linear(features[0], self._embedding), dim=-1), state

    @torch.inference_mode()
    def score(self, ids: Tensor) -> Tensor:
        """(B, T + 1) ids -> (B, T) ln P of each but the first."""
        inputs, targets = ids[:, :-1].T, ids[:, 1:].T
        features, _ = self._lstm(F.embedding(inputs, self._embedding))
        scores = self._log_likelihood(features.flatten(0, 1), targets.reshape(-1))
        return scores.view(targets.shape).T

    @torch.inference_mode()
    def score_padded(self, texts: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """For each text (two tokens or more) ln P of each token but the first.

        Texts of like length share a batch; padding is stepped over but never meets the softmax.
        """
        results: dict[int, NDArray[np.float32]] = {}
        for batch in _batches(texts):
            ids = nn.utils.rnn.pad_sequence([torch.tensor(texts[k]) for k in batch])
            lengths = torch.tensor([len(texts[k]) - 1 for k in batch])
            features, _ = self._lstm(F.embedding(ids[:-1], self._embedding))
            # Text after text, so that the scores can be cut apart again.
            valid = torch.arange(len(ids) - 1) < lengths[:, None]
            scores = self._log_likelihood(features.transpose(0, 1)[valid], ids[1:].T[valid])
            parts = torch.split(scores, lengths.tolist())
            results |= {k: part.numpy() for k, part in zip(batch, parts, strict=True)}
        return [results[k] for k in range(len(texts))]

    def _log_likelihood(self, features: Tensor, targets: Tensor) -> Tensor:
        """(N, H) features, (N,) ids -> (N,) ln P."""
        parts = []
        for start in range(0, len(targets), _SOFTMAX_POSITIONS):
            wanted = targets[start : start + _SOFTMAX_POSITIONS]
            logits = F.linear(features[start : start + _SOFTMAX_POSITIONS], self._embedding)
            parts.append(logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(dim=1))
        return torch.cat(parts)


def _batches(texts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Numbers of texts of like length, a batch at a time."""
    order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
    for start in range(0, len(order), _PADDED_BATCH):
        yield order[start : start + _PADDED_BATCH]
