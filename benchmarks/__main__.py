"""The benchmarks of speed in turn, each in a process of its own: `python -m benchmarks`.

`benchmarks.peers`, which builds another program first, and `benchmarks.growth` run by name.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.harness import PROJECT, new_parser, parse

BENCHMARKS = (
    "engine",
    "scoring",
    "rescoring",
    "bulk",
    "http",
    "promises",
    "profile",
    "startup",
    "training",
)


def run_all() -> int:
    """0 where all of them ended well."""
    parser = new_parser("benchmarks", __doc__)
    options = parse(parser, None)
    arguments = [f"--{name}" for name in ("quick", "save") if getattr(options, name)]
    failed = []
    for name in BENCHMARKS:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
        if subprocess.run(command, cwd=PROJECT, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


sys.exit(run_all())
