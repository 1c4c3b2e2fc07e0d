"""Tuning from the command line: references and speakers of files, reports, faults."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.__main__ import main
from service.asr.formats import open_writer
from service.asr.settings import load_settings
from tests.service.asr.made_up_lists import made_up_lists


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(own) for own in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Twelve lists without references and speakers, of few words that a tiny model spells."""
    with open_writer(tmp_path / "dev.jsonl", "jsonl") as writer:
        for own in made_up_lists(12, model_knows=0.0, size=3):
            hypotheses = tuple(replace(h, word_scores={}) for h in own.hypotheses)
            writer.write(replace(own, hypotheses=hypotheses, reference=None, speaker=None))
    return tmp_path / "dev.jsonl"


def keyed(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines))
    return path


@pytest.fixture
def references(tmp_path: Path) -> Path:
    lists = made_up_lists(12, model_knows=0.0, size=3)
    return keyed(tmp_path / "text", [f"{own.id}  {own.reference}" for own in lists])


def test_references_and_speakers_of_files(
    lists: Path, references: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    speakers = keyed(tmp_path / "utt2spk", [f"u{n} s{n % 3}" for n in range(12)])
    command = ("tune", "--nbest", lists, "--reference", references, "--model", tiny_folder)
    out = tmp_path / "settings.json"
    told = run(*command, "--speakers", speakers, "--folds", 3, "--json", "--out", out)
    report = json.loads(told.stdout)
    assert (report["utterances"], report["groups"]) == (12, 3)
    settings = load_settings(out)
    assert settings.about["model"]["name"] == "tiny"
    assert settings.about["report"]["utterances"] == 12


def test_tuning_needs_references(tmp_path: Path) -> None:
    path = tmp_path / "lists.jsonl"
    path.write_text('{"id": "u", "hypotheses": [{"text": "a"}]}\n')
    assert "give --reference" in run("tune", "--nbest", path, code=1).output


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["u0 a", "u0 b"], "text, line 2: 'u0' occurs twice"),
        (["u0 a"], "there is no reference for 'u1' (11 are missing)"),
    ],
)
def test_references_that_are_not_whole_are_named(
    lists: Path, tmp_path: Path, tiny_folder: Path, lines: list[str], fault: str
) -> None:
    text = keyed(tmp_path / "text", lines)
    command = ("tune", "--nbest", lists, "--reference", text, "--model", tiny_folder)
    assert fault in run(*command, code=1).output


def test_references_by_tabs_with_others_among_them_and_in_capitals(
    lists: Path, references: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    """What is not in the lists is passed over; capitals are told, for each of them is an error."""
    command = ("tune", "--nbest", lists, "--model", tiny_folder, "--folds", 3, "--json")
    lines = [*references.read_text().replace("  ", "\t").splitlines(), "other\tof another corpus"]
    plain = run(*command, "--reference", keyed(tmp_path / "tabs", lines))
    assert json.loads(plain.stdout)["rows"]["first pass"]["wer"] < 100
    assert "not written alike" not in plain.stderr
    capitals = [line.split()[0] + line[len(line.split()[0]) :].upper() for line in lines]
    told = run(*command, "--reference", keyed(tmp_path / "capitals", capitals))
    assert "warning: references and lists are not written alike" in told.stderr
    assert json.loads(told.stdout)["rows"]["first pass"]["wer"] >= 100


def test_two_files_that_number_their_lists_alike_are_refused(
    lists: Path, references: Path, tiny_folder: Path
) -> None:
    twice = ("tune", "--nbest", lists, "--nbest", lists, "--reference", references)
    told = run(*twice, "--model", tiny_folder, code=1).output
    assert "12 ids belong to more than one list, 'u0' first" in told


def test_lists_of_one_hypothesis_have_no_gain(
    lists: Path, references: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    single = tmp_path / "single.jsonl"
    with lists.open() as file, single.open("w") as out:
        for entry in map(json.loads, file):
            out.write(json.dumps({**entry, "hypotheses": entry["hypotheses"][:1]}) + "\n")
    command = ("tune", "--nbest", single, "--reference", references, "--model", tiny_folder)
    assert "NO GAIN" in run(*command, "--folds", 3).output
