"""Memory does not grow with the corpus: the peak of a real training process at 1x and 20x."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.small_runs import train_arguments

ROOT = Path(__file__).resolve().parents[2]
BYTES = 3_000_000
# The command, in a process that tells its largest resident size in kB.
MEASURED = """
import sys
from pathlib import Path
from training.__main__ import main

status = main(sys.argv[1:])
print("peak", Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
sys.exit(status)
"""


def write_text(path: Path, size: int) -> Path:
    """Lines of words from a long list; none is like another."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(5000)]
    with path.open("w") as file:
        while file.tell() < size:
            file.write(" ".join(draw.choices(words, k=draw.randint(5, 30))) + "\n")
    return path


def peak_megabytes(text: Path, valid: Path, out: Path) -> float:
    sets = ("tokenizer.sample_bytes=300000", "loop.batch_size=64", "loop.max_tokens=40000")
    arguments = train_arguments({"train": text, "valid": valid}, out, sets=sets)
    arguments[arguments.index("--processes") + 1] = "2"
    command = [sys.executable, "-c", MEASURED, *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return int(result.stdout.split()[-1]) / 1000


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_twenty_times_the_text_takes_no_more_memory(tmp_path: Path) -> None:
    valid = write_text(tmp_path / "valid.txt", 50_000)
    peaks = []
    for times in (1, 20):
        text = write_text(tmp_path / f"{times}.txt", times * BYTES)
        peaks.append(peak_megabytes(text, valid, tmp_path / f"model-{times}"))
    print(f"peak: {peaks[0]:.0f} MB for {BYTES / 1e6:.0f} MB of text, {peaks[1]:.0f} MB for 20x")
    # The text alone would add 57 MB, its ids as a list eight times that.
    assert peaks[1] < peaks[0] + 20
