import gzip
import json
import lzma
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus import (
    CorpusError,
    Document,
    Source,
    Turn,
    parse_source,
    read_lines,
    read_source,
)

Pack = Callable[[bytes], bytes]
PACKS: dict[str, Pack] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}
TEXT = "The first line.\n\n  Another, indented \nÇa va? 日本\n"
DOCUMENT = Document(text="The first line.\n\nAnother, indented\nÇa va? 日本\n")


def read(path: Path, **options: bool) -> list[Document]:
    return list(read_source(Source(path=path, **options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_running_text_is_one_document_of_stripped_lines(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(PACKS[suffix](TEXT.encode()))
    assert read(path) == [DOCUMENT]


def test_the_last_line_counts_with_or_without_its_newline(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x\ny")
    (tmp_path / "b").write_text("x\ny\n")
    assert read(tmp_path / "a") == read(tmp_path / "b") == [Document(text="x\ny\n")]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "bom.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\xef\xbb\xbftwo\r\n")
    assert list(read_lines(path)) == ["one", "\ufefftwo"]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=20)))
def test_parts_of_a_long_text_join_to_the_whole(lines: list[str]) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write("".join(line + "\n" for line in lines).encode())
        file.flush()
        source = Source(path=Path(file.name))
        parts = list(read_source(source, part_bytes=30))
        (whole,) = read_source(source) if lines else (Document(),)
    assert "".join(part.text for part in parts) == whole.text
    assert [p.starts for p in parts] == [True] + [False] * (len(parts) - 1) if parts else True
    assert [p.ends for p in parts] == [False] * (len(parts) - 1) + [True] if parts else True


def test_every_line_is_a_document_where_lines_are_unordered(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("one\n\ntwo\n")
    assert read(tmp_path / "s.txt", lines=True) == [Document(text="one"), Document(text="two")]


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_jsonl_holds_texts_and_dialogues(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"d.jsonl{suffix}"
    turns = [{"role": "user", "content": " Hi "}, {"role": "assistant", "content": "Hello"}]
    lines = [json.dumps({"text": "a\nb"}), "", json.dumps({"turns": turns, "id": 7})]
    path.write_bytes(PACKS[suffix]("\n".join(lines).encode()))
    dialogue = Document(turns=(Turn("user", "Hi"), Turn("assistant", "Hello")))
    assert read(path) == [Document(text="a\nb"), dialogue]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"d\.jsonl, line 2: not JSON"),
        ("[]", r'line 2: needs "text" or a non-empty list "turns"'),
        ('{"turns": []}', r'line 2: needs "text" or a non-empty list "turns"'),
        ('{"turns": [{"role": "user"}]}', r'line 2: every turn needs a string "content"'),
        (
            '{"turns": [{"role": "bot", "content": "x"}]}',
            r"line 2: role 'bot' is not one of system, user, assistant",
        ),
    ],
)
def test_a_bad_line_of_jsonl_is_named(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(CorpusError, match=message):
        read(tmp_path / "d.jsonl")


def test_bad_utf_8_is_named_by_file_line_and_byte(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("fine\nalso\ncafé\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"latin\.txt, line 3: not UTF-8 .* at byte 3 .*convert"):
        read(tmp_path / "latin.txt")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"none\.txt cannot be read: .*No such file"):
        read(tmp_path / "none.txt")
    with pytest.raises(CorpusError, match=r"cannot be read: .*Is a directory"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_damaged_archive_is_named(suffix: str, tmp_path: Path) -> None:
    whole = PACKS[suffix](TEXT.encode() * 50)
    for name, data in (
        ("cut", whole[:-20]),
        ("no-archive", b"plain text"),
        ("bad", whole[:9] + b"\xff" * 40),
    ):
        path = tmp_path / f"{name}.txt{suffix}"
        path.write_bytes(data)
        with pytest.raises(CorpusError, match=rf"{name}\.txt\{suffix} cannot be read"):
            read(path)


def test_options_of_a_source() -> None:
    assert parse_source("a.txt") == Source(path=Path("a.txt"))
    assert parse_source("a.txt@lines,also-asr,repeat=3") == Source(
        path=Path("a.txt"), lines=True, asr_shares=(0.0, 1.0), repeat=3
    )
    assert parse_source("a@asr").asr_shares == (1.0,)
    assert parse_source("a@asr=0.25").asr_shares == (0.25,)


@pytest.mark.parametrize("option", ["liens", "asr=1.5", "asr=x", "repeat=0", "repeat"])
def test_an_unknown_option_lists_the_known(option: str) -> None:
    with pytest.raises(CorpusError, match=f"unknown option '{option}'; choose from lines, turns"):
        parse_source(f"a.txt@{option}")


def test_shares_and_repeats_render_as_many_documents_as_they_say(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("".join(f"Line {n}!\n" for n in range(20)))
    documents = list(read_source(parse_source(f"{tmp_path}/s.txt@lines,asr=0.25,repeat=2")))
    assert len(documents) == 40
    assert sum(d.text.islower() for d in documents) == 10
    both = list(read_source(parse_source(f"{tmp_path}/s.txt@lines,also-asr")))
    assert [d.text for d in both[:1] + both[20:21]] == ["Line 0!", "line 0"]


def test_turns_may_stand_alone_with_or_without_their_roles(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello."}]
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"turns": turns}) + "\n" + json.dumps({"text": "one\ntwo"}))
    plain = Document(text="one\ntwo")
    assert list(read_source(parse_source(f"{path}@turns"))) == [
        Document(turns=(Turn("user", "Hi!"),)),
        Document(turns=(Turn("assistant", "Hello."),)),
        plain,
    ]
    assert list(read_source(parse_source(f"{path}@lines,asr=0.5"))) == [
        Document(text="Hi!"),
        Document(text="hello"),
        plain,
    ]


@pytest.mark.parametrize("argument", ["a.txt@turns", "a.jsonl.xz@turns,lines"])
def test_turns_need_dialogues(argument: str) -> None:
    with pytest.raises(
        CorpusError, match=r"turns goes with dialogues in \.jsonl, and not with lines"
    ):
        parse_source(argument)


@given(st.integers(1, 12), st.sampled_from([0.1, 0.34, 0.5, 0.75, 0.99, 1.0]))
def test_where_the_rendering_of_running_text_changes_a_document_ends_and_another_begins(
    num_parts: int, share: float
) -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        file.writelines(f"Line {n}!\n" for n in range(num_parts))
        file.flush()
        source = Source(path=Path(file.name), asr_shares=(share,))
        parts = list(read_source(source, part_bytes=1))
    spoken = [part.text.islower() for part in parts]
    changes = [one != other for one, other in pairwise(spoken)]
    assert len(parts) == num_parts
    assert sum(spoken) == int(num_parts * share)
    assert [part.starts for part in parts] == [True, *changes]
    assert [part.ends for part in parts] == [*changes, True]


def test_documents_that_are_whole_stay_whole_beside_rendered_ones(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("".join(f"Line {n}!\n" for n in range(9)))
    documents = list(read_source(parse_source(f"{tmp_path}/s.txt@lines,asr=0.5")))
    assert len(documents) == 9
    assert all(document.starts and document.ends for document in documents)
