"""How large a model is, from its shape alone."""

from __future__ import annotations

from models.config import ModelConfig

# An engine process without its model: interpreter, libraries, buffers of a full batch.
_ENGINE_BYTES = 100 << 20


def num_parameters(config: ModelConfig) -> int:
    """Trainable numbers of an LSTM language model."""
    sizes = zip(config.input_sizes, config.hidden_sizes, strict=True)
    layers = sum(4 * hidden * (inputs + hidden + 1) for inputs, hidden in sizes)
    softmax = 0 if config.tie_weights else config.vocab_size * config.hidden_sizes[-1]
    return config.vocab_size * config.embedding_size + layers + softmax


def estimated_bytes(config: ModelConfig, *, replicas: int, cache_bytes: int) -> int:
    """Memory of a loaded model: weights and input-product table in fp32, and its engines."""
    table = config.vocab_size * 4 * config.hidden_sizes[0]
    return 4 * (num_parameters(config) + table) + replicas * (_ENGINE_BYTES + cache_bytes)
