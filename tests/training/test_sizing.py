"""Shape, vocabulary and length by the size of the corpus: valid, in order, and told."""

from __future__ import annotations

import pytest

from training.config import with_overrides
from training.sizing import explain, passes_for, values_for
from training.survey import CorpusFacts

SIZES = [10**4, 10**6, 10**7, 5 * 10**7, 2 * 10**8, 10**10]


@pytest.mark.parametrize("size", SIZES)
def test_a_corpus_of_any_size_gets_valid_settings(size: int) -> None:
    config = with_overrides(values_for(CorpusFacts(bytes=size)), [])
    assert config.model.to_model_config(config.tokenizer.vocab_size).hidden_sizes
    assert 1 <= config.loop.epochs <= 20
    assert config.loop.epochs == passes_for(size)


def test_larger_corpora_get_larger_networks_and_fewer_passes() -> None:
    found = [values_for(CorpusFacts(bytes=size)) for size in SIZES]
    widths = [values["model"]["embedding_size"] for values in found]
    vocabularies = [values["tokenizer"]["vocab_size"] for values in found]
    passes = [values["loop"]["epochs"] for values in found]
    assert widths == sorted(widths)
    assert vocabularies == sorted(vocabularies)
    assert passes == sorted(passes, reverse=True)
    assert (widths[0], passes[0]) != (widths[-1], passes[-1])


def test_what_was_chosen_is_told() -> None:
    small, large = (CorpusFacts(bytes=size) for size in (300_000, 80_000_000))
    line = explain(small, values_for(small))
    assert line.startswith(
        "chosen for 0.30 MB of text: 512 pieces, 1 x 192 units, dropout 0.3, 20 "
    )
    assert "within 18 minutes" in line
    assert "within" not in explain(large, values_for(large))
