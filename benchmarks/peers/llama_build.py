"""llama-server, built once from the sources that llama-cpp-python carries.

Everything stays in one folder: an environment with cmake and ninja, the source distribution, the
build. A C++ compiler must be there; nothing else is asked of the machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

# A release of llama-cpp-python, which pins a commit of llama.cpp.
VERSION = "0.3.36"
_TARGET = "llama-server"
# For this very processor, optimised, one file; of the program only what is measured. OpenMP has
# nothing to do where there is one thread.
_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_NATIVE": "ON",
    "GGML_OPENMP": "OFF",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_OPENSSL": "OFF",
}


def add_cache_option(parser: argparse.ArgumentParser) -> None:
    """Where llama-server is built and kept: the user's cache, or `--cache`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lstm-serve"
    parser.add_argument(
        "--cache", type=Path, default=cache, help=f"where llama-server is built ({cache})"
    )


def llama_server(cache: Path) -> Path:
    """The program under `cache`, built where it is not there yet: minutes, and the package index.

    Raises RuntimeError where there is no compiler, CalledProcessError where a step fails.
    """
    folder = cache / f"llama-cpp-python-{VERSION}"
    program = folder / _TARGET
    if not program.exists():
        if shutil.which("c++") is None:
            raise RuntimeError("llama-server has to be built, and there is no C++ compiler (c++)")
        built = _build(folder)
        built.replace(program)  # last, so that a build cut short is done again
    return program


def _build(folder: Path) -> Path:
    """The program, still in its build folder."""
    environment, build = folder / "env", folder / "build"
    _run([sys.executable, "-m", "venv", environment])
    pip = [str(environment / "bin" / "pip"), "--disable-pip-version-check", "--quiet"]
    _run([*pip, "install", "cmake", "ninja"])
    package = "llama-cpp-python"
    download = ["download", "--no-deps", "--no-binary", package, "--dest", str(folder)]
    _run([*pip, *download, f"{package}=={VERSION}"])
    (archive,) = folder.glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    source = folder / archive.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"
    tools = environment / "bin"
    options = [f"-D{name}={value}" for name, value in _OPTIONS.items()]
    ninja = f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}"
    _run([tools / "cmake", "-S", source, "-B", build, "-G", "Ninja", ninja, *options])
    _run(["nice", tools / "cmake", "--build", build, "--target", _TARGET])
    return build / "bin" / _TARGET


def _run(command: Sequence[str | Path]) -> None:
    """Output goes to standard error: standard output ends in the benchmark's line."""
    print("+", *command, file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=sys.stderr)
