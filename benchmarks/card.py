"""The measured half of a shipped model's card: figures and samples, written into its README.md.

    python -m benchmarks.card [--model DIR] [--language en]

Figures are those that `benchmarks.quality --write` and `benchmarks.recognition --write` left in the
checkpoint's metrics.json, and where they were run, `benchmarks.footprint`, `.keystrokes`,
`.minimal_pairs` and `.chat`; samples are those of `benchmarks.samples`. Everything between the two
marker lines of the card is replaced; the rest of it is a person's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from itertools import starmap
from pathlib import Path
from typing import Any

from benchmarks.harness import SHIPPED, replace_between
from benchmarks.samples import PROMPTS, Writer, samples
from models.checkpoint import Checkpoint, load_checkpoint
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.loading import load_engine

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


def baselines_table(networks: Mapping[str, Any]) -> str:
    """Word perplexity, carried / restarted, of networks trained alike, by architecture.

    Test sets that were not measured with all of them are left out.
    """
    names = [f"{name} ({network['parameters']:,})" for name, network in networks.items()]
    lines = [f"| test set | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    measured = [network["test_sets"] for network in networks.values()]
    for name in filter(lambda name: all(name in sets for sets in measured), measured[0]):
        rows = [sets[name] for sets in measured]
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
    """Word error rates with intervals, by set of N-best lists."""
    models = "this model and an n-gram" if found["ngram"] else "this model"
    lines = [
        f"**Recognition** (N-best lists of development sets; {models} beside the recogniser's own "
        "scores, models and weights chosen by cross-validation; control: those scores alone, scale "
        "and length bonus retuned; 95% bootstrap intervals; word error rates in percent):",
        "",
        "| lists | | first pass | control | tuned | oracle | errors less than the control's |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *starmap(_recognition_row, found["sets"].items())])


def _recognition_row(name: str, found: Mapping[str, Any]) -> str:
    rates = " | ".join(f"{wer:.1f}" for key, wer in found.items() if key.endswith("_wer"))
    gain, low, high = found["fewer_errors"]
    verdict = "" if found["gain"] else ", may be chance"
    told = f"{gain:.1f}% ({low:.1f} to {high:.1f}){verdict}"
    return f"| {name} | {found['utterances']} | {rates} | {told} |"


def keystrokes_paragraph(found: Mapping[str, Any]) -> str:
    """Hit rates of the next word, and keystrokes saved."""
    return (
        f"**Typing** ({found['words']:,} words of {found['text']}, "
        f"{_RENDERED[found['rendering']]}): the next word is the first proposal "
        f"{found['hit_at_1']}% of the time and among the first three {found['hit_at_3']}%; three "
        f"proposals save {found['keystrokes_saved']}% of the keystrokes."
    )


def minimal_pairs_paragraph(found: Mapping[str, Any]) -> str:
    """Accuracy on pairs of sentences, as BLiMP is quoted."""
    return (
        f"**Minimal pairs** ({len(found['by_file'])} files, {_RENDERED[found['rendering']]}): the "
        f"grammatical sentence is the more probable one in {found['mean']:.1f}% of the pairs."
    )


def chat_paragraph(found: Mapping[str, Any]) -> str:
    """Figures of small talk: variety, relevance, drift to bookings."""
    return (
        f"**Chat** ({found['conversations']} conversations of the ten turns below): "
        f"{100 * found['distinct_1']:.0f}% of the words and {100 * found['distinct_2']:.0f}% of the"
        f" pairs of words are distinct, {100 * found['repeated']:.1f}% of the answers were given "
        f"before; its turn alone makes an answer more probable by {found['relevance']:.2f} nats a "
        f"token than another turn does, and more than all nine others in "
        f"{100 * found['first_of_ten']:.0f}% (10% by chance); {100 * found['bookings']:.1f}% speak "
        "of bookings and the like."
    )


def footprint_paragraph(found: Mapping[str, Any]) -> str:
    """Size, memory and speed on one thread."""
    lines = [
        f"**Speed and memory** on one thread ({found['cpu']}; weights of "
        f"{found['weights_mb']} MB):",
        "",
        "| | start, s | resident, MB | written, µs a token | scored, tokens a second |",
        "|---|---|---|---|---|",
    ]
    for precision in ("int8", "fp32"):
        own = found[precision]
        lines.append(
            f"| {precision} | {own['start_seconds']:.2f} | {own['resident_mb']:.0f} | "
            f"{own['microseconds_a_token_written']:.0f} | {own['tokens_scored_a_second']:,.0f} |"
        )
    return "\n".join(lines)


_RENDERED = {"plain": "as written", "asr": "in lower case without punctuation"}
_PARAGRAPHS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "footprint": footprint_paragraph,
    "recognition": recognition_paragraph,
    "keystrokes_plain": keystrokes_paragraph,
    "keystrokes_asr": keystrokes_paragraph,
    "minimal_pairs_plain": minimal_pairs_paragraph,
    "minimal_pairs_asr": minimal_pairs_paragraph,
    "chat": chat_paragraph,
}


def measured(checkpoint: Checkpoint, writer: Writer, language: str) -> str:
    metrics = checkpoint.metrics
    ngrams = json.loads(KNESER_NEY.read_text("utf-8"))["test_sets"]
    parts = [figures_table(metrics["test_sets"], ngrams), int8_paragraph(metrics)]
    if "baselines" in metrics:
        parameters = sum(weights.size for weights in checkpoint.weights.values())
        own = {"parameters": parameters, "test_sets": metrics["test_sets"]}
        # A model that was trained on after the comparison has its earlier self among them.
        networks = {checkpoint.model.architecture: own, **metrics["baselines"]}
        tokens = {f"{network['training_tokens']:,}" for network in metrics["baselines"].values()}
        parts += [
            "**Other architectures** with as many parameters, each trained on "
            f"{' or '.join(sorted(tokens))} tokens by the same command: word perplexity, carried / "
            "restarted.",
            baselines_table(networks),
        ]
    for key, paragraph in _PARAGRAPHS.items():
        if key in metrics:
            parts.append(paragraph(metrics[key]))
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
