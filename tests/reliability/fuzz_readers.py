"""Every reader of foreign bytes: what it is given when all is well, and how it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.checkpoint import CONFIG, TOKENIZER, WEIGHTS, CheckpointError, load_checkpoint
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from service.app import create_app
from service.asr.formats import FormatError, ReadOptions, open_writer, read_lists
from service.http.errors import ApiError
from service.http.json_body import parse_json
from service.keys import KeyFileError, read_key_file
from service.served_model import read_facts
from service.settings import Settings
from service.state_token import InvalidStateError, State, StateCodec
from tests.reliability.damage import damaged, damaged_json
from tests.reliability.target import save_small_model
from tests.service.asr.made_up_lists import made_up_lists
from tests.service.conftest import CORPUS, make_model, running
from tests.service.plain_engine import PlainEngine, PlainLSTM

_LATTICES = {
    "htk-lattice": b"VERSION=1.0\nUTTERANCE=u\nbase=10\nlmscale=9.5\nstart=0 end=3\nN=4 L=4\n"
    b"I=0 t=0.0\nI=1 t=0.4\nI=2 t=0.5\nI=3 t=1\nJ=0 S=0 E=1 W=a a=-8.5 l=-1\n"
    b"J=1 S=0 E=2 W=!NULL a=-9 l=-2 r=0.5\nJ=2 S=1 E=3 W=b(2) a=-1 l=-1\n"
    b'J=3 S=2 E=3 W="c" a=1\n',
    "kaldi-lattice": b"u\n0 1 hello 3.25,812.5,2_4_4\n0 2 17 all 1,2\n1 2 <eps> 1,1,\n"
    b"2 0.5,0.25\n\nv\n0 1 a 1,2,3\n1\n",
}


@dataclass(frozen=True, kw_only=True)
class Reader:
    """read: raises one of `refusals` for what it does not take, and nothing else.

    seeds: inputs that it takes. damage: makes another input of one.
    """

    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: Sequence[bytes]
    damage: Callable[[random.Random, bytes], bytes] = damaged


@contextmanager
def readers() -> Iterator[dict[str, Reader]]:
    """All of them, by name."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tokenizer = Tokenizer.train(CORPUS * 4, vocab_size=360, character_coverage=1.0)
        yield {
            "tokenizer": _texts(tokenizer),
            "state tokens": _state_tokens(),
            "key files": _key_files(folder / "keys"),
            "JSON bodies": Reader(
                read=parse_json, refusals=(ApiError,), seeds=[_json(body) for _, body in _REQUESTS]
            ),
            "requests": stack.enter_context(_requests(tokenizer)),
            **_checkpoints(save_small_model(folder / "model")),
            **_lists(folder),
        }


def _texts(tokenizer: Tokenizer) -> Reader:
    def read(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        assert tokenizer.decode(tokenizer.encode(text)) == text

    return Reader(read=read, refusals=(), seeds=[text.encode() for text in CORPUS])


def _state_tokens() -> Reader:
    codec = StateCodec(b"k" * 32)
    state = State(engine_state=None, pending="wor", continuation=True)
    token = codec.seal(state, digest="d", state_size=4).encode()

    def read(data: bytes) -> None:
        opened = codec.open(data.decode("latin-1"), digest="d", state_size=4)
        assert data == token, "a damaged state was opened"
        assert opened == state

    return Reader(read=read, refusals=(InvalidStateError,), seeds=[token])


def _key_files(file: Path) -> Reader:
    def read(data: bytes) -> None:
        file.write_bytes(data)
        read_key_file(file)

    line = b"alice use,observe sha256:" + b"0" * 64 + b"\n"
    return Reader(read=read, refusals=(KeyFileError,), seeds=[line, b"# all\n" + line])


def _checkpoints(folder: Path) -> dict[str, Reader]:
    """Each file damaged; where digests would tell, they are made to fit."""
    config = json.loads((folder / CONFIG).read_bytes())

    def read_config(data: bytes) -> None:
        (folder / CONFIG).write_bytes(data)
        read_facts(folder)
        load_checkpoint(folder)

    def of_file(name: str) -> Reader:
        intact = (folder / name).read_bytes()

        def read(data: bytes) -> None:
            (folder / name).write_bytes(data)
            files = {**config["files"], name: hashlib.sha256(data).hexdigest()}
            sealed = {**config, "files": files, "digest": _digest(config["model"], files)}
            (folder / CONFIG).write_text(json.dumps(sealed), "utf-8")
            try:
                read_facts(folder)
                load_checkpoint(folder)
            finally:
                (folder / name).write_bytes(intact)

        return Reader(read=read, refusals=(CheckpointError,), seeds=[intact])

    return {
        "checkpoints' config.json": Reader(
            read=read_config,
            refusals=(CheckpointError,),
            seeds=[_json(config)],
            damage=lambda draw, data: draw.choice((damaged, damaged_json))(draw, data),
        ),
        "checkpoints' tokenizer": of_file(TOKENIZER),
        "checkpoints' weights": of_file(WEIGHTS),
    }


def _digest(model: Any, files: Any) -> str:
    """As `models.checkpoint` makes it: what somebody who forges a checkpoint would do."""
    text = json.dumps({"files": files, "model": model}, sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _lists(folder: Path) -> dict[str, Reader]:
    """Each file of each format, among its intact neighbours."""
    found = {}
    for form in ("jsonl", "nemo", "mlm-scoring", "kaldi", "espnet", "srilm"):
        path = folder / form
        with open_writer(path, form) as writer:
            for own in made_up_lists(3, model_knows=1.0, size=3):
                writer.write(own)
        if form == "srilm":  # as text too
            (path / "u1").write_bytes(gzip.decompress((path / "u1.gz").read_bytes()))
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in files[:3]:
            name = form if file == path else f"{form}: {file.relative_to(path)}"
            found[name] = _list_reader(form, path, file)
    for form, data in _LATTICES.items():
        (path := folder / form).write_bytes(data)
        found[form] = _list_reader(form, path, path)
    return found


def _list_reader(form: str, path: Path, file: Path) -> Reader:
    intact = file.read_bytes()

    def read(data: bytes) -> None:
        file.write_bytes(data)
        try:
            for _ in read_lists(path, form, ReadOptions(beam_size=3, nbest=5)):
                pass
        finally:
            file.write_bytes(intact)

    return Reader(read=read, refusals=(FormatError,), seeds=[intact])


_JSON = {"content-type": "application/json"}
_CHAT = [{"role": "system", "content": "be"}, {"role": "user", "content": "the cat"}]
_REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/score", {"texts": ["the cat", [5, 6]], "context": "a", "state": None, "bos": True}),
    ("/v1/score", {"before": "a ", "candidates": ["b", "c"], "after": ".", "detail": "tokens"}),
    ("/v1/next-token", {"context": "a", "top_k": 3, "tokens": ["a", 2]}),
    ("/v1/next-word", {"context": "a", "top_k": 3, "words": ["mat"]}),
    ("/v1/rescore", {"lm_weight": 0.5, "weights": {"g": 0.3}, "utterances": [
        {"id": "u", "hypotheses": [{"text": "i", "score": -1.3, "scores": {"g": -3.0}}]}]}),
    ("/v1/advance", {"items": [{"state": None, "word": "the"}, {"state": None, "word": None}]}),
    ("/v1/completions", {"prompt": ["the"], "max_tokens": 2, "n": 2, "seed": 7, "logprobs": 1,
        "stop": ["x"], "logit_bias": {"5": 1.5}, "temperature": 0.5, "echo": True}),
    ("/v1/completions", {"prompt": "a", "max_tokens": 2, "stream": True, "top_k": 3, "min_p": 0.1,
        "stream_options": {"include_usage": True}, "bad_words": ["b"], "stop_token_ids": [3]}),
    ("/v1/chat/completions", {"messages": _CHAT, "max_tokens": 2, "top_logprobs": 2,
        "logprobs": True, "frequency_penalty": 0.5, "response_format": {"type": "text"}}),
    ("/v1/responses", {"input": _CHAT, "max_output_tokens": 2, "instructions": "be"}),
    ("/v1/embeddings", {"input": ["a", "b"], "encoding_format": "base64"}),
    ("/tokenize", {"prompt": "the cat", "add_special_tokens": True}),
    ("/detokenize", {"tokens": [5, 6]}),
)  # fmt: skip


@contextmanager
def _requests(tokenizer: Tokenizer) -> Iterator[Reader]:
    """The whole service before a plain engine; what it refuses, it refuses with a 4xx."""
    config = ModelConfig(vocab_size=tokenizer.vocab_size, embedding_size=4, hidden_sizes=(4,))
    lstm = PlainLSTM.random(config, seed=1)
    spellings = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocab_size)]
    model = make_model("tiny", tokenizer, PlainEngine(lstm, spellings=spellings))
    limits: dict[str, Any] = {"max_new_tokens": 16, "max_prompt_tokens": 500, "max_logprobs": 2000}
    app = create_app(Settings(**limits, log_level="error"), [model])
    with asyncio.Runner() as runner:
        context = running(app)
        client = runner.run(context.__aenter__())

        def read(data: bytes) -> None:
            path, _, body = data.partition(b"\n")
            url = path.decode("ascii", "replace")
            if url not in {known for known, _ in _REQUESTS}:
                return
            response = runner.run(client.post(url, content=body, headers=_JSON))
            assert response.status_code < 500, response.text
            if response.status_code >= 400:
                raise RefusedError(response.status_code)

        def damage(draw: random.Random, data: bytes) -> bytes:
            path, _, body = data.partition(b"\n")
            return path + b"\n" + draw.choice((damaged, damaged_json))(draw, body)

        try:
            yield Reader(
                read=read,
                refusals=(RefusedError,),
                seeds=[path.encode() + b"\n" + _json(body) for path, body in _REQUESTS],
                damage=damage,
            )
        finally:
            runner.run(context.__aexit__(None, None, None))


class RefusedError(Exception):
    """A request was answered with a 4xx."""


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
