"""The products that the step is held against."""

from __future__ import annotations

from benchmarks.int8_gemm import int8_products, operations, product_shapes
from benchmarks.model_s import MODEL_S
from models.config import ModelConfig


def test_products_of_model_s() -> None:
    assert product_shapes(MODEL_S) == [(512, 2048), (1024, 2048), (512, 8192)]
    weights = 512 * 2048 + 1024 * 2048 + 512 * 8192
    assert operations(MODEL_S, 64) == 2 * 64 * weights


def test_products_run() -> None:
    products = int8_products(
        ModelConfig(vocab_size=16, embedding_size=8, hidden_sizes=(8, 8)), 4, 1
    )
    products()
    products()
