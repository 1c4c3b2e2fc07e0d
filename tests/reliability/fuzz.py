"""Random and damaged inputs at every reader of foreign bytes: clean refusals, and nothing else.

    python -m tests.reliability.fuzz [--inputs 1000000] [--seed 0] [--only NAME]
    python -m tests.reliability.fuzz --coverage --only NAME

Each input is made from the seed and its number, so that a find can be made again. A reader may
accept or raise its own error; any other exception is a find, as is an input that takes more than
two seconds of processor time. The first find at each place in the code is printed with its input,
and the rest goes on. With --coverage, inputs are guided by what they reach in the code (atheris,
where it is installed).
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field

from tests.reliability.fuzz_readers import Reader, readers

_SLOW_S = 2.0
# Most readers are asked equally often; these do much for each input.
_SHARES = {"requests": 0.5, "checkpoints' weights": 0.2, "checkpoints' config.json": 0.3}


class FoundError(AssertionError):
    """An input that was neither taken nor refused; the message has it."""


@dataclass(kw_only=True)
class Tally:
    """By reader: its inputs, and those it refused; finds: the first at each place."""

    inputs: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    finds: dict[str, FoundError] = field(default_factory=dict)

    def __str__(self) -> str:
        rows = (f"{name}: {self.refused[name]} of {count}" for name, count in self.inputs.items())
        return f"{self.inputs.total()} inputs, {len(self.finds)} finds; refused: " + ", ".join(rows)


def fuzz(num_inputs: int, seed: int, only: str | None = None) -> Tally:
    """About so many inputs, divided among the readers."""
    tally = Tally()
    with readers() as known:
        chosen = {name: reader for name, reader in known.items() if only in (None, name)}
        shares = {name: _SHARES.get(name, 1.0) for name in chosen}
        for name, reader in chosen.items():
            count = round(num_inputs * shares[name] / sum(shares.values()))
            _fuzz_one(name, reader, count, seed, tally)
    return tally


def _fuzz_one(name: str, reader: Reader, count: int, seed: int, tally: Tally) -> None:
    for number in range(count):
        draw = random.Random(f"{seed}/{name}/{number}")
        data = reader.damage(draw, draw.choice(reader.seeds))
        try:
            tally.refused[name] += not attempt(reader, data)
        except FoundError as found:
            if (place := f"{name}: {_place(found)}") not in tally.finds:
                found.args = (f"{name}, input {number} of seed {seed}: {found}",)
                tally.finds[place] = found
                print(*traceback.format_exception(found), sep="", file=sys.stderr, flush=True)
        tally.inputs[name] += 1


def _place(found: FoundError) -> str:
    """Where the fault was raised."""
    cause = found.__cause__
    if cause is None:
        return "slow"
    last = traceback.extract_tb(cause.__traceback__)[-1]
    return f"{type(cause).__name__} at {last.filename}:{last.lineno}"


def attempt(reader: Reader, data: bytes) -> bool:
    """Whether the reader took it; FoundError where it did neither that nor refuse."""
    began = time.process_time()
    try:
        reader.read(data)
        taken = True
    except reader.refusals:
        taken = False
    except Exception as error:
        raise FoundError(f"{data[:2000]!r}") from error
    if (took := time.process_time() - began) > _SLOW_S:
        raise FoundError(f"took {took:.1f} s: {data[:2000]!r}")
    return taken


def fuzz_by_coverage(name: str, num_inputs: int) -> None:
    """One reader, by atheris; ends the process."""
    import atheris

    with readers() as known:
        reader = known[name]

        def read(data: bytes) -> None:
            attempt(reader, data)

        def mutate(data: bytes, max_size: int, seed: int) -> bytes:
            draw = random.Random(seed)
            own: bytes = atheris.Mutate(data, max_size)
            return own if draw.random() < 0.5 else _some(draw, reader, data)[:max_size]

        atheris.instrument_all()
        atheris.Setup(
            [sys.argv[0], f"-atheris_runs={num_inputs}", "-max_len=4096"],
            read,
            custom_mutator=mutate,
        )
        atheris.Fuzz()


def _some(draw: random.Random, reader: Reader, data: bytes) -> bytes:
    """What the fuzzer found worth keeping, or a good input, damaged."""
    try:
        return reader.damage(draw, data if draw.random() < 0.7 else draw.choice(reader.seeds))
    except ValueError:  # no JSON
        return reader.damage(draw, draw.choice(reader.seeds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one reader, by its name")
    parser.add_argument("--coverage", action="store_true", help="guided by coverage (atheris)")
    given = parser.parse_args()
    if given.coverage:
        if given.only is None:
            parser.error("--coverage takes one reader: name it with --only")
        fuzz_by_coverage(given.only, given.inputs)
        return
    started = time.perf_counter()
    tally = fuzz(given.inputs, given.seed, given.only)
    print(f"{tally}; {time.perf_counter() - started:.0f} s")
    if tally.finds:
        sys.exit(1)


if __name__ == "__main__":
    main()
