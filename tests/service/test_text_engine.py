"""Texts and states against the equations of the small network, one sequence at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.tokenizer import Tokenizer
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.blocking import BlockingEngine
from service.engine.hosts.loading import load_engine
from service.engine.request import NextToken, SamplingParams
from service.text.history import History, Prompt, begin, build_prompt
from service.text_engine import TextEngine
from tests.service.plain_engine import Doubles, PlainLSTM

TEXTS = ["the cat sat", "", "the cat ran\nso", "é"]
CLOSE = 1e-4  # int8 is not asked for; sums of fp32


@pytest.fixture(scope="module")
def texts(tiny_folder: Path, tokenizer: Tokenizer) -> Iterator[TextEngine]:
    loaded, _ = load_engine(tiny_folder, EngineOptions(precision="fp32", max_num_seqs=8))
    engine = TextEngine(BlockingEngine(loaded), tokenizer)
    yield engine
    engine.close()


def after(lstm: PlainLSTM, ids: tuple[int, ...]) -> Doubles:
    """ln P of what follows `ids`, (V,)."""
    state = np.zeros(lstm.state_size, np.float32)
    for token in ids:
        state = lstm.step(token, state)
    return lstm.logprobs(state)


def reference(lstm: PlainLSTM, ids: tuple[int, ...], first: int) -> list[float]:
    """ln P of ids[first:]."""
    return [float(after(lstm, ids[:k])[ids[k]]) for k in range(first, len(ids))]


def prompts_of(before: History) -> list[Prompt]:
    return [build_prompt(before, text, eos=False) for text in TEXTS]


def test_scores_are_the_networks_and_nothing_to_score_is_none(
    texts: TextEngine, tokenizer: Tokenizer, lstm: PlainLSTM
) -> None:
    prompts = prompts_of(begin(tokenizer, bos=True).with_text("so it was. "))
    outputs = texts.scores(prompts, num_top=2)
    assert [output is None for output in outputs] == [False, True, False, False]
    for prompt, output in zip(prompts, outputs, strict=True):
        if output is not None:
            assert output.logprobs is not None
            assert output.top is not None
            own = output.logprobs[prompt.first :].tolist()
            assert own == pytest.approx(reference(lstm, prompt.ids, prompt.first), abs=CLOSE)
            assert all(len(top) == 2 for top in output.top[prompt.first :])


def test_prompts_of_several_states_keep_their_places(
    texts: TextEngine, tokenizer: Tokenizer
) -> None:
    begun = [begin(tokenizer, bos=True).with_text(text) for text in ("the ", "a dog\n")]
    first, second = texts.settled(begun)
    mixed = [build_prompt(own, text, eos=True) for text in TEXTS for own in (first, second)]
    together = texts.scores(mixed, num_top=0)
    for prompt, output in zip(mixed, together, strict=True):
        (alone,) = texts.scores([prompt], num_top=0)
        assert output is not None
        assert alone is not None
        assert output.logprobs is not None
        assert alone.logprobs is not None
        assert output.logprobs.tobytes() == alone.logprobs.tobytes()


def test_a_settled_history_goes_on_as_the_whole_and_has_no_tokens_left(
    texts: TextEngine, tokenizer: Tokenizer
) -> None:
    whole = begin(tokenizer, bos=True).with_text("the cat sat on the m")
    nothing = begin(tokenizer, bos=False)
    settled, same = texts.settled([whole, nothing])
    assert same is nothing
    assert settled.ids == ()
    assert settled.start is not None
    assert (settled.pending, settled.continuation) == (whole.pending, whole.continuation)
    wanted = NextToken(full=True)
    one, other = texts.next_token(whole, wanted), texts.next_token(settled, wanted)
    assert one.full is not None
    assert other.full is not None
    assert one.full.tobytes() == other.full.tobytes()


def test_distributions_after_paths_are_the_networks(
    texts: TextEngine, tokenizer: Tokenizer, lstm: PlainLSTM
) -> None:
    (start,) = texts.settled([begin(tokenizer, bos=True)])
    paths = [(), (7,), (7, 300), (9,)]
    for path, found in zip(paths, texts.distributions(start, paths), strict=True):
        assert found == pytest.approx(after(lstm, (tokenizer.bos_id, *path)), abs=CLOSE)


def test_ends_of_more_words_than_fit_one_request(
    texts: TextEngine, tokenizer: Tokenizer, lstm: PlainLSTM
) -> None:
    prompt = build_prompt(begin(tokenizer, bos=True), "the cat sat on the mat " * 8, eos=False)
    counts = list(range(1, min(len(prompt.ids), 70)))
    assert len(counts) > 64
    found = texts.word_ends(prompt, counts)
    for count in (1, 2, 63, 64, 65, counts[-1]):
        exact = np.exp(after(lstm, prompt.ids[:count]))[tokenizer.begins_word].sum()
        assert found[count - 1] == pytest.approx(np.log(exact), abs=CLOSE)


def test_words_have_their_ends_in_their_probability(
    texts: TextEngine, tokenizer: Tokenizer, lstm: PlainLSTM
) -> None:
    (start,) = texts.settled([begin(tokenizer, bos=True).with_text("the")])
    assert texts.words(start, []) == []
    before = (tokenizer.bos_id, *begin(tokenizer, bos=False).with_text("the").ids)
    for word in texts.words(start, ["cat", "scream"]):
        assert word.token_ids == tuple(tokenizer.encode(word.word))
        ids = (*before, *word.token_ids)
        ends = np.log(np.exp(after(lstm, ids))[tokenizer.begins_word].sum())
        exact = sum(reference(lstm, ids, len(before))) + ends
        assert word.logprob == pytest.approx(exact, abs=CLOSE)


def test_continuations_end_at_a_stop_string_and_leaving_early_ends_the_work(
    texts: TextEngine, tokenizer: Tokenizer
) -> None:
    prompt = build_prompt(begin(tokenizer, bos=True), "the", eos=False)
    sampling = SamplingParams(n=3, max_tokens=30, seed=1)
    *_, whole = texts.continuations(prompt, sampling, [])
    written = [each.take()[0] for each in whole]
    assert len(set(written)) == 3
    stop = written[0][3:5]
    *_, stopped = texts.continuations(prompt, sampling, [stop])
    for each, text in zip(stopped, written, strict=True):
        assert each.take()[0] == text.partition(stop)[0]
    assert stopped[0].finish_reason == "stop"
    endless = texts.continuations(prompt, SamplingParams(max_tokens=10**6), [])
    next(endless)
    endless.close()  # type: ignore[attr-defined]
    # The next request has the engine to itself: what was left is not waited for.
    assert texts.scores([prompt], num_top=0)[0] is not None
