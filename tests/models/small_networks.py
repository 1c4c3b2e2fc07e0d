from models.config import Architecture, ModelConfig

VOCAB = 11


def small_config(architecture: Architecture, *, tie_weights: bool = True) -> ModelConfig:
    return ModelConfig(
        architecture=architecture,
        vocab_size=VOCAB,
        embedding_size=6,
        hidden_sizes=(8, 6),
        tie_weights=tie_weights,
        residual=True,
        window=3,
    )
