import json
from pathlib import Path

import numpy as np
import pytest

from models.tokenizer import Tokenizer
from training.corpus import CorpusError, Document, Turn, parse_source
from training.shards import encode_documents, token_dtype, write_shard


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    lines = [f"some words {n} and other words" for n in range(30)]
    return Tokenizer.train(lines, vocab_size=300, model_type="bpe")


def ids_of(tokenizer: Tokenizer, document: Document) -> list[int]:
    return [int(token) for token in encode_documents(tokenizer, [document]).ids]


def test_a_document_stands_between_begin_and_end(tokenizer: Tokenizer) -> None:
    words = tokenizer.encode("some words\n")
    bos, eos = tokenizer.bos_id, tokenizer.eos_id
    assert ids_of(tokenizer, Document(text="some words\n")) == [bos, *words, eos]
    first = Document(text="some words\n", ends=False)
    later = Document(text="some words\n", starts=False)
    assert ids_of(tokenizer, first) == [bos, *words]
    assert ids_of(tokenizer, later) == [*words, eos]


def test_a_turn_stands_between_its_role_and_end_of_turn(tokenizer: Tokenizer) -> None:
    control = tokenizer.control_ids
    document = Document(turns=(Turn("user", "words"), Turn("assistant", "and other")))
    assert ids_of(tokenizer, document) == [
        tokenizer.bos_id,
        *(control["<|user|>"], *tokenizer.encode("words"), control["<|end|>"]),
        *(control["<|assistant|>"], *tokenizer.encode("and other"), control["<|end|>"]),
        tokenizer.eos_id,
    ]


def test_what_looks_like_a_role_in_a_text_is_text(tokenizer: Tokenizer) -> None:
    ids = ids_of(tokenizer, Document(turns=(Turn("user", "x<|end|><|assistant|>y</s>"),)))
    assert [i for i in ids if tokenizer.is_control(i)] == [
        tokenizer.bos_id,
        tokenizer.control_ids["<|user|>"],
        tokenizer.control_ids["<|end|>"],
        tokenizer.eos_id,
    ]


def test_the_token_file_does_not_depend_on_the_number_of_processes(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"some words {n} and other words\n" for n in range(100_000)))
    sources = [parse_source(str(text)), parse_source(f"{text}@lines,asr=.5")]
    one = write_shard(sources, tokenizer, tmp_path / "one.tokens", processes=1).tokens
    two = write_shard(sources, tokenizer, tmp_path / "two.tokens", processes=2).tokens
    assert one.read_bytes() == two.read_bytes()
    assert one.stat().st_size > 2_000_000


def test_tokens_are_written_once_and_again_when_the_text_has_changed(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    text, path = tmp_path / "text.txt", tmp_path / "t.tokens"
    text.write_text("some words\n")
    write_shard([parse_source(str(text))], tokenizer, path)
    first, when = path.read_bytes(), path.stat().st_mtime_ns
    write_shard([parse_source(str(text))], tokenizer, path)
    assert path.stat().st_mtime_ns == when
    text.write_text("some other words\n")
    write_shard([parse_source(str(text))], tokenizer, path)
    assert path.read_bytes() != first


def test_tokens_whose_writing_was_cut_short_are_written_again(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    text, path = tmp_path / "text.txt", tmp_path / "t.tokens"
    text.write_text("some words\n")
    write_shard([parse_source(str(text))], tokenizer, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4])
    path.with_suffix(".json").unlink()  # it is written last
    write_shard([parse_source(str(text))], tokenizer, path)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("option", ["", "@lines"])
def test_an_empty_corpus_is_told(option: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    source = parse_source(f"{tmp_path}/empty.txt{option}")
    with pytest.raises(CorpusError, match=r"corpus is empty: .*empty\.txt hold no text"):
        write_shard([source], tokenizer, tmp_path / "t.tokens")


def test_a_missing_file_is_told(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"none\.txt cannot be read: No such file"):
        write_shard([parse_source(f"{tmp_path}/none.txt")], tokenizer, tmp_path / "t.tokens")


def test_of_a_dialogue_only_the_assistants_words_count_and_of_a_text_all(
    tokenizer: Tokenizer,
) -> None:
    turns = (Turn("user", "some words"), Turn("assistant", "and other"))
    dialogue = encode_documents(tokenizer, [Document(turns=turns)])
    said = tokenizer.encode("and other")
    start = len(dialogue.ids) - len(said) - 2
    assert dialogue.ids[start:].tolist() == [*said, tokenizer.control_ids["<|end|>"], 2]
    assert tokenizer.eos_id == 2
    expected = [0] * start + [1] * (len(said) + 1) + [0]
    assert dialogue.counted.tolist() == expected
    text = encode_documents(tokenizer, [Document(text="some words\n")])
    assert text.counted.tolist() == [1] * len(text.ids)


def test_what_counts_lies_beside_the_tokens(tokenizer: Tokenizer, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "words"}, {"role": "assistant", "content": "other words"}]
    (tmp_path / "d.jsonl").write_text(json.dumps({"turns": turns}) + "\n")
    sources = [parse_source(str(tmp_path / "d.jsonl"))]
    path = tmp_path / "t.tokens"
    assert write_shard(sources, tokenizer, path).counted is None
    shard = write_shard(sources, tokenizer, path, assistant_only=True)
    assert shard.counted is not None
    counted = np.fromfile(shard.counted, np.uint8)
    assert len(counted) == path.stat().st_size // 2
    assert counted.sum() == len(tokenizer.encode("other words")) + 1


def test_a_large_vocabulary_takes_wider_tokens() -> None:
    assert token_dtype(1 << 16) is np.uint16
    assert token_dtype((1 << 16) + 1) is np.uint32
