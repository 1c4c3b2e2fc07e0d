"""Random and damaged inputs at every reader of foreign bytes: clean refusals, and nothing else.

    python -m tests.reliability.fuzz --inputs 1000000 [--seed 0]

Each input is made from the seed and its number, so that a find can be made again. A reader may
accept or raise its own error; any other exception is a find, printed with the number.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.checkpoint import CheckpointError
from models.tokenizer import Tokenizer
from service.http.errors import ApiError
from service.http.json_body import parse_json
from service.keys import KeyFileError, read_key_file
from service.served_model import read_facts
from service.state_token import InvalidStateError, State, StateCodec
from tests.service.conftest import CORPUS

Reader = Callable[[random.Random], None]
_PIECES = (
    b'{"texts": ["a"], "bos": true}', b"[" * 60, b"]" * 60, b'"\\ud83d"', b"NaN", b"1e999", b"-",
    b'{"a":', b"null", b"\xff\xfe", b"\x00", b'"\\u0000"', b"9" * 300, b",", b" ", b'"',
)  # fmt: skip


def damaged(draw: random.Random, data: bytes) -> bytes:
    """A few bytes changed, lost, doubled, or replaced by a piece that has hurt before."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 6)):
        place = draw.randrange(len(changed) + 1)
        match draw.randrange(4):
            case 0:
                changed[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                del changed[place : place + draw.randint(1, 20)]
            case 2:
                changed[place:place] = draw.choice(_PIECES)
            case _:
                changed[place:place] = changed[place : place + draw.randint(1, 50)]
    return bytes(changed)


@contextmanager
def readers() -> Iterator[dict[str, tuple[Reader, type[Exception]]]]:
    """By name: what is fuzzed, and the error by which it refuses."""
    tokenizer = Tokenizer.train(CORPUS * 4, vocab_size=360, character_coverage=1.0)
    codec = StateCodec(b"k" * 32)
    state = State(engine_state=None, pending="wor", continuation=True)
    token = codec.seal(state, digest="d", state_size=4).encode()
    body = json.dumps({"texts": CORPUS, "context": "a", "state": None, "bos": True}).encode()
    config = b'{"format": "lstm-serve/checkpoint", "format_version": 1, "digest": "d", "files": {}}'
    line = b"alice use,observe sha256:" + b"0" * 64 + b"\n"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer.save(folder / "tokenizer.model")

        def read_text(draw: random.Random) -> None:
            text = damaged(draw, draw.choice(CORPUS).encode()).decode("utf-8", "replace")
            assert tokenizer.decode(tokenizer.encode(text)) == text

        def read_state(draw: random.Random) -> None:
            sent = damaged(draw, token).decode("latin-1")
            opened = codec.open(sent, digest="d", state_size=4)
            assert sent.encode() == token, "a damaged state was opened"
            assert opened == state

        def read_config(draw: random.Random) -> None:
            (folder / "config.json").write_bytes(damaged(draw, config))
            read_facts(folder)

        def read_keys(draw: random.Random) -> None:
            (folder / "keys").write_bytes(damaged(draw, line * 2))
            read_key_file(folder / "keys")

        yield {
            "JSON bodies": (lambda draw: _read_body(damaged(draw, body)), ApiError),
            "tokenizer": (read_text, ValueError),
            "state tokens": (read_state, InvalidStateError),
            "checkpoints": (read_config, CheckpointError),
            "key files": (read_keys, KeyFileError),
        }


def _read_body(body: bytes) -> None:
    parse_json(body)


def fuzz(num_inputs: int, seed: int) -> dict[str, int]:
    """How many inputs each reader refused; AssertionError for the first find."""
    refused: dict[str, int] = {}
    with readers() as all_readers:
        for name, (read, refusal) in all_readers.items():
            refused[name] = 0
            for number in range(num_inputs // len(all_readers)):
                draw = random.Random(f"{seed}/{name}/{number}")
                try:
                    read(draw)
                except refusal:
                    refused[name] += 1
                except Exception as error:
                    raise AssertionError(f"{name}, input {number} of seed {seed}") from error
    return refused


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.perf_counter()
    refused = fuzz(given.inputs, given.seed)
    seconds = time.perf_counter() - started
    print(f"{given.inputs} inputs in {seconds:.0f} s, no find; refused: {refused}")


if __name__ == "__main__":
    main()
