"""Jobs of rescoring, as the command line and a cluster run them: what goes together, files in
their order, lists and lattices out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.asr.formats import open_writer, read_lists
from service.asr.hypotheses import LM, Hypothesis, NBestList
from service.asr.lattice_rescoring import RescoringOptions
from service.asr.rescoring_job import RescoringJob, rescore_file
from service.asr.settings import Mixture, RescoringSettings
from service.language_model import LanguageModel

SETTINGS = RescoringSettings(lm_weight=1.0, weights={LM: 1.0})
SLF = "N=3 L=3\nI=0\nI=1\nI=2\nJ=0 S=0 E=1 W=ab a=-9\nJ=1 S=0 E=1 W=a a=-1\nJ=2 S=1 E=2 W=c\n"


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Iterator[LanguageModel]:
    with LanguageModel.load(tiny_folder) as loaded:
        yield loaded


def write(path: Path, ids: Iterable[str]) -> Path:
    with open_writer(path, "jsonl") as writer:
        for id in ids:
            hypotheses = [
                Hypothesis(text=text, score=-score, scores={LM: -1.0})
                for text, score in (("the cat", 900.0), ("a dog", 1.0), (f"dog {id}", 500.0))
            ]
            writer.write(NBestList(id=id, hypotheses=tuple(hypotheses)))
    return path


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"output": "kaldi-lattice"}, "writes lattices: say --lattice"),
        ({"lattice": RescoringOptions()}, "needs --format htk-lattice or kaldi-lattice"),
        (
            {
                "lattice": RescoringOptions(),
                "form": "htk-lattice",
                "settings": RescoringSettings(text_form="asr"),
            },
            "--text-form is for lists",
        ),
        (
            {
                "lattice": RescoringOptions(),
                "form": "htk-lattice",
                "settings": RescoringSettings(mixture=Mixture("ngram", 0.5)),
            },
            "needs --ngram",
        ),
        ({"carries_context": True, "ngram": Path("x")}, "goes with the model alone"),
        (
            {
                "carries_context": True,
                "settings": RescoringSettings(mixture=Mixture("ngram", 0.5)),
            },
            "goes with the model alone",
        ),
    ],
)
def test_what_cannot_go_together_is_refused_before_anything_is_read(
    fields: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        RescoringJob(**fields)


def test_files_one_after_another_the_best_of_each_and_everyone_watched(
    model: LanguageModel, tmp_path: Path
) -> None:
    first, second = write(tmp_path / "1.jsonl", "ab"), write(tmp_path / "2.jsonl.gz", ["c"])
    seen: list[str] = []

    def watch(lists: Iterable[NBestList]) -> Iterator[NBestList]:
        for own in lists:
            seen.append(own.id)
            yield own

    job = RescoringJob(settings=SETTINGS, output="jsonl", top=2)
    job.run(model, [first, second], tmp_path / "out.jsonl", watch)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [own["id"] for own in found] == seen == ["a", "b", "c"]
    for own in found:
        assert [h["text"] for h in own["hypotheses"]] == ["a dog", f"dog {own['id']}"]
        totals = [h["total"] for h in own["hypotheses"]]
        assert totals == sorted(totals, reverse=True)


def test_lists_without_weights_are_weighed_by_what_the_first_brings(model: LanguageModel) -> None:
    lists = [
        NBestList(id="none", hypotheses=()),
        NBestList(id="a", hypotheses=(Hypothesis(text="a dog", score=-2.0),)),
    ]
    job = RescoringJob(untuned={"length_bonus": 3.0})
    empty, ranked = job.rank(model, None, lists)
    assert empty.id == "none"
    told = ranked.hypotheses[0].extra
    assert told["total"] == pytest.approx(-2 + 0.5 * told["lm_logprob"] + 2 * 3)
    assert list(job.rank(model, None, [])) == []


def test_running_speech_is_ranked_behind_what_was_said(
    model: LanguageModel, tmp_path: Path
) -> None:
    path = write(tmp_path / "lists.jsonl", "ab")
    RescoringJob(settings=SETTINGS, output="jsonl", carries_context=True).run(
        model, [path], tmp_path / "out"
    )
    _, second = read_lists(tmp_path / "out", "jsonl")
    state = model.state("a dog\n")
    best = second.hypotheses[0]
    assert best.extra["lm_logprob"] == pytest.approx(model.score("a dog", state=state).logprob)


@pytest.mark.parametrize("output", ["htk-lattice", "kaldi-lattice", "text"])
def test_lattices_come_out_as_lattices_or_as_lists(
    model: LanguageModel, tmp_path: Path, output: str
) -> None:
    (tmp_path / "u.slf").write_text(SLF)
    job = RescoringJob(
        form="htk-lattice", settings=SETTINGS, lattice=RescoringOptions(), output=output
    )
    rescore_file(model, tmp_path / "u.slf", tmp_path / "out", job)
    if output == "text":
        assert (tmp_path / "out").read_text() == "u a c\n"
    else:
        (again,) = read_lists(tmp_path / "out", output)
        assert again.hypotheses[0].text == "a c"


def test_lattices_of_many_files_are_not_for_standard_output(
    model: LanguageModel, tmp_path: Path
) -> None:
    (tmp_path / "u.slf").write_text(SLF)
    job = RescoringJob(form="htk-lattice", lattice=RescoringOptions(), output="htk-lattice")
    with pytest.raises(ValueError, match="give --out FOLDER"):
        job.run(model, [tmp_path / "u.slf"], Path("-"))


def test_a_bad_line_ends_the_job_and_leaves_the_model_whole(
    model: LanguageModel, tmp_path: Path
) -> None:
    path = write(tmp_path / "lists.jsonl", map(str, range(2000)))
    with path.open("a") as file:
        file.write("{\n")
    with pytest.raises(ValueError, match=r"lists\.jsonl, line 2001: is no JSON"):
        RescoringJob(settings=SETTINGS).run(model, [path], tmp_path / "out")
    assert model.score("the cat").logprob < 0
