from dataclasses import replace
from typing import Any

from benchmarks.card import (
    baselines_table,
    chat_paragraph,
    figures_table,
    footprint_paragraph,
    int8_paragraph,
    keystrokes_paragraph,
    measured,
    minimal_pairs_paragraph,
    recognition_paragraph,
)
from benchmarks.harness import SHIPPED
from benchmarks.samples import Writer
from models.checkpoint import load_checkpoint
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.loading import load_engine

OWN = {
    "bits_per_byte": 1.2,
    "word_perplexity": 90.0,
    "restarted_bits_per_byte": 1.3,
    "restarted_word_perplexity": 120.0,
    "xz_bits_per_byte": 2.5,
    "zstd_bits_per_byte": 2.75,
}


def test_a_row_says_how_far_the_model_lies_under_the_n_grams() -> None:
    ngrams = {"known": {"pooled": (1.5, 200.0), "in_domain": (1.6, 250.0), "mix": (1.4, 120.0)}}
    *_, known, unknown = figures_table({"known": OWN, "new": OWN}, ngrams).splitlines()
    own, compressed = "1.200 / 90.0 | 1.300 / 120.0", "2.500 | 2.750 |"
    beside = "1.500 / 200.0 | 1.600 / 250.0 | 1.400 / 120.0 | 25% | 40%"
    assert known == f"| known | {own} | {beside} | {compressed}"
    assert unknown == f"| new | {own} | – | – | – | – | – | {compressed}"


def test_without_n_grams_there_are_no_columns_for_them() -> None:
    head, _, row = figures_table({"new": OWN}, {"other": {}}).splitlines()
    assert head == "| test set | carried | restarted | xz -9e | zstd -19 |"
    assert row == "| new | 1.200 / 90.0 | 1.300 / 120.0 | 2.500 | 2.750 |"


def test_paragraphs_quote_the_metrics() -> None:
    int8 = int8_paragraph(
        {
            "int8_compared_tokens": 12345,
            "int8_relative_loss": 0.00003,
            "int8_mean_difference_nats": 0.0075,
            "int8_largest_difference_nats": 0.1634,
        }
    )
    assert "12,345 tokens" in int8
    assert "+0.0030% in bits per byte, 0.0075 nats a token on average, 0.163 at most" in int8
    own: dict[str, Any] = {"utterances": 3, "first_pass_wer": 34.33, "oracle_wer": 20.0}
    own |= {"fewer_errors": [12.26, 3.0, 20.5], "gain": True}
    text = recognition_paragraph({"ngram": False, "sets": {"a": own, "b": {**own, "gain": False}}})
    assert "| a | 3 | 34.3 | 20.0 | 12.3% (3.0 to 20.5) |" in text
    assert text.endswith("| b | 3 | 34.3 | 20.0 | 12.3% (3.0 to 20.5), may be chance |")


def test_further_figures_are_told_in_words() -> None:
    typing = {"words": 1000, "text": "a/test.txt", "rendering": "asr", "hit_at_1": 12.5}
    typing |= {"hit_at_3": 22.0, "keystrokes_saved": 31.4}
    text = keystrokes_paragraph(typing)
    assert "(1,000 words of a/test.txt, in lower case without punctuation)" in text
    assert "first proposal 12.5% of the time and among the first three 22.0%" in text
    assert "save 31.4% of the keystrokes" in text
    pairs = {"rendering": "plain", "mean": 71.25, "by_file": {"one": 60.0, "two": 82.5}}
    assert "(2 files, as written)" in minimal_pairs_paragraph(pairs)
    assert "71.2% of the pairs" in minimal_pairs_paragraph(pairs)
    chat = {"conversations": 20, "distinct_1": 0.2, "distinct_2": 0.55, "repeated": 0.125}
    chat |= {"relevance": 0.251, "first_of_ten": 0.4, "bookings": 0.03}
    text = chat_paragraph(chat)
    assert "20% of the words and 55% of the pairs of words are distinct, 12.5% of the" in text
    assert "by 0.25 nats a token" in text
    assert "all nine others in 40% (10% by chance); 3.0% speak of bookings" in text


def test_speed_and_memory_have_a_row_a_precision() -> None:
    own = {"start_seconds": 0.314, "resident_mb": 99.6, "microseconds_a_token_written": 250.4}
    own |= {"tokens_scored_a_second": 12345.6}
    text = footprint_paragraph({"weights_mb": 8.47, "cpu": "X", "int8": own, "fp32": own})
    assert "on one thread (X; weights of 8.47 MB)" in text
    assert text.endswith("| fp32 | 0.31 | 100 | 250 | 12,346 |")


def test_other_architectures_stand_beside_the_model() -> None:
    other = OWN | {"word_perplexity": 95.04, "restarted_word_perplexity": 130.0}
    networks = {
        "lstm": {"parameters": 2000, "test_sets": {"known": OWN, "measured with it alone": OWN}},
        "elman": {"parameters": 1999, "test_sets": {"known": other}},
    }
    assert baselines_table(networks).splitlines() == [
        "| test set | lstm (2,000) | elman (1,999) |",
        "|---|---|---|",
        "| known | 90.0 / 120.0 | 95.0 / 130.0 |",
    ]


def test_a_model_trained_on_is_compared_by_its_earlier_self() -> None:
    checkpoint = load_checkpoint(SHIPPED)
    earlier, other = (
        {"parameters": own, "training_tokens": 24_000_000, "test_sets": {"a": OWN}}
        for own in (7, 8)
    )
    metrics = {**checkpoint.metrics, "baselines": {"lstm": earlier, "elman": other}}
    engine, _ = load_engine(SHIPPED, EngineOptions(device="cpu", precision="fp32"))
    text = measured(replace(checkpoint, metrics=metrics), Writer(checkpoint, engine), "en")
    assert "each trained on 24,000,000 tokens" in text
    assert "| test set | lstm (7) | elman (8) |" in text
