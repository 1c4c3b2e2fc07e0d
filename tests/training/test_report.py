"""What a report says of a model, on a text small enough to count by hand."""

import lzma
from pathlib import Path

import numpy as np
import pytest

from tests.training.small_checkpoints import VOCAB, random_checkpoint, small_tokenizer
from training.corpus import Document, Turn
from training.evaluate import evaluate_file, model_of
from training.report import HeldOut, bars, build_report, hardest_words
from training.report_forms import Table
from training.shards import Shard, encode_documents

LINES = [f"some words {n % 5} of the river" for n in range(40)]


def shard(path: Path, documents: list[Document]) -> Shard:
    ids = encode_documents(small_tokenizer(), documents).ids
    path.write_bytes(ids.astype(np.uint16).tobytes())
    return Shard(path, None, VOCAB)


def test_lines_words_and_bytes_are_those_of_evaluate(tmp_path: Path) -> None:
    """One running document; the end token after it is one more that counts."""
    text = "".join(line + "\n" for line in LINES)
    (tmp_path / "t.txt").write_text(text)
    tokenizer, checkpoint = small_tokenizer(), random_checkpoint()
    held_out = HeldOut.of(tokenizer, shard(tmp_path / "v", [Document(text=text)]).read())
    measure = evaluate_file(model_of(checkpoint), tokenizer, tmp_path / "t.txt")
    assert held_out.lines == LINES
    assert held_out.num_bytes == measure.bytes
    assert held_out.num_words == measure.words + measure.lines
    losses = [np.zeros(len(d) - 1) for d in held_out.documents]
    assert len(held_out.counted(losses)) == measure.tokens + 1


def test_of_dialogues_roles_are_given_and_turns_are_lines() -> None:
    turns = (Turn("user", "some words"), Turn("assistant", "the river"))
    ids = encode_documents(small_tokenizer(), [Document(turns=turns)]).ids
    held_out = HeldOut.of(small_tokenizer(), ids)
    assert held_out.lines == ["some words", "the river"]
    losses = [np.ones(len(d) - 1) for d in held_out.documents]
    assert held_out.counted(losses).sum() == len(ids) - 1 - 2


def test_a_report_has_its_yardsticks_samples_and_next_commands(tmp_path: Path) -> None:
    train = shard(tmp_path / "t", [Document(text="\n".join(LINES) + "\n")])
    valid = shard(tmp_path / "v", [Document(text=line) for line in LINES[:10]])
    report = build_report(random_checkpoint(), tmp_path / "mine", train, valid)
    assert list(report.rows) == ["this model", "Kneser-Ney 5-gram", "unigram", "xz -9e"]
    bits = {name: row["bits_per_byte"] for name, row in report.rows.items()}
    assert bits["Kneser-Ney 5-gram"] < bits["unigram"] < bits["this model"]  # random weights
    text = "".join(line + "\n" for line in LINES[:10]).encode()
    assert bits["xz -9e"] == pytest.approx(
        8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / len(text)
    )
    assert any("WARNING: the n-gram is better" in note for note in report.notes) or any(
        "worse than a uniform guess" in note for note in report.notes
    )
    shown = "\n".join(report.lines())
    assert f"lstm-serve serve --model {tmp_path / 'mine'}" in shown
    assert len(report.samples) == 3
    assert (
        report.samples == build_report(random_checkpoint(), tmp_path / "mine", train, valid).samples
    )
    page = report.page({"Bits a byte": bars(report)})
    assert page.count("data:image/png;base64,") == 1
    assert "http://" not in page
    assert "https://" not in page, "the page fetches nothing"
    assert report.markdown().startswith("| on the validation text |")


def test_further_findings_stand_in_page_and_card(tmp_path: Path) -> None:
    train = shard(tmp_path / "t", [Document(text="\n".join(LINES) + "\n")])
    table = Table("Given words", ("ln P", "before"), [("river <b>", "-3.10")])
    report = build_report(random_checkpoint(), tmp_path / "mine", train, train, [table])
    assert "<h2>Given words</h2>" in report.page({})
    assert "<td>river &lt;b&gt;</td><td>-3.10</td>" in report.page({})
    assert "Given words:\n\n| ln P | before |\n| --- | --- |\n| river <b> | -3.10 |" in (
        report.markdown()
    )


def test_samples_of_running_text_begin_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One document has one beginning, from which nobody learns how a text begins."""
    prompts = []

    def sampled(*_: object, prompt: tuple[int, ...], **__: object) -> list[list[int]]:
        prompts.append(prompt)
        return [[small_tokenizer().bos_id, *prompt, *small_tokenizer().encode("some words")]]

    monkeypatch.setattr("training.report.sample_documents", sampled)
    running = shard(tmp_path / "r", [Document(text="\n".join(LINES) + "\n")])
    lines = shard(tmp_path / "l", [Document(text=line) for line in LINES])
    for train in (running, lines):
        report = build_report(random_checkpoint(), tmp_path / "mine", train, lines)
        assert report.samples[0] == "some words"
    assert prompts[0] == (small_tokenizer().newline_id,)
    assert prompts[-1] == ()


def test_the_hardest_words_are_those_that_cost_most() -> None:
    tokenizer = small_tokenizer()
    ids = np.array([tokenizer.bos_id, *tokenizer.encode("some river some river words")])
    held_out = HeldOut.of(tokenizer, ids)
    river = set(tokenizer.encode("the river")) - set(tokenizer.encode("the"))
    losses = [np.array([5.0 if token in river else 0.5 for token in ids[1:].tolist()])]
    (word, nats, count), *_ = hardest_words(tokenizer, held_out, losses)
    assert (word, count) == ("river", 2)
    assert nats >= 5.0
