"""docs/results.md: every benchmark's and every shipped model's latest figures, from their files.

    python -m benchmarks.results_page

Also writes the few lines of the README that quote them. What a figure means, and what limits it, is
said in docs/performance.md and in the models' cards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import PROJECT, RESULTS, Json, replace_between

PAGE, README = PROJECT / "docs" / "results.md", PROJECT / "README.md"
BEGIN, END = "<!-- written by `python -m benchmarks.results_page` -->", "<!-- until here -->"
# Of a record: how it was made. All else are figures.
_CIRCUMSTANCES = ("benchmark", "config", "date", "machine", "seconds", "versions")
_COLUMNS = {
    "bits_per_byte": "bits per byte",
    "word_perplexity": "word perplexity",
    "restarted_bits_per_byte": "restarted, bits per byte",
    "restarted_word_perplexity": "restarted, word perplexity",
    "xz_bits_per_byte": "`xz -9e`, bits per byte",
}
# What people call the test sets of benchmarks/test_sets.py.
TITLES = {
    "wikitext-2": "Wikipedia (WikiText-2)",
    "english-novels": "Novels",
    "english-fiction-2": "Fiction, other authors",
    "english-fiction-3": "Fiction, a third collection",
    "english-nonfiction": "Non-fiction",
    "wikipedia-en": "Wikipedia, other articles",
    "common-voice-en": "Sentences to read aloud (Common Voice)",
    "librispeech-style": "Audiobook sentences (LibriTTS)",
    "sgd": "Task dialogues (Schema-Guided Dialogue)",
    "topical-chat": "Conversations (Topical-Chat)",
    "chitchat": "Small talk (Chit-Chat)",
    "taskmaster4": "Orders of coffee (Taskmaster-4)",
    "russian-novels": "Russian novels",
    "russian-prose-2": "Russian prose, other authors",
    "russian-plays": "Russian plays",
    "common-voice-ru": "Sentences to read aloud (Common Voice)",
    "unseen-wharton": "Edith Wharton, an author never read",
    "unseen-nesbit": "E. Nesbit, an author never read",
    "unseen-hope": "Anthony Hope, an author never read",
    "spoken-novels": "Novels, as recognisers write",
    "spoken-common-voice": "Sentences to read aloud, as recognisers write",
    "sgd-tagged": "Task dialogues (Schema-Guided Dialogue), their task told",
    "star-tagged": "Task dialogues (STAR), their task told",
    "taskmaster4-tagged": "Orders of coffee (Taskmaster-4), their task told",
    "medquad-tagged": "Medical questions (MedQuAD), their kind told",
    "ubuntu-irc-tagged": "Technical chat (Ubuntu IRC), its kind told",
    "spaceflight-tagged": "Spaceflight transcripts, their kind told",
    "court-tagged": "Court hearings, their kind told",
}
_IN_README = ("bits_per_byte", "word_perplexity", "xz_bits_per_byte")
_MOST_IN_README = 3


def models() -> dict[str, Json]:
    """The figures that each shipped checkpoint carries, by its name."""
    folder = PROJECT / "models" / "pretrained"
    return {
        path.parent.name: json.loads(path.read_text("utf-8"))
        for path in sorted(folder.glob("*/metrics.json"))
    }


def records() -> list[Json]:
    """The latest record of each benchmark."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("*.json"))]


def page() -> str:
    parts = [
        "# Results",
        "Written by `python -m benchmarks.results_page` from `benchmarks/results/` and the models' "
        "`metrics.json`; not edited by hand. What the figures mean: [performance](performance.md).",
        "## Models",
        "Each text is read whole, its state carried from line to line; *restarted*: each line on "
        "its own. How each figure was measured is in the model's card.",
    ]
    for name, figures in models().items():
        parts += [f"### {name}", _model_table(figures["test_sets"], _COLUMNS)]
    parts += ["## Benchmarks"]
    for record in records():
        parts += [f"### {record['benchmark']}", _circumstances(record), _figures_table(record)]
    return "\n\n".join(parts) + "\n"


def readme_block() -> str:
    """A few test sets of the default model, and three figures of speed."""
    sets = models()["en-small"]["test_sets"]
    shown = {name: sets[name] for name in list(sets)[:_MOST_IN_README]}
    columns = {key: _COLUMNS[key] for key in _IN_README}
    speed = {record["benchmark"]: record for record in records()}
    engine, nbest, start = speed["engine"], speed["rescoring"], speed["startup"]
    streams, lists = engine["engine_b64_tokens_per_s"], nbest["engine_hypotheses_per_s"]
    said = (
        f"On a server with {engine['machine']['cores']} cores: {_shown(streams)} tokens a second "
        f"over 64 streams, {_shown(lists)} hypotheses a second of N-best lists, ready "
        f"{start['seconds_to_ready']:.1f} s after the start, in {start['rss_mb']:.0f} MB."
    )
    return f"{_model_table(shown, columns)}\n\n{said}"


def _model_table(sets: Mapping[str, Json], columns: Mapping[str, str]) -> str:
    rows = [["test set", *columns.values()]]
    for name, found in sets.items():
        rows.append([TITLES.get(name, name), *(_measured(key, found.get(key)) for key in columns)])
    return _table(rows)


def _measured(key: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if key.endswith("bits_per_byte") else f"{value:,.1f}"


def _circumstances(record: Json) -> str:
    machine = record["machine"]
    return (
        f"`python -m benchmarks.{record['benchmark']}`, {record['date'][:10]}, {machine['cpu']}, "
        f"{machine['cores']} cores, checkout {record['versions']['checkout']}."
    )


def _figures_table(record: Json) -> str:
    figures = {key: value for key, value in record.items() if key not in _CIRCUMSTANCES}
    return _table([["figure", ""], *([f"`{key}`", _shown(value)] for key, value in _flat(figures))])


def _flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, int | float | str | None):
            yield prefix + key, value


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _table(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def written(document: Path, text: str) -> str:
    """The document with the text between its marker lines."""
    return replace_between(document.read_text("utf-8"), text, BEGIN, END)


def main() -> None:
    PAGE.write_text(page(), "utf-8")
    README.write_text(written(README, readme_block()), "utf-8")


if __name__ == "__main__":
    main()
