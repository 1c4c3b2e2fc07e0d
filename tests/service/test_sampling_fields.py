"""From fields by name and a checkpoint's defaults to the engine's settings."""

from __future__ import annotations

from typing import Any

import pytest

from models.tokenizer import Tokenizer
from service.engine.request import SamplingParams
from service.sampling_fields import (
    bad_word_ids,
    drawn_seed,
    resolve_sampling,
    stop_ids,
    suppressed_ids,
)


def resolved(
    tokenizer: Tokenizer, defaults: dict[str, Any] | None = None, **given: Any
) -> SamplingParams:
    return resolve_sampling(tokenizer, defaults or {}, (tokenizer.eos_id,), given)


def test_what_is_given_goes_before_the_checkpoints_default_and_null_does_not(
    tokenizer: Tokenizer,
) -> None:
    defaults = {"temperature": 0.7, "top_k": 40, "min_tokens": 2}
    chosen = resolved(tokenizer, defaults, temperature=0, top_k=None, seed=3)
    assert (chosen.temperature, chosen.top_k, chosen.min_tokens, chosen.seed) == (0, 40, 2, 3)
    plain = resolved(tokenizer, seed=3)
    assert plain == SamplingParams(
        seed=3,
        stop_token_ids=(tokenizer.eos_id,),
        suppressed_token_ids=suppressed_ids(tokenizer, (tokenizer.eos_id,)),
    )


def test_values_that_clients_write_for_nothing(tokenizer: Tokenizer) -> None:
    chosen = resolved(tokenizer, top_k=-1, top_p=0)
    assert chosen.top_k == 0
    assert 0 < chosen.top_p < 1e-6  # the best token always stays


@pytest.mark.parametrize(
    ("name", "hint"),
    [("temprature", "; did you mean 'temperature'"), ("ignore_eso", "'ignore_eos'"), ("zzz", "")],
)
def test_an_unknown_field_is_named_with_the_nearest(
    tokenizer: Tokenizer, name: str, hint: str
) -> None:
    with pytest.raises(ValueError, match=f"^{name} is no sampling field.*{hint}"):
        resolve_sampling(tokenizer, {}, (), {name: 1})


def test_which_tokens_end_a_text_once_each_in_their_order() -> None:
    assert stop_ids((2, 7), (9, 7, 9), ignore_eos=False) == (2, 7, 9)
    assert stop_ids((2, 7), (9, 9), ignore_eos=True) == (9,)
    assert stop_ids((2,), (), ignore_eos=True) == ()
    with pytest.raises(ValueError, match=r"^stop_token_ids: 7 ends every text"):
        stop_ids((2, 7), (9, 7), ignore_eos=True)


def test_an_end_that_is_ignored_is_never_generated(tokenizer: Tokenizer) -> None:
    eos = tokenizer.eos_id
    ignoring = resolved(tokenizer, ignore_eos=True)
    assert ignoring.stop_token_ids == ()
    assert eos in ignoring.suppressed_token_ids
    assert eos not in resolved(tokenizer).suppressed_token_ids
    # The checkpoint may say so, and the request otherwise.
    kept = resolved(tokenizer, {"ignore_eos": True}, ignore_eos=False)
    assert kept.stop_token_ids == (eos,)


def test_of_the_control_tokens_only_those_that_end_a_text_stay(tokenizer: Tokenizer) -> None:
    role = tokenizer.control_ids["<|user|>"]
    kept = suppressed_ids(tokenizer, (tokenizer.eos_id, role, 300))
    assert set(kept) == set(tokenizer.control_ids.values()) - {tokenizer.eos_id, role}


def test_a_bad_word_is_banned_where_it_begins_a_word_and_inside_one(tokenizer: Tokenizer) -> None:
    both = {tuple(tokenizer.encode("cat")), tuple(tokenizer.encode("cat", continuation=True))}
    assert len(both) == 2
    assert set(bad_word_ids(["cat"], tokenizer)) == both
    assert set(bad_word_ids([" cat", "cat"], tokenizer)) == both  # the space is put by itself
    assert bad_word_ids([" "], tokenizer) != ()
    assert bad_word_ids([""], tokenizer) == ()


def test_seeds() -> None:
    assert drawn_seed(-3) == -3
    drawn = {drawn_seed(given) for given in (None, -1) * 4}
    assert len(drawn) == 8
    assert max(drawn) < 2**53  # exact in a client's doubles
