"""What is said of the shipped checkpoints holds for the files that are shipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.card import KNESER_NEY
from benchmarks.driving import scored_prompts
from benchmarks.harness import SHIPPED
from benchmarks.samples import ANSWER_TOKENS, TURNS, Writer
from models.checkpoint import Checkpoint, load_checkpoint
from models.spoken_text import asr_text
from service.engine.engine import Engine
from service.engine.hosts.async_engine import EngineInfo, EngineOptions
from service.engine.hosts.loading import load_engine

ENGLISH, RUSSIAN, RECOGNISED = SHIPPED, *map(SHIPPED.with_name, ("ru-small", "en-asr"))
LARGEST_FILES = 20e6  # bytes
MOST_PARAMETERS = 12e6  # what stays in a processor's cache
SENTENCES = {
    "en": (
        "He opened the door and went into the room.",
        "I am looking for a restaurant for two people.",
        "The film was released in the United States.",
    ),
    "ru": ("Он открыл дверь и вошёл в комнату.", "На другой день мы поехали в город."),
}


@pytest.fixture(
    scope="module", params=[ENGLISH, RUSSIAN, RECOGNISED], ids=lambda folder: folder.name
)
def folder(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Checkpoint:
    return load_checkpoint(folder)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[Engine, EngineInfo]:
    return load_engine(folder, EngineOptions(precision="auto", device="cpu"))


def test_it_is_as_small_as_promised(folder: Path, checkpoint: Checkpoint) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) <= LARGEST_FILES
    assert sum(weights.size for weights in checkpoint.weights.values()) <= MOST_PARAMETERS


def test_its_card_shows_what_was_measured(checkpoint: Checkpoint) -> None:
    rows = [line for line in checkpoint.card.splitlines() if line.startswith("| ")]
    for name, found in checkpoint.metrics["test_sets"].items():
        figures = f"| {name} | {found['bits_per_byte']:.3f} / {found['word_perplexity']:.1f} |"
        assert any(row.startswith(figures) for row in rows), name
    for command in ("training train", "benchmarks.quality", "benchmarks.card"):
        assert f"python -m {command}" in checkpoint.card
    assert checkpoint.training["origin"]["license"]


def test_its_licence_lies_beside_it(folder: Path, checkpoint: Checkpoint) -> None:
    text = (folder / "LICENSE.md").read_text("utf-8")
    assert f"({checkpoint.training['origin']['license']})" in text


def test_it_is_served_in_int8_unless_told_otherwise(loaded: tuple[Engine, EngineInfo]) -> None:
    assert loaded[1].precision == "int8"


@pytest.mark.parametrize("folder", [ENGLISH], indirect=True)
def test_english_lies_well_under_the_n_grams(checkpoint: Checkpoint) -> None:
    test_sets = checkpoint.metrics["test_sets"]
    known = json.loads(KNESER_NEY.read_text())["test_sets"]
    assert len(known.keys() & test_sets.keys()) >= 7
    for name in known.keys() & test_sets.keys():
        found, ngrams = test_sets[name], known[name]
        assert found["word_perplexity"] <= 0.85 * ngrams["mix"][1], name
        assert found["restarted_word_perplexity"] < ngrams["pooled"][1], name


@pytest.mark.parametrize(("name", "share"), [("common-voice", 0.75), ("novels", 0.9)])
def test_sentences_as_recognisers_write_cost_en_asr_less(name: str, share: float) -> None:
    small, own = (load_checkpoint(folder).metrics["test_sets"] for folder in (ENGLISH, RECOGNISED))
    figures = [sets[f"spoken-{name}"]["restarted_word_perplexity"] for sets in (own, small)]
    assert figures[0] <= share * figures[1]


@pytest.mark.parametrize("folder", [RUSSIAN], indirect=True)
def test_prose_costs_less_than_before_the_second_stage(checkpoint: Checkpoint) -> None:
    first, now = checkpoint.metrics["baselines"]["lstm"], checkpoint.metrics
    figures = [own["test_sets"]["russian-novels"]["word_perplexity"] for own in (now, first)]
    assert figures[0] <= 0.8 * figures[1]


@pytest.mark.parametrize("folder", [RUSSIAN], indirect=True)
def test_equal_networks_of_other_kinds_lie_behind_it(checkpoint: Checkpoint) -> None:
    networks = checkpoint.metrics["baselines"]
    assert set(networks) == {"lstm", "elman", "window_mlp"}
    assert len({network["training_tokens"] for network in networks.values()}) == 1
    for name, found in networks["lstm"]["test_sets"].items():
        for other in ("elman", "window_mlp"):
            beside = networks[other]["test_sets"][name]
            assert found["word_perplexity"] < beside["word_perplexity"]


def test_it_prefers_sentences_to_their_words_in_another_order(
    folder: Path, checkpoint: Checkpoint, loaded: tuple[Engine, EngineInfo]
) -> None:
    """As people write and as recognisers do."""
    rng, tokenizer = np.random.default_rng(1), checkpoint.tokenizer
    written = SENTENCES[folder.name[:2]]
    heard = tuple(asr_text(sentence) for sentence in written)
    for sentence in heard if folder == RECOGNISED else written + heard:
        shuffled = {" ".join(rng.permutation(sentence.split())) for _ in range(10)}
        texts = [sentence, *sorted(shuffled - {sentence})]
        prompts = [[tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id] for text in texts]
        (scored,) = scored_prompts(loaded[0], [prompts])
        own, *others = (float(np.nansum(logprobs)) for logprobs in scored)
        assert own > max(others), sentence


@pytest.mark.parametrize("folder", [ENGLISH], indirect=True)
def test_it_answers_in_turns_that_end(
    checkpoint: Checkpoint, loaded: tuple[Engine, EngineInfo]
) -> None:
    answers = Writer(checkpoint, loaded[0]).conversation(TURNS["en"])
    assert len(answers) == 10
    for _, answer in answers:
        assert 0 < len(checkpoint.tokenizer.encode(answer)) < ANSWER_TOKENS, answer
