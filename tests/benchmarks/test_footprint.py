"""The cost of a checkpoint, measured once on the shipped one."""

from benchmarks.footprint import made_up_texts, measure
from benchmarks.harness import SHIPPED
from service.language_model import LanguageModel


def test_figures_are_of_the_right_size() -> None:
    found = measure(SHIPPED, "fp32", rounds=1)
    assert 0 < found["start_seconds"] < 120
    assert 30 < found["resident_mb"] < 20_000
    assert 1 < found["microseconds_a_token_written"] < 1e6
    assert 10 < found["tokens_scored_a_second"] < 1e7


def test_texts_are_the_same_each_time_and_of_words() -> None:
    with LanguageModel.load(SHIPPED) as model:
        texts = made_up_texts(model)
        assert texts == made_up_texts(model)
    assert len(texts) == 64
    assert all(len(text.split()) == 30 and text.replace(" ", "").isalpha() for text in texts)
