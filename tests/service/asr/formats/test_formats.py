"""Every format: files in the wild's shape, natural logarithms, faults by line, round trips."""

from __future__ import annotations

import gzip
import json
import math
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.asr.formats import FormatError, ReadOptions, open_writer, read_lists
from service.asr.formats.conversions import from_bytelog, from_log10, to_bytelog, to_log10
from service.asr.hypotheses import Hypothesis, NBestList

LN10 = 2.302585092994046

KALDI = {
    "words_text": "sp-1-utt-1-1 how are you\nsp-1-utt-1-2 who are you\nsp-1-utt-2-1\n",
    "acwt": "sp-1-utt-1-1 812.5\nsp-1-utt-1-2 810.25\nsp-1-utt-2-1 12\n",
    "lmwt.nolm": "sp-1-utt-1-1 3.5\nsp-1-utt-1-2 3.25\nsp-1-utt-2-1 0.5\n",
    "lmwt.lmonly": "sp-1-utt-1-1 9.5\nsp-1-utt-1-2 11\nsp-1-utt-2-1 2\n",
}
SRILM_2 = (
    "NBestList2.0\n"
    "(-1200) hello ( st: 0.10 et: 0.52 g: -20 a: -700 ) hh ( st: 0.10 et: 0.20 g: 0 a: -300 ) "
    "ow ( st: 0.20 et: 0.52 g: 0 a: -400 ) there ( st: 0.52 et: 0.90 g: -35 a: -400 )\n"
)
MLM = {
    "utt-1": {
        "ref": "how are you",
        "hyp_1": {"score": -7.25, "text": "how are you"},
        "hyp_2": {"score": -7.5, "text": "who are you"},
        "hyp_10": {"score": -9.0, "text": "who were you"},
    },
    "utt-2": {"ref": "fine"},
}
ESPNET_1 = {
    "utts": {
        "utt-1": {
            "utt2spk": "sp-1",
            "output": [
                {"name": "target1[1]", "rec_text": "▁how▁are▁you<eos>", "score": -3.5},
                {"name": "target1[2]", "rec_text": "▁who▁are▁you<eos>", "score": "-4.25"},
            ],
        }
    }
}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def read_one(path: Path, format: str, **options: object) -> list[NBestList]:
    return list(read_lists(path, format, ReadOptions(**options)))  # type: ignore[arg-type]


class TestJsonl:
    def test_short_names(self, tmp_path: Path) -> None:
        line = (
            '{"utt": "u1", "ref": "how are you", "hyps": [{"text": "who are you", "am": -10.5, '
            '"lm": -3.25, "n_words": 3, "score": -41.0}]}\n'
        )
        (own,) = read_one(write(tmp_path / "n.jsonl.gz", line), "jsonl")
        assert (own.id, own.reference) == ("u1", "how are you")
        hypothesis = own.hypotheses[0]
        assert (hypothesis.score, hypothesis.scores) == (-10.5, {"lm": -3.25})
        assert hypothesis.extra == {"n_words": 3, "first_pass": -41.0}

    def test_the_service_s_form(self, tmp_path: Path) -> None:
        line = (
            '{"id": 7, "speaker": "s", "hypotheses": [{"text": "a b", "score": -1, '
            '"scores": {"ngram": -2.5}, "word_scores": {"old": [-1, -1, -0.5]}}]}\n\n'
            '{"hypotheses": []}'
        )
        first, second = read_one(write(tmp_path / "n.jsonl", line), "jsonl")
        assert (first.id, first.speaker, second.id, second.hypotheses) == ("7", "s", "3", ())
        assert first.hypotheses[0].word_scores == {"old": (-1, -1, -0.5)}

    @pytest.mark.parametrize(
        ("line", "fault"),
        [
            ("{", "is no JSON"),
            ("[]", "is no JSON object"),
            ("{}", "has no 'hypotheses'"),
            ('{"hyps": {}}', "'hyps' is no list"),
            ('{"hyps": [{"am": 1}]}', "hyps.0: 'text' is no string"),
            ('{"hyps": [{"text": "a", "am": "x"}]}', "hyps.0: 'am' is no finite number: 'x'"),
            ('{"hyps": [{"text": "a", "lm": NaN}]}', "'lm' is no finite number"),
            ('{"hyps": [{"text": "a", "scores": [1]}]}', "'scores' is no JSON object"),
        ],
    )
    def test_names_the_line(self, tmp_path: Path, line: str, fault: str) -> None:
        path = write(tmp_path / "n.jsonl", '{"hyps": []}\n' + line + "\n")
        with pytest.raises(FormatError, match="n.jsonl, line 2: .*" + fault.replace(".", r"\.")):
            read_one(path, "jsonl")


class TestKaldi:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name, text in KALDI.items():
            write(tmp_path / name, text)
        return tmp_path

    def test_costs_are_turned_around(self, folder: Path) -> None:
        first, second = read_one(folder, "kaldi")
        assert (first.id, second.id) == ("sp-1-utt-1", "sp-1-utt-2")
        assert first.hypotheses[1] == Hypothesis(
            text="who are you", score=-810.25, scores={"graph": -3.25, "lm": -11}
        )
        assert second.hypotheses[0].text == ""

    def test_a_missing_file_is_a_missing_score(self, folder: Path) -> None:
        (folder / "acwt").unlink()
        assert read_one(folder, "kaldi")[0].hypotheses[0].score is None

    @pytest.mark.parametrize(
        ("name", "text", "fault"),
        [
            ("words_text", "noid a b\n", "words_text, line 1: 'noid' does not end in -RANK"),
            ("acwt", "sp-1-utt-1-2 1\n", "acwt, line 1: has 'sp-1-utt-1-2' where words_text has"),
            ("acwt", "sp-1-utt-1-1 x\n", "acwt, line 1: the cost is no finite number: 'x'"),
            ("acwt", KALDI["acwt"] + "u-3 1\n", "acwt, line 4: 'u-3' is not in words_text"),
            ("lmwt.nolm", "sp-1-utt-1-1 1\n", "has 'nothing' where words_text has"),
        ],
    )
    def test_names_the_line(self, folder: Path, name: str, text: str, fault: str) -> None:
        write(folder / name, text)
        with pytest.raises(FormatError) as raised:
            read_one(folder, "kaldi")
        assert fault in str(raised.value)

    def test_writes_the_same_files(self, folder: Path, tmp_path: Path) -> None:
        lists = read_one(folder, "kaldi")
        with open_writer(tmp_path / "out", "kaldi") as writer:
            for own in lists:
                writer.write(own)
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(KALDI)
        for name, text in KALDI.items():
            assert (tmp_path / "out" / name).read_text().replace(".0\n", "\n") == text


class TestSrilm:
    def test_plain_is_log10(self, tmp_path: Path) -> None:
        write(tmp_path / "u2.gz", "-100.5 -7.25 3 how are you\n")
        write(tmp_path / "u1", "-90 -7 4 <s> how are you </s>\n")
        first, second = read_one(tmp_path, "srilm")
        assert (first.id, second.id) == ("u1", "u2")
        assert first.hypotheses[0].text == "how are you"
        own = second.hypotheses[0]
        assert own.score == pytest.approx(-100.5 * LN10)
        assert own.scores["lm"] == pytest.approx(-7.25 * LN10)

    def test_decipher_1_is_a_composite_in_bytelogs(self, tmp_path: Path) -> None:
        path = write(tmp_path / "u.nbest", "NBestList1.0\n(-1000) how are you\n(-1001) who\n")
        (own,) = read_one(path, "srilm")
        assert own.id == "u"
        assert own.hypotheses[0].score == pytest.approx(-1000 * 1024 * math.log(1.0001), rel=1e-5)
        assert own.hypotheses[0].scores == {}

    def test_decipher_2_skips_phones_and_splits_the_composite(self, tmp_path: Path) -> None:
        (own,) = read_one(write(tmp_path / "u", SRILM_2), "srilm")
        hypothesis = own.hypotheses[0]
        assert hypothesis.text == "hello there"
        assert hypothesis.scores["lm"] == pytest.approx(from_bytelog(-55))
        assert hypothesis.score == pytest.approx(from_bytelog(-1200 + 55))

    def test_decipher_2_comes_back(self, tmp_path: Path) -> None:
        (own,) = read_one(write(tmp_path / "u", SRILM_2), "srilm")
        with open_writer(tmp_path / "out", "NBestList2.0") as writer:
            writer.write(own)
        (again,) = read_one(tmp_path / "out", "srilm")
        assert again == own

    def test_a_list_of_files(self, tmp_path: Path) -> None:
        write(tmp_path / "b.score", "-1 -1 1 b\n")
        write(tmp_path / "a.score", "-1 -1 1 a\n")
        lists = read_one(write(tmp_path / "files.list", "b.score\na.score\n"), "srilm")
        assert [own.id for own in lists] == ["b", "a"]

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("NBestList3.0\n(-1) a\n", "line 1: unknown form"),
            ("NBestList1.0\n-1 a\n", r"line 2: does not begin with '\(score\)'"),
            ("NBestList2.0\n(-1) a b\n", "line 2: has 2 fields, not 11"),
            ("NBestList2.0\n(-1) a ( st: 0 et: 1 g: 0 x: 0 )\n", "line 2: after 'a' comes no"),
            ("-1 -1 1 a\n-1 a\n", "line 2: has no 'ascore lscore nwords"),
            ("-1 nan 1 a\n", "line 1: lscore is no finite number"),
        ],
    )
    def test_names_the_line(self, tmp_path: Path, text: str, fault: str) -> None:
        with pytest.raises(FormatError, match=fault):
            read_one(write(tmp_path / "u", text), "srilm")


class TestNemo:
    def test_beams_and_manifest(self, tmp_path: Path) -> None:
        rows = write(tmp_path / "beams.tsv", "how are you\t-1.5\nwho\t-2\n\t-3\nfine\t-4\n")
        manifest = '{"audio_filepath": "a.wav", "text": "how are you"}\n{"text": "fine"}\n'
        about = write(tmp_path / "manifest.json", manifest)
        first, second = read_one(rows, "nemo", beam_size=2, manifest=about)
        assert (first.id, first.reference, second.reference) == ("a.wav", "how are you", "fine")
        assert [own.text for own in second.hypotheses] == ["", "fine"]

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("a -1\n", "line 1: has no tab"),
            ("a\t-1\nb\tx\n", "line 2: the score"),
            ("a\t1\n", "1 rows"),
        ],
    )
    def test_names_the_line(self, tmp_path: Path, text: str, fault: str) -> None:
        with pytest.raises(FormatError, match=fault):
            read_one(write(tmp_path / "beams.tsv", text), "nemo", beam_size=2)

    def test_asks_for_the_beam_size(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="--beam-size"):
            read_one(write(tmp_path / "beams.tsv", ""), "nemo")


class TestMlmScoring:
    @pytest.mark.parametrize("indent", [None, 2])
    def test_reads(self, tmp_path: Path, indent: int | None) -> None:
        path = write(tmp_path / "hyps.json", json.dumps(MLM, indent=indent))
        first, second = read_one(path, "mlm-scoring")
        assert [own.score for own in first.hypotheses] == [-7.25, -7.5, -9.0]
        assert (first.reference, second.id, second.hypotheses) == ("how are you", "utt-2", ())

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ('{\n"u": {"hyp_1": {"score": 1}}}', "line 2: 'u': hypotheses.0: 'text' is no string"),
            ('{\n\n"u": 5}', "line 3: 'u': is no JSON object"),
            ('{"u": {"hyp1": {}}}', "'hyp1' is neither 'ref' nor 'hyp_N'"),
            ('{"a": {},\n"u": {]}', "line 2: is no JSON"),
            ('{"a": {}', "line 1: has its end where '}' should be"),
        ],
    )
    def test_names_the_line(self, tmp_path: Path, text: str, fault: str) -> None:
        with pytest.raises(FormatError) as raised:
            read_one(write(tmp_path / "hyps.json", text), "mlm-scoring")
        assert fault in str(raised.value)


class TestEspnet:
    def test_espnet2_folders(self, tmp_path: Path) -> None:
        write(tmp_path / "1best_recog" / "text", "u1 how are you\nu2\n")
        write(
            tmp_path / "1best_recog" / "score", "u1 tensor(-3.5)\nu2 tensor(-1., device='cuda:0')\n"
        )
        write(tmp_path / "2best_recog" / "text", "u1 who are you\n")
        write(tmp_path / "2best_recog" / "score", "u1 -4.25\n")
        first, second = read_one(tmp_path, "espnet")
        assert [own.text for own in first.hypotheses] == ["how are you", "who are you"]
        assert [own.score for own in first.hypotheses] == [-3.5, -4.25]
        assert [own.score for own in second.hypotheses] == [-1.0]

    def test_another_order_is_named(self, tmp_path: Path) -> None:
        write(tmp_path / "1best_recog" / "text", "u1 a\nu2 b\n")
        write(tmp_path / "2best_recog" / "text", "u2 a\nu1 b\n")
        with pytest.raises(FormatError, match="2best_recog/text, line 2: 'u1' is missing"):
            read_one(tmp_path, "espnet")

    def test_espnet1_json(self, tmp_path: Path) -> None:
        (own,) = read_one(write(tmp_path / "data.json", json.dumps(ESPNET_1)), "espnet")
        assert [hypothesis.text for hypothesis in own.hypotheses] == ["how are you", "who are you"]
        assert [hypothesis.score for hypothesis in own.hypotheses] == [-3.5, -4.25]

    def test_espnet1_without_utterances(self, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match="has no member 'utts'"):
            read_one(write(tmp_path / "data.json", '{"a": 1}'), "espnet")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "n.jsonl"
    path.write_bytes(b'{"hyps": []}\n\xff\xfe\n')
    with pytest.raises(FormatError, match=r"line .*: is not readable text"):
        read_one(path, "jsonl")


def test_reads_in_constant_memory(tmp_path: Path) -> None:
    """Ten times the lists take no more memory: they are dropped as they are read."""

    def peak(count: int) -> int:
        entry = {f"utt-{i}": MLM["utt-1"] for i in range(count)}
        mlm = write(tmp_path / f"{count}.json", json.dumps(entry))
        lines = write(tmp_path / f"{count}.jsonl", '{"hyps": [{"text": "a b c"}]}\n' * count)
        del entry
        tracemalloc.start()
        for path, format in ((mlm, "mlm-scoring"), (lines, "jsonl")):
            assert sum(1 for _ in read_lists(path, format)) == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small = peak(1000)
    assert peak(8000) < small + 200_000


# Round trips

WORDS = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyzäßéğ'-", min_size=1, max_size=6), max_size=5
).map(" ".join)
SCORES = st.floats(-1e4, 1e4).map(lambda value: round(value, 4) + 0.0)


@st.composite
def lists_of(draw: st.DrawFn, *, least: int, scores: tuple[str, ...]) -> list[NBestList]:
    count = draw(st.integers(1, 4))
    return [
        NBestList(
            id=f"utt-{index}",
            hypotheses=tuple(
                Hypothesis(
                    text=draw(WORDS),
                    score=draw(SCORES),
                    scores={name: draw(SCORES) for name in scores},
                )
                for _ in range(draw(st.integers(least, 4)))
            ),
        )
        for index in range(count)
    ]


def essence(lists: list[NBestList], to: int = 6) -> list[tuple[str, list[tuple[object, ...]]]]:
    return [
        (
            own.id,
            [
                (h.text, round(h.score or 0, to), {k: round(v, to) for k, v in h.scores.items()})
                for h in own.hypotheses
            ],
        )
        for own in lists
    ]


@pytest.mark.parametrize(
    ("format", "output", "least", "scores"),
    [
        ("jsonl", "jsonl", 0, ("lm", "graph")),
        ("kaldi", "kaldi", 1, ("lm", "graph")),
        ("srilm", "srilm", 0, ("lm",)),
        ("mlm-scoring", "mlm-scoring", 0, ()),
        ("espnet", "espnet", 1, ()),
    ],
)
@given(data=st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_round_trip(
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    format: str,
    output: str,
    least: int,
    scores: tuple[str, ...],
) -> None:
    lists = data.draw(lists_of(least=least, scores=scores))
    path = tmp_path_factory.mktemp("round") / "lists"
    with open_writer(path, output) as writer:
        for own in lists:
            writer.write(own)
    assert essence(read_one(path, format)) == essence(lists)


@given(lists=lists_of(least=3, scores=()))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_round_trip_of_beams(
    lists: list[NBestList], tmp_path_factory: pytest.TempPathFactory
) -> None:
    equal = [
        NBestList(id=str(place), hypotheses=own.hypotheses[:3])
        for place, own in enumerate(lists, 1)
    ]
    path = tmp_path_factory.mktemp("round") / "beams.tsv"
    with open_writer(path, "nemo") as writer:
        for own in equal:
            writer.write(own)
    assert essence(read_one(path, "nemo", beam_size=3)) == essence(equal)


@given(value=st.floats(-1e5, 1e5))
def test_conversions_are_inverse(value: float) -> None:
    assert to_log10(from_log10(value)) == pytest.approx(value)
    assert from_bytelog(to_bytelog(value)) == pytest.approx(value, abs=0.0513)


def test_text_is_the_best_of_each(tmp_path: Path) -> None:
    def lists() -> Iterator[NBestList]:
        yield NBestList(id="u1", hypotheses=(Hypothesis(text="a b"), Hypothesis(text="c")))
        yield NBestList(id="u2", hypotheses=())

    with open_writer(tmp_path / "best", "text") as writer:
        for own in lists():
            writer.write(own)
    assert (tmp_path / "best").read_text() == "u1 a b\nu2\n"
