"""The measured half of a shipped model's card: figures and samples, written into its README.md.

    python -m benchmarks.card [--model DIR] [--language en]

Figures are those that `benchmarks.quality --write` and `benchmarks.recognition --write` left in the
checkpoint's metrics.json; samples are drawn here, from prompts and seeds that are fixed in this
file, with the checkpoint's own sampling defaults. Everything between the two marker lines of the
card is replaced; the rest of it is a person's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.driving import run
from benchmarks.harness import SHIPPED, replace_between
from models.checkpoint import Checkpoint, load_checkpoint
from service.engine.engine import Engine
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.loading import load_engine
from service.engine.request import EngineRequest, SamplingParams

BEGIN = "<!-- written by `python -m benchmarks.card` -->"
END = "<!-- until here -->"
KNESER_NEY = Path(__file__).with_name("kneser_ney.json")
_NGRAM_HEADS = (
    "pooled 5-gram",
    "in-domain",
    "mix",
    "carried under mix by",
    "restarted under pooled by",
)
_COMPRESSORS = ("xz -9e", "zstd -19")
_TEXT_TOKENS, _ANSWER_TOKENS = 60, 40
PROMPTS: dict[str, tuple[str, ...]] = {
    "en": (
        "It was a dark night and",
        "The house stood",
        "When the war began ,",
        "the man went to the",
        "In the morning she",
        "The film was released in",
    ),
    "ru": ("Была тёмная ночь, и", "Дом стоял", "Когда началась война,", "Утром она"),
}
TURNS: dict[str, tuple[str, ...]] = {
    "en": (
        "Hi! How are you today?",
        "I am looking for a cheap restaurant in San Jose.",
        "For two people, tonight at seven.",
        "Yes, please book it.",
        "Thank you! What is the phone number?",
        "Do you like music?",
        "Which band do you like best?",
        "I saw a film about football last week.",
        "Who played in it?",
        "It was nice talking to you. Bye!",
    ),
    "ru": (),
}


def figures_table(sets: Mapping[str, Any], ngrams: Mapping[str, Any]) -> str:
    """Bits per byte / word perplexity, carried and restarted, beside n-grams and compressors.

    Where n-grams are known for none of the sets, there is no column for them.
    """
    compared = any(name in ngrams for name in sets)
    heads = ["test set", "carried", "restarted", *(_NGRAM_HEADS if compared else []), *_COMPRESSORS]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, own in sets.items():
        cells = [
            name,
            _pair(own["bits_per_byte"], own["word_perplexity"]),
            _pair(own["restarted_bits_per_byte"], own["restarted_word_perplexity"]),
            *(_beside(own, ngrams.get(name)) if compared else []),
            f"{own['xz_bits_per_byte']:.3f}",
            f"{own['zstd_bits_per_byte']:.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _beside(own: Mapping[str, float], ngram: Mapping[str, tuple[float, float]] | None) -> list[str]:
    """Each n-gram's figures, and how far this model's word perplexity lies under two of them."""
    if ngram is None:
        return ["–"] * len(_NGRAM_HEADS)
    under_mix = 1 - own["word_perplexity"] / ngram["mix"][1]
    under_pooled = 1 - own["restarted_word_perplexity"] / ngram["pooled"][1]
    return [
        *(_pair(*ngram[kind]) for kind in ("pooled", "in_domain", "mix")),
        f"{100 * under_mix:.0f}%",
        f"{100 * under_pooled:.0f}%",
    ]


def _pair(bits: float, perplexity: float) -> str:
    return f"{bits:.3f} / {perplexity:.1f}"


def baselines_table(sets: Mapping[str, Any], parameters: int, baselines: Mapping[str, Any]) -> str:
    """Word perplexity, carried / restarted, of this model and of others trained like it."""
    names = [f"{name} ({other['parameters']:,})" for name, other in baselines.items()]
    lines = [
        f"| test set | lstm ({parameters:,}) | {' | '.join(names)} |",
        "|---" * (2 + len(names)) + "|",
    ]
    for name, own in sets.items():
        rows = [own, *(other["test_sets"][name] for other in baselines.values())]
        cells = [
            f"{row['word_perplexity']:.1f} / {row['restarted_word_perplexity']:.1f}" for row in rows
        ]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def int8_paragraph(metrics: Mapping[str, Any]) -> str:
    return (
        f"**int8 against fp32**, both by the engine, on {metrics['int8_compared_tokens']:,} tokens "
        f"of the test sets: {100 * metrics['int8_relative_loss']:+.4f}% in bits per byte, "
        f"{metrics['int8_mean_difference_nats']:.4f} nats a token on average, "
        f"{metrics['int8_largest_difference_nats']:.3f} at most."
    )


def recognition_paragraph(found: Mapping[str, Any]) -> str:
    """Word error rates by the model's share of the language model score."""
    mixes = found["wer_by_mix"]
    return (
        f"**Recognition** ({found['utterances']} N-best lists of a development set; language model "
        f"scale {found['lm_scale']}, word penalty {found['word_penalty']}): word error rate "
        f"{found['first_pass_wer']}% before; the best hypotheses of the lists have "
        f"{found['oracle_wer']}%. After rescoring, by this model's share of the language model "
        "score:\n\n"
        f"| share | {' | '.join(mixes)} |\n|{'---|' * (len(mixes) + 1)}\n"
        f"| WER % | {' | '.join(map(str, mixes.values()))} |"
    )


class Writer:
    """Draws samples from a checkpoint with its own defaults."""

    def __init__(self, checkpoint: Checkpoint, engine: Engine) -> None:
        self.tokenizer, self.engine = checkpoint.tokenizer, engine
        self.template = checkpoint.chat_template
        self.defaults = checkpoint.sampling_defaults

    def continuation(self, prompt: str, seed: int) -> str:
        """`prompt` and what the model adds to it."""
        ids = [self.tokenizer.bos_id, *self.tokenizer.encode(prompt)]
        drawn = self._draw(ids, seed, _TEXT_TOKENS, ())
        return self.tokenizer.decode(drawn, continuation=True)

    def conversation(self, turns: Sequence[str]) -> list[tuple[str, str]]:
        """The model's answer to each turn of one conversation."""
        assert self.template is not None
        control, roles = self.tokenizer.control_ids, self.template["roles"]
        end = control[self.template["end_of_turn"]]
        ids, answers = [self.tokenizer.bos_id], []
        for seed, turn in enumerate(turns):
            ids += [control[roles["user"]], *self.tokenizer.encode(turn), end]
            ids.append(control[roles["assistant"]])
            drawn = self._draw(ids, seed, _ANSWER_TOKENS, (end,))
            ids += [*drawn, end]
            answers.append((turn, self.tokenizer.decode(drawn)))
        return answers

    def _draw(self, ids: list[int], seed: int, count: int, stop: tuple[int, ...]) -> list[int]:
        stops = (*stop, self.tokenizer.eos_id)
        params = SamplingParams(
            max_tokens=count,
            seed=seed,
            stop_token_ids=stops,
            suppressed_token_ids=tuple(
                token for token in self.tokenizer.control_ids.values() if token not in stops
            ),
            **self.defaults,
        )
        request = EngineRequest(request_id="x", prompts=(tuple(ids),), sampling=params)
        outputs = run(self.engine, [request])
        drawn = [token.token_id for output in outputs for token in output.tokens]
        return drawn[:-1] if drawn[-1] in stops else drawn


def samples(writer: Writer, language: str) -> str:
    parts = ["Not picked: prompts and seeds are fixed in `benchmarks/card.py`, settings are the"]
    parts[0] += " checkpoint's defaults."
    for seed, prompt in enumerate(PROMPTS[language]):
        text = " ".join(writer.continuation(prompt, seed).split())
        parts.append(f"> **{prompt}** {text}")
    if writer.template is not None and TURNS[language]:
        parts.append("A conversation of ten turns:")
        answered = writer.conversation(TURNS[language])
        parts += [f"> user: {said}  \n> assistant: **{answer}**" for said, answer in answered]
    return "\n\n".join(parts)


def measured(checkpoint: Checkpoint, writer: Writer, language: str) -> str:
    metrics = checkpoint.metrics
    ngrams = json.loads(KNESER_NEY.read_text("utf-8"))["test_sets"]
    parts = [figures_table(metrics["test_sets"], ngrams), int8_paragraph(metrics)]
    if "baselines" in metrics:
        parameters = sum(weights.size for weights in checkpoint.weights.values())
        parts += [
            "**Other architectures** with as many parameters, trained by the same command: word "
            "perplexity, carried / restarted.",
            baselines_table(metrics["test_sets"], parameters, metrics["baselines"]),
        ]
    if "recognition" in metrics:
        parts.append(recognition_paragraph(metrics["recognition"]))
    return "\n\n".join([*parts, "## Samples", samples(writer, language)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--language", default="en", choices=list(PROMPTS))
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.model)
    engine, _ = load_engine(options.model, EngineOptions(device="cpu"))
    text = measured(checkpoint, Writer(checkpoint, engine), options.language)
    path = options.model / "README.md"
    path.write_text(replace_between(path.read_text("utf-8"), text, BEGIN, END), "utf-8")


if __name__ == "__main__":
    main()
