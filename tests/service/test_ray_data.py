"""A local Ray cluster, two workers, one of them killed: nothing lost, the command line's bits."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytest.importorskip("ray.data", reason="the extra `ray` is not installed (pandas, pyarrow)")

from service.__main__ import main  # noqa: E402
from service.asr.formats import open_writer  # noqa: E402
from tests.reliability.target import save_small_model  # noqa: E402
from tests.service.asr.made_up_lists import made_up_lists  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
FILES = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = save_small_model(tmp_path_factory.mktemp("models") / "small")
    root = str(Path(__file__).parents[2])
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": root}},
    )
    try:
        yield folder
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("lists")
    paths = [folder / f"part-{number}.jsonl.gz" for number in range(FILES)]
    for number, path in enumerate(paths):
        with open_writer(path, "jsonl") as writer:
            for own in made_up_lists(60, model_knows=1.0, seed=number, size=40):
                writer.write(own)
    return paths


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(own) for own in arguments])
    assert result.exit_code == code, result.output
    return result.output


def workers() -> list[int]:
    """Process ids of the job's actors."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(b"ray::") and b"_Worker" in command:
                found.append(int(entry.name))
    return found


def kill_one_at_work(out: Path, killed: list[int]) -> None:
    """Kill a worker once one file is done and others are in work."""
    for _ in range(3000):
        at_work = list(out.glob(".*unfinished*"))
        if any(own.name.startswith("part") for own in out.iterdir()) and at_work:
            for pid in workers()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                return
        time.sleep(0.02)


def test_rescoring_by_two_workers_one_of_them_killed(
    model: Path, lists: list[Path], tmp_path: Path
) -> None:
    out, killed = tmp_path / "out", list[int]()
    out.mkdir()
    killer = threading.Thread(target=kill_one_at_work, args=(out, killed))
    killer.start()
    nbest = [part for path in lists for part in ("--nbest", path)]
    told = run("rescore", *nbest, "--model", model, "--to", "jsonl", "--workers", 2, "--out", out)
    killer.join()
    assert killed, "no worker was killed: the test shows nothing"
    assert f"{FILES} of {FILES}" in told
    assert sorted(own.name for own in out.iterdir()) == [f"part-{n}.jsonl" for n in range(FILES)]
    for path in lists:
        alone = tmp_path / "alone.jsonl"
        run("rescore", "--nbest", path, "--model", model, "--to", "jsonl", "--out", alone)
        assert (out / path.with_suffix("").name).read_bytes() == alone.read_bytes()


def test_scoring_many_files(model: Path, tmp_path: Path) -> None:
    texts = [tmp_path / f"{name}.txt" for name in "abc"]
    for number, path in enumerate(texts):
        path.write_text("".join(f"the cat sat {k} {number}\n" for k in range(300)))
    out = tmp_path / "scores"
    run("score", *texts, "--model", model, "--workers", 2, "--output", out)
    for path in texts:
        alone = run("score", path, "--model", model)
        assert (out / f"{path.stem}.jsonl").read_text() == alone


def test_a_bad_file_is_named_and_the_others_are_written(
    model: Path, lists: list[Path], tmp_path: Path
) -> None:
    bad, out = tmp_path / "bad.jsonl", tmp_path / "out"
    bad.write_text('{"hypotheses": [{"text": 5}]}\n')
    arguments = ("rescore", "--nbest", bad, "--nbest", lists[0], "--model", model, "--workers", 2)
    told = run(*arguments, "--out", out, code=1)
    assert "bad.jsonl, line 1: hypotheses.0: 'text' is no string" in told
    assert (out / "part-0.txt").exists()
    bad.write_text('{"id": "u", "hypotheses": []}\n')
    told = run(*arguments, "--out", out, "--resume")
    assert "1 of 2 files were there already" in told
    assert (out / "bad.txt").read_text() == "u\n"
