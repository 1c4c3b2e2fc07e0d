"""Which file becomes which, before any cluster is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from service.__main__ import main
from service.cli.cluster_options import plan


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a" / name for name in ("one.jsonl.gz", "two.jsonl", "three")]
    paths[0].parent.mkdir()
    for path in paths[:2]:
        path.write_text("")
    paths[2].mkdir()
    return paths


def test_a_file_keeps_its_name(sources: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert plan(sources, out, ".txt", resume=False) == [
        (source, out / name)
        for source, name in zip(sources, ("one.txt", "two.txt", "three.txt"), strict=True)
    ]


def test_what_is_there_is_kept_only_where_that_is_said(sources: list[Path], tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("done")
    with pytest.raises(ValueError, match=r"two\.txt is there already.*--resume"):
        plan(sources, tmp_path, ".txt", resume=False)
    kept = plan(sources, tmp_path, ".txt", resume=True)
    assert [source.name for source, _ in kept] == ["one.jsonl.gz", "three"]


@pytest.mark.parametrize("source", [Path("-"), Path("no/such/file")])
def test_standard_input_and_what_is_not_there(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"standard streams are none|does not exist"):
        plan([source], tmp_path, ".txt", resume=False)


def test_two_files_of_one_name(sources: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "one.jsonl"
    other.write_text("")
    with pytest.raises(ValueError, match=r"would both become"):
        plan([sources[0], other], tmp_path / "out", ".txt", resume=False)


def test_a_manifest_is_of_one_file(tmp_path: Path) -> None:
    nemo = ("--format", "nemo", "--beam-size", "2", "--manifest", str(tmp_path))
    arguments = ["rescore", "--nbest", str(tmp_path), *nemo, "--workers", "2"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "--manifest is of one file" in result.output
