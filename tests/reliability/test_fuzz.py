"""The short form of the fuzzing; the long one: `python -m tests.reliability.fuzz`."""

from __future__ import annotations

from tests.reliability.fuzz import fuzz


def test_damaged_inputs_are_refused_cleanly() -> None:
    refused = fuzz(1_000, seed=1)
    assert all(count > 50 for name, count in refused.items() if name != "tokenizer"), refused
