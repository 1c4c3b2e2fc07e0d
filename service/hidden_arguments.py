"""Secrets out of the command line that everybody on the machine can list.

What `ps` shows of a process is memory of its own (Linux: /proc/PID/cmdline), which it may write to,
as database clients do with their passwords. Until then, for some tenths of a second, and in a
shell's history, they can be read all the same: files are the better place for keys.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

_SELF = Path("/proc/self")
# Places among the words behind the name in /proc/PID/stat: arg_start and arg_end, proc(5).
_ARG_START, _ARG_END = 45, 46


def hide_arguments(secrets: Iterable[str]) -> bool:
    """Overwrite each of `secrets` in this process's command line; whether that could be done."""
    try:
        words = (_SELF / "stat").read_text().rpartition(")")[2].split()
        start, end = int(words[_ARG_START]), int(words[_ARG_END])
        with (_SELF / "mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            line = memory.read(end - start)
            hidden = {secret.encode() for secret in secrets}
            shown = b"\0".join(_shown(argument, hidden) for argument in line.split(b"\0"))
            if shown != line:
                memory.seek(start)
                memory.write(shown)
    except (OSError, ValueError, IndexError):
        return False
    return True


def _shown(argument: bytes, hidden: Collection[bytes]) -> bytes:
    """An argument, of the same length; a secret may be all of it, or what an option is set to."""
    option, sign, value = argument.partition(b"=")
    if argument in hidden:
        return b"*" * len(argument)
    return option + sign + b"*" * len(value) if value in hidden and sign else argument
