"""`rescore` and `tune` from the command line, on the shipped model: lists, lattices, faults."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks.harness import SHIPPED
from service.__main__ import main
from service.asr.formats import open_writer
from service.asr.hypotheses import NBestList
from service.cli.rescore import read_hot_words
from service.language_model import LanguageModel
from tests.service.asr.made_up_lists import made_up_lists

LISTS = [
    {
        "id": "u1",
        "reference": "i scream for ice cream",
        "hypotheses": [
            {"text": "i scream for eyes cream", "score": -10.0, "scores": {"lm": -20.0}},
            {"text": "i scream for ice cream", "score": -10.5, "scores": {"lm": -20.0}},
        ],
    },
    {"id": "u2", "hypotheses": []},
    {"id": "u3", "hypotheses": [{"text": "fine", "score": -1.0, "scores": {"lm": -2.0}}]},
]
SLF = """VERSION=1.0
UTTERANCE=u1
N=4 L=4
I=0 t=0.0
I=1 t=0.5
I=2 t=0.9
I=3 t=1.2
J=0 S=0 E=1 W=how a=-10 l=-2
J=1 S=0 E=1 W=who a=-9.5 l=-2
J=2 S=1 E=2 W=are a=-5 l=-1
J=3 S=2 E=3 W=you a=-5 l=-1
"""


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(own) for own in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    path = tmp_path / "lists.jsonl"
    path.write_text("".join(json.dumps(own) + "\n" for own in LISTS))
    return path


def test_the_best_of_each_in_their_order(lists: Path) -> None:
    result = run("rescore", "--nbest", lists)
    assert result.stdout == "u1 i scream for ice cream\nu2\nu3 fine\n"
    assert "3 lists, 3 hypotheses" in result.stderr


def test_totals_are_the_formula_s(lists: Path) -> None:
    weighed = ("--lm-weight", 2, "--length-bonus", -0.5, "--weight", "lm", 0.25)
    result = run("rescore", "--nbest", lists, *weighed, "--to", "jsonl")
    first = json.loads(result.stdout.splitlines()[0])
    with LanguageModel.load(SHIPPED) as model:
        for own in first["hypotheses"]:
            assert own["lm_logprob"] == pytest.approx(model.score(own["text"]).logprob)
            expected = own["score"] - 0.25 * 20 + 2 * own["lm_logprob"] - 0.5 * 5
            assert own["total"] == pytest.approx(expected)


def test_running_speech(lists: Path) -> None:
    result = run("rescore", "--nbest", lists, "--carry-context", "--to", "jsonl")
    last = json.loads(result.stdout.splitlines()[2])["hypotheses"][0]
    with LanguageModel.load(SHIPPED) as model:
        state = model.state("i scream for ice cream\n")
        assert last["lm_logprob"] == pytest.approx(model.score("fine", state=state).logprob)


def test_hot_words(lists: Path, tmp_path: Path) -> None:
    (tmp_path / "hot").write_text("eyes cream 100\n\n")
    result = run("rescore", "--nbest", lists, "--hot-words", tmp_path / "hot")
    assert result.stdout.startswith("u1 i scream for eyes cream\n")


@pytest.fixture
def lattice(tmp_path: Path) -> Path:
    (tmp_path / "lattices").mkdir()
    (tmp_path / "lattices" / "u1.slf").write_text(SLF)
    return tmp_path / "lattices"


def test_a_lattice_is_scored_as_its_lists_are(lattice: Path) -> None:
    read = ("rescore", "--nbest", lattice, "--format", "htk-lattice", "--to", "jsonl")
    weighed = ("--lm-weight", 2, "--weight", "lm", 0.5)
    as_lists, as_lattices = (
        json.loads(run(*read, *weighed, *how).stdout)["hypotheses"] for how in ((), ("--lattice",))
    )
    assert [own["text"] for own in as_lists] == ["how are you", "who are you"]
    for one, other in zip(as_lists, as_lattices, strict=True):
        assert one["text"] == other["text"]
        assert one["total"] == pytest.approx(other["total"], abs=1e-4)


def test_lattices_come_back(lattice: Path, tmp_path: Path) -> None:
    how = ("rescore", "--nbest", lattice, "--format", "htk-lattice", "--lattice", "--to")
    run(*how, "htk-lattice", "--out", tmp_path / "out")
    again = run("rescore", "--nbest", tmp_path / "out", "--format", "htk-lattice", "--lattice")
    assert again.stdout == "u1 how are you\n"
    run(*how, "kaldi-lattice", "--out", tmp_path / "ark")
    again = run("rescore", "--nbest", tmp_path / "ark", "--format", "kaldi-lattice")
    assert again.stdout == "u1 how are you\n"


def test_tuned_settings_are_taken(tmp_path: Path) -> None:
    """From lists to settings to the best texts."""
    with open_writer(tmp_path / "dev.jsonl", "jsonl") as writer:
        for own in _lists_without_model():
            writer.write(own)
    dev, settings = tmp_path / "dev.jsonl", tmp_path / "settings.json"
    report = run("tune", "--nbest", dev, "--out", settings, "--by-speaker", "--folds", 5)
    assert "cross-validated by 7 speakers" in report.output
    entry = json.loads(settings.read_text())
    assert entry["model"]["name"] == "en-small"
    result = run("rescore", "--nbest", dev, "--settings", settings)
    assert len(result.stdout.splitlines()) == 30


def _lists_without_model() -> list[NBestList]:
    return [
        replace(own, hypotheses=tuple(replace(h, word_scores={}) for h in own.hypotheses))
        for own in made_up_lists(30, model_knows=0.0, size=4)
    ]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--to", "kaldi"), "give --out FOLDER"),
        (("--to", "htk-lattice"), "say --lattice"),
        (("--lattice",), "needs --format htk-lattice or kaldi-lattice"),
        (("--mix", "ngram", "0.5"), "give --ngram"),
        (("--mix", "ngram", "2"), "the share is in 0..1, not 2"),
        (("--weight", "graph", "1"), "the score 'graph', which has a weight, is missing"),
        (("--format", "nemo"), "give --beam-size"),
        (("--lm-weight", "nan"), "lm_weight is no finite number: nan"),
        (("--weight", "lm", "inf"), "the weight of 'lm' is no finite number: inf"),
    ],
)
def test_refusals(lists: Path, arguments: tuple[str, ...], fault: str) -> None:
    result = CliRunner().invoke(main, ["rescore", "--nbest", str(lists), *arguments])
    assert result.exit_code != 0
    assert fault in result.output.replace("\n", " ")


def test_faults_of_a_file_are_named(lists: Path) -> None:
    with lists.open("a") as file:
        file.write('{"hypotheses": [{"text": 5}]}\n')
    result = run("rescore", "--nbest", lists, code=1)
    assert "lists.jsonl, line 4: hypotheses.0: 'text' is no string" in result.output


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("\nice nan\n", "line 2: the weight is no finite number: 'nan'"),
        ("ice 1\n2\n", "line 2: is no 'word weight'"),
        ("ice cream\n", "line 1: the weight is no finite number: 'cream'"),
    ],
)
def test_hot_words_are_refused_by_line(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "hot"
    path.write_text(text)
    with pytest.raises(ValueError, match=fault):
        read_hot_words(path)


def test_hot_words_may_be_phrases_with_tabs_and_a_mark_before_them(tmp_path: Path) -> None:
    path = tmp_path / "hot"
    path.write_text("\ufeffice\tcream \t 1.5e0\n\nscream -2\n", encoding="utf-8")
    assert read_hot_words(path) == {"ice cream": 1.5, "scream": -2.0}


def test_the_plain_command_takes_lists_of_any_scores(tmp_path: Path) -> None:
    """Without weights: a composite score alone, and Kaldi's graph cost beside the old model's."""
    (tmp_path / "beams.tsv").write_text("fine how are you\t-2.5\nfind how are you\t-2.4\n")
    beams = ("--nbest", tmp_path / "beams.tsv", "--format", "nemo", "--beam-size", 2)
    assert run("rescore", *beams).stdout == "1 fine how are you\n"
    folder = tmp_path / "kaldi"
    folder.mkdir()
    (folder / "words_text").write_text("u-1 find how are you\nu-2 fine how are you\n")
    for name in ("acwt", "lmwt.nolm", "lmwt.lmonly"):
        (folder / name).write_text("u-1 20\nu-2 20\n")
    assert run("rescore", "--nbest", folder, "--format", "kaldi").stdout == "u fine how are you\n"
