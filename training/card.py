"""The model card: what a checkpoint is, where it comes from and what was measured, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from models.checkpoint import Checkpoint, num_parameters
from models.config import ModelConfig


def model_card(name: str, checkpoint: Checkpoint) -> str:
    """The README.md of a checkpoint that `training` made, from its own record and metrics."""
    training = checkpoint.training
    parts = [
        _front_matter(checkpoint),
        f"# {name}",
        training["config"]["description"] or "A recurrent language model.",
        _shape(checkpoint),
        "## Data",
        _data(training["origin"]),
        "## Training",
        _run(training),
        "## Measured",
        _measured(checkpoint.metrics),
    ]
    return "\n\n".join(parts) + "\n"


def with_measured(card: str, text: str, section: str) -> str:
    """The card with `text` in place of what was measured before; a person's words all stay.

    It stands between two marker lines of its section; a card without them gets them at its end.
    """
    begin, end = (f"<!-- {mark} {section} -->" for mark in ("measured:", "end of"))
    block = f"{begin}\n{text}\n{end}"
    before, found, rest = card.partition(begin)
    if not found:
        return f"{card.rstrip()}\n\n{block}\n".lstrip()
    _, closed, after = rest.partition(end)
    return f"{before}{block}{after}" if closed else f"{before}{block}\n{rest}"


def _front_matter(checkpoint: Checkpoint) -> str:
    """What model hubs read: YAML, whose strings are written as JSON's."""
    origin, config = checkpoint.training["origin"], checkpoint.model
    spdx = _SPDX.get(origin["license"].lower())
    lines = [
        "library_name: lstm-serve",
        f"model_type: {config.architecture}",
        "pipeline_tag: text-generation",
        f"license: {spdx or 'other'}",
        *([] if spdx else [f"license_name: {json.dumps(origin['license'])}"]),
        f"tags: {json.dumps(['language-model', config.architecture, 'recurrent'])}",
        *([f"base_model: {json.dumps(origin['base'])}"] if origin["base"] else []),
        "metrics: [perplexity]",
    ]
    return "---\n" + "\n".join(lines) + "\n---"


_SPDX = {
    "mit": "mit",
    "apache-2.0": "apache-2.0",
    "cc0": "cc0-1.0",
    "cc0 1.0": "cc0-1.0",
    "cc0-1.0": "cc0-1.0",
    "cc by 4.0": "cc-by-4.0",
    "cc-by-4.0": "cc-by-4.0",
    "cc by-sa 4.0": "cc-by-sa-4.0",
    "cc-by-sa-4.0": "cc-by-sa-4.0",
    "cc by-sa 3.0": "cc-by-sa-3.0",
}


def _shape(checkpoint: Checkpoint) -> str:
    model = checkpoint.model
    parameters = num_parameters(model)
    rows = [
        ("architecture", model.architecture),
        ("parameters", f"{parameters:,}"),
        ("embedding", model.embedding_size),
        ("layers", " + ".join(map(str, model.hidden_sizes))),
        ("softmax", _softmax(model)),
        ("skip connections", "yes" if model.residual else "no"),
        ("vocabulary", f"{model.vocab_size:,} pieces, {checkpoint.tokenizer.normalizer}"),
        ("stored as", checkpoint.storage),
        ("chat", "yes" if checkpoint.chat_template else "no"),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {key} | {value} |" for key, value in rows)


def _softmax(model: ModelConfig) -> str:
    if model.adaptive_cutoffs:
        return f"adaptive, clusters from {', '.join(map(str, model.adaptive_cutoffs))} on"
    return "tied to the embedding" if model.tie_weights else "free"


def _data(origin: Mapping[str, Any]) -> str:
    lines = [
        f"Trained on {origin['train_tokens']:,} tokens of:",
        "\n".join(f"- {source}" for source in origin["corpus"]),
        f"Chosen by its loss on: {', '.join(origin['valid'])}.",
        f"Licence of the data: {origin['license']}.",
    ]
    if origin["base"]:
        lines.insert(0, f"Adapted from the checkpoint with digest `{origin['base']}`.")
    return "\n\n".join(lines)


def _run(training: Mapping[str, Any]) -> str:
    progress = training["progress"]
    hours = progress["seconds"] / 3600
    return (
        f"```\n{training['origin']['command']}\n```\n\n"
        f"These are the weights after {progress['tokens']:,} tokens in {progress['step']:,} steps, "
        f"{hours:.1f} hours. The whole configuration is in `config.json`."
    )


def _measured(metrics: Mapping[str, Any]) -> str:
    loss = metrics["valid_loss_nats_per_token"]
    return f"Validation loss while training: {loss:.4f} nats a token."


def evaluations_table(files: Mapping[str, Mapping[str, float]]) -> str:
    """What `lstm-train evaluate --record` measured, by text."""
    rows = [
        f"| {name} | {m['bits_per_byte']:.4f} | {m['word_perplexity']:.2f} | "
        f"{m['token_perplexity']:.2f} |"
        for name, m in files.items()
    ]
    head = "| text | bits a byte | word perplexity | token perplexity |\n|---|---|---|---|\n"
    note = (
        "Of the stored weights, state carried through the text, by `lstm-train evaluate`; "
        "words and lines, stripped lines and newlines are counted as its documentation says."
    )
    return head + "\n".join(rows) + f"\n\n{note}"
