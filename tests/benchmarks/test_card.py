from benchmarks.card import baselines_table, figures_table, int8_paragraph, recognition_paragraph

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
    text = recognition_paragraph(
        {
            "utterances": 3,
            "lm_scale": 9.5,
            "word_penalty": 0.65,
            "first_pass_wer": 34.0,
            "oracle_wer": 20.0,
            "wer_by_mix": {"0.0": 34.0, "0.5": 30.5},
        }
    )
    assert text.endswith("| share | 0.0 | 0.5 |\n|---|---|---|\n| WER % | 34.0 | 30.5 |")


def test_other_architectures_stand_beside_the_model() -> None:
    other = OWN | {"word_perplexity": 95.04, "restarted_word_perplexity": 130.0}
    baselines = {"elman": {"parameters": 1999, "test_sets": {"known": other}}}
    assert baselines_table({"known": OWN}, 2000, baselines).splitlines() == [
        "| test set | lstm (2,000) | elman (1,999) |",
        "|---|---|---|",
        "| known | 90.0 / 120.0 | 95.0 / 130.0 |",
    ]
