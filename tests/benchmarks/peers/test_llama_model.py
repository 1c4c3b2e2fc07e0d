"""The Llama that is written, read back with llama.cpp's own library."""

from __future__ import annotations

import gguf
import jinja2
import numpy as np
import pytest

from benchmarks.harness import SHIPPED
from benchmarks.peers.llama_model import LlamaShape, jinja_template, write_llama
from benchmarks.peers.sizes import SIZES
from models.checkpoint import Checkpoint, expected_shapes, load_checkpoint

SHAPE = LlamaShape(width=64, layers=2, heads=2, inner=96)


@pytest.fixture(scope="module")
def shipped() -> Checkpoint:
    return load_checkpoint(SHIPPED)


@pytest.fixture(scope="module")
def written(shipped: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> gguf.GGUFReader:
    path = tmp_path_factory.mktemp("llama") / "llama.gguf"
    write_llama(path, SHAPE, shipped)
    return gguf.GGUFReader(path)


def test_it_has_the_parameters_that_it_says(written: gguf.GGUFReader, shipped: Checkpoint) -> None:
    held = sum(tensor.n_elements for tensor in written.tensors)
    assert held == SHAPE.parameters(shipped.tokenizer.vocab_size)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_equal_within_a_hundredth(name: str) -> None:
    size = SIZES[name]
    ours = sum(int(np.prod(shape)) for shape in expected_shapes(size.ours).values())
    assert size.llama.parameters(size.ours.vocab_size) == pytest.approx(ours, rel=0.01)


def test_matrices_are_q8_0(written: gguf.GGUFReader) -> None:
    kinds = {tensor.name: tensor.tensor_type for tensor in written.tensors}
    norms = {name for name in kinds if "norm" in name}
    assert len(norms) == 2 * SHAPE.layers + 1
    assert {kinds[name] for name in kinds if name not in norms} == {gguf.GGMLQuantizationType.Q8_0}


def test_the_vocabulary_is_ours(written: gguf.GGUFReader, shipped: Checkpoint) -> None:
    field = written.get_field("tokenizer.ggml.tokens")
    assert field is not None
    assert field.contents() == [
        shipped.tokenizer.piece(k) for k in range(shipped.tokenizer.vocab_size)
    ]


def test_the_chat_template_says_what_ours_says(shipped: Checkpoint) -> None:
    messages = [
        {"role": role, "content": text}
        for role, text in (("system", "Be brief."), ("user", "hello"), ("assistant", "hi"))
    ]
    template = jinja2.Template(jinja_template(shipped))
    said = template.render(messages=messages, add_generation_prompt=True)
    assert said == (
        "<|system|>Be brief.<|end|><|user|>hello<|end|><|assistant|>hi<|end|><|assistant|>"
    )
