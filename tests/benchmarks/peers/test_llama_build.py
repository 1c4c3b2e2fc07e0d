"""llama-server is built once; the build, which takes minutes and the package index, is played."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.peers import llama_build
from benchmarks.peers.llama_build import VERSION, llama_server

STEM = f"llama_cpp_python-{VERSION}"


class Played:
    """Does what each step would leave behind, and keeps the commands."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    def __call__(self, command: Sequence[str | Path]) -> None:
        words = [str(word) for word in command]
        self.commands.append(words)
        if "download" in words:
            folder = Path(words[words.index("--dest") + 1])
            source = folder / "packed" / STEM / "vendor" / "llama.cpp"
            source.mkdir(parents=True)
            (source / "CMakeLists.txt").write_text("project(llama)")
            with tarfile.open(folder / f"{STEM}.tar.gz", "w:gz") as archive:
                archive.add(folder / "packed" / STEM, STEM)
        elif "--build" in words:
            program = Path(words[words.index("--build") + 1]) / "bin" / "llama-server"
            program.parent.mkdir(parents=True)
            program.write_text("program")


@pytest.fixture(name="played")
def _played(monkeypatch: pytest.MonkeyPatch) -> Played:
    played = Played()
    monkeypatch.setattr(llama_build, "_run", played)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    return played


def test_it_is_built_once(played: Played, tmp_path: Path) -> None:
    program = llama_server(tmp_path)
    assert program.read_text() == "program"
    steps = len(played.commands)
    assert llama_server(tmp_path) == program
    assert len(played.commands) == steps


def test_it_is_built_from_the_unpacked_sources(played: Played, tmp_path: Path) -> None:
    llama_server(tmp_path)
    (configure,) = (words for words in played.commands if "-S" in words)
    source = Path(configure[configure.index("-S") + 1])
    assert (source / "CMakeLists.txt").read_text() == "project(llama)"
    assert "-DGGML_NATIVE=ON" in configure
    assert "-DCMAKE_BUILD_TYPE=Release" in configure


def test_a_build_cut_short_is_done_again(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: Sequence[str | Path]) -> None:
        if "--build" in command:
            raise KeyboardInterrupt
        played(command)

    monkeypatch.setattr(llama_build, "_run", fail)
    with pytest.raises(KeyboardInterrupt):
        llama_server(tmp_path)
    again = tmp_path / f"llama-cpp-python-{VERSION}" / "packed"
    again.rename(tmp_path / "first")
    monkeypatch.setattr(llama_build, "_run", played)
    assert llama_server(tmp_path).exists()


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"no C\+\+ compiler"):
        llama_server(tmp_path)
