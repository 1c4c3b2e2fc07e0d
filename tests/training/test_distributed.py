"""torchrun: the same loss curve as one process with the same global batch; one process writes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import load_checkpoint
from tests.training.small_runs import train_arguments
from training.__main__ import main
from training.distributed import Workers

ROOT = Path(__file__).resolve().parents[2]
SETS = ("loop.max_tokens=6000", "loop.eval_tokens=2000", "averaging.kind=exponential")

PATIENT = pytest.mark.timeout(400)  # four processes that load torch, on a machine that may be busy

# The command, in a process that is asked to end after twenty steps.
INTERRUPTED = """
import os, signal, sys
from training.__main__ import main
from training.learner import Learner

step = Learner.step

def counted(self):
    if self.state.progress.step == 19:  # ends after the 20th step, with the log's first mean
        os.kill(os.getpid(), signal.SIGINT)
    return step(self)

Learner.step = counted
sys.exit(main(sys.argv[1:]))
"""


def run_alone(files: dict[str, Path], out: Path, *sets: str) -> None:
    assert main(train_arguments(files, out, sets=(*SETS, *sets))) == 0


# A worker that dies in the first round, after the run was saved; torchrun starts all of them again.
DIES = """
import os, signal, sys
from training.__main__ import main
from training.learner import Learner

step = Learner.step

def counted(self):
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if first and os.environ["RANK"] == "1" and self.state.progress.step == 30:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self)

Learner.step = counted
sys.exit(main(sys.argv[1:]))
"""


def run_two(files: dict[str, Path], out: Path, *options: str, sets: tuple[str, ...] = ()) -> str:
    """Two launchers of one process each, as on two machines, that call the first by two names."""
    arguments = train_arguments(files, out, *options, sets=(*SETS, *sets))
    return launch(("127.0.0.1", "localhost"), ["-m", "training", *arguments])


def launch(addresses: tuple[str, str], program: list[str], *options: str) -> str:
    """What the first node prints; node k reaches the first one at `addresses[k]`."""
    family = socket.AF_INET6 if ":" in addresses[0] else socket.AF_INET
    with socket.socket(family) as free:
        free.bind((addresses[0], 0))
        port = free.getsockname()[1]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    nodes = []
    for rank, address in enumerate(addresses):
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2"]
        command += [f"--node-rank={rank}", "--nproc-per-node=1", *options]
        command += [f"--master-addr={address}", f"--master-port={port}", *program]
        nodes.append(
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        said = [node.communicate(timeout=300) for node in nodes]
    finally:
        for node in nodes:
            node.terminate()  # torchrun takes its workers along
            node.communicate()
    assert [node.returncode for node in nodes] == [0, 0], said
    return "".join(out for out, _ in said)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def curve(out: Path, key: str) -> list[float]:
    lines = (out.with_name(out.name + ".run") / "metrics.jsonl").read_text().splitlines()
    return [record[key] for record in map(json.loads, lines) if key in record]


@PATIENT
def test_two_processes_take_the_path_of_one(sentences: dict[str, Path], tmp_path: Path) -> None:
    run_alone(sentences, tmp_path / "one")
    printed = run_two(sentences, tmp_path / "two")
    for key in ("loss", "grad_norm", "valid_loss", "lr"):
        assert curve(tmp_path / "two", key) == pytest.approx(curve(tmp_path / "one", key), rel=1e-4)
    one, two = (load_checkpoint(tmp_path / name).weights for name in ("one", "two"))
    for name, tensor in one.items():
        assert np.abs(two[name] - tensor).max() < 1e-3 * np.abs(tensor).max()
    assert printed.count("checkpoint:") == 1, "only one process speaks and writes"


@pytest.mark.slow
@pytest.mark.skipif(not has_ipv6(), reason="this machine has no loopback of IPv6")
@PATIENT
def test_nodes_may_meet_over_ipv6(sentences: dict[str, Path], tmp_path: Path) -> None:
    arguments = train_arguments(sentences, tmp_path / "two", sets=SETS)
    launch(("::1", "::1"), ["-m", "training", *arguments])
    run_alone(sentences, tmp_path / "one")
    assert curve(tmp_path / "two", "loss") == pytest.approx(
        curve(tmp_path / "one", "loss"), rel=1e-4
    )


@pytest.mark.slow
@PATIENT
def test_torchrun_starts_a_run_again_that_lost_a_process(
    sentences: dict[str, Path], tmp_path: Path
) -> None:
    """`--max-restarts` and `--resume` together: all go on from the last save."""
    (tmp_path / "dies.py").write_text(DIES)
    sets = (*SETS, "loop.save_seconds=0.01")
    arguments = train_arguments(sentences, tmp_path / "two", "--resume", sets=sets)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["--max-restarts=1", str(tmp_path / "dies.py"), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "nothing to resume" in done.stdout, "the first round began from nothing"
    assert done.stdout.count("nothing to resume") == 1, "the second did not"
    run_alone(sentences, tmp_path / "one")
    assert curve(tmp_path / "two", "loss") == pytest.approx(
        curve(tmp_path / "one", "loss"), rel=1e-4
    )


@pytest.mark.slow
@PATIENT
def test_a_run_goes_on_with_another_number_of_processes(
    sentences: dict[str, Path], tmp_path: Path
) -> None:
    """The saved state is that of all streams, whoever reads them."""
    run_alone(sentences, tmp_path / "whole")
    arguments = train_arguments(sentences, tmp_path / "moved", sets=SETS)
    command = [sys.executable, "-c", INTERRUPTED, *arguments]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 130
    run_two(sentences, tmp_path / "moved", "--resume")
    assert curve(tmp_path / "moved", "loss") == pytest.approx(
        curve(tmp_path / "whole", "loss"), rel=1e-4
    )


@pytest.mark.slow
@PATIENT
def test_masked_losses_are_shared_by_what_counts(tmp_path: Path) -> None:
    """Processes see different numbers of the assistant's tokens, and must weigh them alike."""
    files = {}
    for name, count in (("train", 400), ("valid", 60)):
        lines = [
            {"role": "user", "content": f"say {n % 7} of {'long ' * (n % 5)}"} for n in range(count)
        ]
        replies = [
            {"role": "assistant", "content": f"{n % 7} {'very ' * (n % 3)} well"}
            for n in range(count)
        ]
        files[name] = tmp_path / f"{name}.jsonl"
        turns = zip(lines, replies, strict=True)
        files[name].write_text("".join(json.dumps({"turns": pair}) + "\n" for pair in turns))
    sets = ("chat.loss_on=assistant", "tokenizer.vocab_size=285", "loop.batch_size=4")
    run_alone(files, tmp_path / "one", *sets)
    run_two(files, tmp_path / "two", sets=sets)
    for key in ("loss", "grad_norm", "valid_loss"):
        assert curve(tmp_path / "two", key) == pytest.approx(curve(tmp_path / "one", key), rel=1e-4)


def test_uneven_shares_are_refused() -> None:
    workers = Workers(1, 3, torch.device("cpu"))
    assert workers.share(6) == slice(2, 4)
    with pytest.raises(ValueError, match="batch_size 8 cannot be shared evenly by 3 processes"):
        workers.share(8)


def test_alone_nothing_is_exchanged() -> None:
    workers, tensor = Workers(0, 1, torch.device("cpu")), torch.ones(2, 3)
    assert workers.sum([1.0, 2.0]) == [1.0, 2.0]
    assert workers.gather(tensor, -2) is tensor
    assert workers.share(5) == slice(0, 5)
    workers.wait()
