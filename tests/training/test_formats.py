"""What people own, read; what cannot be read, named."""

import gzip
import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import zstandard

from training.corpus import CorpusError, Document, Turn, parse_source, parse_sources, read_sources

SAVED = Path(__file__).parent / "saved_data_sets"
TALK = (Turn("user", "Hi!"), Turn("assistant", "Hello."))


def read(*arguments: object) -> list[Document]:
    return list(read_sources(parse_sources([str(argument) for argument in arguments])))


def texts(*arguments: object) -> list[str]:
    return [document.text for document in read(*arguments)]


@pytest.mark.parametrize(
    "value",
    [
        {"turns": [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello."}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi!"}]},
                {"role": "assistant", "content": "Hello."},
            ]
        },
        {"conversations": [{"from": "human", "value": "Hi!"}, {"from": "gpt", "value": "Hello."}]},
    ],
)
def test_dialogues_of_three_kinds_are_one(value: object, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps(value) + "\n")
    (tmp_path / "d.json").write_text(json.dumps([value]))
    assert read(tmp_path / "d.jsonl") == read(tmp_path / "d.json") == [Document(turns=TALK)]


def test_the_key_of_the_text_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"body": "one", "id": 1}\n')
    assert texts(f"{tmp_path / 'd.jsonl'}@key=body") == ["one"]
    with pytest.raises(CorpusError, match=r"line 1: needs \"text\".*it has 'body', 'id'.*key=K"):
        read(tmp_path / "d.jsonl")


def test_tables_name_their_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('id,text\n1,"one, ""two"""\n2,\n3,three\n')
    (tmp_path / "t.tsv").write_text('path\tsentence\nx\tsay "yes" now\n')
    assert texts(tmp_path / "t.csv") == ['one, "two"', "three"]
    assert texts(f"{tmp_path / 't.tsv'}@column=sentence") == ['say "yes" now']
    with pytest.raises(CorpusError, match=r"which column .* Name one of 'path', 'sen"):
        read(tmp_path / "t.tsv")
    with pytest.raises(CorpusError, match="there is no column 'words'"):
        read(f"{tmp_path / 't.csv'}@column=words")


def test_packed_files_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\n"))
    # Two frames, as `cat a.zst b.zst` makes them.
    packed = zstandard.compress(b"two\n") + zstandard.compress(b"three\n")
    (tmp_path / "b.txt.zst").write_bytes(packed)
    assert texts(tmp_path / "a.txt.gz", tmp_path / "b.txt.zst") == ["one\n", "two\nthree\n"]


def test_parquet_is_read(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="parquet is read with pyarrow, an extra")
    pq = pytest.importorskip("pyarrow.parquet", reason="parquet is read with pyarrow, an extra")
    table = pa.table({"text": ["one", None, " two "], "id": [1, 2, 3], "body": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert texts(tmp_path / "t.parquet") == ["one", "two"]
    assert texts(f"{tmp_path / 't.parquet'}@column=body") == ["a", "b", "c"]
    with pytest.raises(CorpusError, match="column 'id' holds no text"):
        read(f"{tmp_path / 't.parquet'}@column=id")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(CorpusError, match=r"bad.parquet cannot be read"):
        read(tmp_path / "bad.parquet")


def test_folders_that_datasets_saved_are_read_without_it(tmp_path: Path) -> None:
    """Written by the library itself: shards in their order, and not what it cached beside them."""
    pytest.importorskip("pyarrow", reason="data sets are read with pyarrow, an extra")
    assert texts(SAVED / "shards") == [f"line {k} of the set" for k in range(6)]
    assert read(SAVED / "talk") == read(SAVED / "talk.parquet") == [Document(turns=TALK)]
    assert texts(SAVED / "both" / "test") == ["line 0 of the set"]
    with pytest.raises(CorpusError, match=r"several splits .* name one of .*both/test, .*/train"):
        read(SAVED / "both")
    shutil.copytree(SAVED / "talk", tmp_path / "talk")
    (tmp_path / "talk" / "state.json").write_text("{}")
    with pytest.raises(CorpusError, match="names no _data_files"):
        read(tmp_path / "talk")


def test_turns_kept_as_columns_are_turns(tmp_path: Path) -> None:
    """Older versions of `datasets` keep a list of objects as an object of lists."""
    pa = pytest.importorskip("pyarrow", reason="parquet is read with pyarrow, an extra")
    pq = pytest.importorskip("pyarrow.parquet", reason="parquet is read with pyarrow, an extra")
    turns = {"from": ["human", "gpt"], "value": ["Hi!", "Hello."]}
    pq.write_table(pa.table({"conversations": [turns], "id": [1]}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet") == [Document(turns=TALK)]


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"needs pyarrow: pip install 'lstm-serve\[data\]'"):
        read(tmp_path / "t.parquet")


def test_folders_and_patterns_are_spelled_out_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert texts(tmp_path) == ["a.txt\n", "b.txt\n", "sub/c.txt\n"]
    assert texts(f"{tmp_path}/?.txt@lines") == ["a.txt", "b.txt"]
    with pytest.raises(CorpusError, match="no file fits this pattern"):
        read(f"{tmp_path}/*.md")


def test_a_kind_that_is_not_read_is_refused_by_name_and_can_be_said_to_be_text(
    tmp_path: Path,
) -> None:
    (tmp_path / "book.pdf").write_bytes(b"%PDF-1.7\n")
    with pytest.raises(CorpusError, match=r"book.pdf: \.pdf is no kind of file that is read"):
        read(tmp_path / "book.pdf")
    with pytest.raises(CorpusError, match=r"book.pdf: \.pdf is no kind"):
        read(tmp_path)
    (tmp_path / "notes.log").write_text("one\n")
    assert texts(f"{tmp_path / 'notes.log'}@text") == ["one\n"]


def test_standard_input_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    assert texts("-@lines") == ["one", "two"]
    with pytest.raises(CorpusError, match="standard input can be read once only"):
        parse_source("-@also-asr")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"messages": [{"role": "tool", "content": "x"}]}, "role 'tool' is not one of system"),
        ({"messages": [{"role": "user", "content": None}]}, 'every turn needs a string "content"'),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "parts that are not text",
        ),
    ],
)
def test_what_is_no_text_in_a_dialogue_is_named(
    value: object, message: str, tmp_path: Path
) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps(value) + "\n")
    with pytest.raises(CorpusError, match=f"d.jsonl, line 1: .*{message}"):
        read(tmp_path / "d.jsonl")
