"""A copy of the checkout in which a page's commands are typed, with small files of the named kinds.

What a page types is run as it stands. Only where it would train for hours or measure for minutes
does the `python` of this place add a size behind it (`SIZED`).
"""

from __future__ import annotations

import json
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from tests.live_server import announced_address
from tests.training.small_runs import write_sentences

ROOT = Path(__file__).parents[1]
_COPIED = (
    *("Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml", "mkdocs.yml"),
    *("benchmarks", "deploy", "docs", "examples", "lstm_serve", "models", "service", "tests"),
    "training",
)
_GRACE_S = 60

# Standing in for the reader's: these paths would be outside the copy, or stand for any value.
_SUBSTITUTES = {"/srv/": "srv/", "KEY=VALUE": "loop.seed=1"}

_OUT = re.compile(r"(?:--out |OUT=|\"my-[\w.-]+\", \")([\w/.-]+)")

_SIZES = (
    "loop.max_tokens=3000 loop.eval_tokens=1000 loop.valid_limit=1000 loop.batch_size=8 "
    "loop.bptt=16"
)
_VOCABULARY = "tokenizer.vocab_size=290"
SIZED = f"""#!/usr/bin/env bash
case "$1 $2 ${{3:-}}" in
"-m training train")
    set -- "$@" --set {_SIZES}
    [[ " $* " == *" --init-from "* ]] || set -- "$@" {_VOCABULARY} ;;
"-m training adapt") set -- "$@" --minutes 0.02 ;;
"-m benchmarks."*)
    [[ " $* " == *" --help "* || "$2" == *.report ]] || set -- "$@" --quick ;;
esac
exec {sys.executable} "$@"
"""
_PROGRAMS = {
    "python": SIZED,
    "lstm-serve": 'exec "${0%/*}/python" -m service "$@"',
    "lstm-train": 'exec "${0%/*}/python" -m training "$@"',
    "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@" --set {_SIZES} {_VOCABULARY}',
}


class Workbench:
    """The copy, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.run", "build")
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy2(source, folder / name)
        self._install()
        self._write_texts()
        self._write_lists()

    def _install(self) -> None:
        """Environments as make would have made them, with the tests' own packages."""
        programs = folder_of(self.folder / ".venv-dev" / "bin")
        for name, script in _PROGRAMS.items():
            text = script if script.startswith("#!") else f"#!/usr/bin/env bash\n{script}\n"
            (programs / name).write_text(text, "utf-8")
            (programs / name).chmod(0o755)
        serve = folder_of(self.folder / ".venv")
        for part in ("bin", "lib", "pyvenv.cfg"):
            (serve / part).symlink_to(Path(sys.prefix) / part)
        for environment in (serve, programs.parent):
            for stamp in (".created", ".torch", ".installed"):
                (environment / stamp).touch()

    def _write_texts(self) -> None:
        corpora = folder_of(self.folder / "wikitext-2")
        texts = {"my-text": 3000, "held-out": 60, "my-domain": 300, "domain": 300, "test": 40}
        texts |= {"input": 3000, "part-1": 20, "part-2": 20}
        texts |= {f"wikitext-2/{part}": 200 for part in ("train", "valid", "test")}
        for seed, (name, count) in enumerate(texts.items()):
            write_sentences(self.folder / f"{name}.txt", count, seed)
        for part in ("train", "valid", "test"):
            text = (corpora / f"{part}.txt").read_bytes()
            (corpora / f"{part}.txt.xz").write_bytes(lzma.compress(text))
        (self.folder / "names.txt").write_text("moon\nriver\n", "utf-8")
        novels = write_sentences(self.folder / "novels.txt", 30_000, 9).read_bytes()
        (self.folder / "novels.txt.xz").write_bytes(lzma.compress(novels))
        said = (self.folder / "my-text.txt").read_text("utf-8").splitlines()
        for first, name in enumerate(("dialogues", "held-out")):
            spoken = zip(cycle(("user", "assistant")), said[200 * first :][:200], strict=False)
            turns = [{"role": role, "content": content} for role, content in spoken]
            lines = (json.dumps({"turns": turns[k : k + 4]}) + "\n" for k in range(0, 200, 4))
            (self.folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
        prepared = folder_of(self.folder / "runs" / "english")
        (prepared / "train.sources").write_text("my-text.txt domain.txt@lines\n", "utf-8")
        (prepared / "valid.sources").write_text("held-out.txt\n", "utf-8")
        for place in ("runs/mine", "srv/models/mine"):
            shutil.copytree(self.folder / "models/pretrained/en-small", self.folder / place)

    def _write_lists(self) -> None:
        sample = json.loads((ROOT / "service/static/sample_nbest.json").read_text("utf-8"))
        lines = []
        for entry in sample:
            for hypothesis in entry["hypotheses"]:
                hypothesis["scores"] = {"lm": hypothesis["scores"]["ngram"]}
            lines.append(json.dumps(entry | {"reference": entry.pop("ref")}) + "\n")
        for name in ("dev", "test", "accented", "librispeech", "part-1", "part-2"):
            marked = [line.replace('"id": "', f'"id": "{name}-') for line in lines]
            (self.folder / f"{name}.jsonl").write_text("".join(marked), "utf-8")
            subprocess.run(["gzip", "--keep", f"{name}.jsonl"], cwd=self.folder, check=True)
        lattices = folder_of(self.folder / "lattices")
        (lattices / "one.lat").write_text(_LATTICE, "utf-8")

    def type(self, command: str) -> str:
        """Run one line as a reader would; it must succeed. What it printed."""
        for shown, meant in _SUBSTITUTES.items():
            command = command.replace(shown, meant)
        for out in _OUT.findall(command):  # another way to the same end may have stood before
            shutil.rmtree(self.folder / f"{out}.run", ignore_errors=True)
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            if serves(command):
                announced_address(process)
                os.killpg(process.pid, signal.SIGTERM)
            said, _ = process.communicate(timeout=None if not serves(command) else _GRACE_S)
            allowed = (0, 2, -signal.SIGTERM, 128 + signal.SIGTERM) if serves(command) else (0,)
            assert process.returncode in allowed, f"{command}\n{said}"
            return said
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        kept.pop("MAKEFLAGS", None)
        path = f"{self.folder / '.venv-dev' / 'bin'}:{kept['PATH']}"
        return kept | {"PATH": path, "PORT": "0", "LSTM_SERVE_PORT": "0", "no_proxy": "*"}


def serves(command: str) -> bool:
    """Whether a command goes on until it is stopped."""
    return any(part in command for part in ("make serve", "lstm-serve serve", "own_text.sh"))


def folder_of(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def logical_lines(script: str) -> Iterator[str]:
    """The commands of a block: comments and prompts off, continued lines joined."""
    for line in script.replace("\\\n", " ").splitlines():
        command = re.sub(r"(^|\s+)#\s.*", "", line).strip()
        if command:
            yield command


_LATTICE = """VERSION=1.0
UTTERANCE=one
base=2.718281828
lmscale=1.0
N=5 L=6
I=0 t=0.00
I=1 t=0.20
I=2 t=0.50
I=3 t=0.90
I=4 t=1.10
J=0 S=0 E=1 W=!NULL a=0.0 l=0.0
J=1 S=1 E=2 W=ice a=-10.5 l=-4.0
J=2 S=1 E=2 W=eyes a=-10.1 l=-5.0
J=3 S=2 E=3 W=cream a=-12.0 l=-3.0
J=4 S=2 E=3 W=scream a=-11.6 l=-5.5
J=5 S=3 E=4 W=!NULL a=0.0 l=0.0
"""
