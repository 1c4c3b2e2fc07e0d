"""Checkpoints that others share: fetched from a folder or a URL into the folder of models.

A shared model is the folder of a checkpoint, as it lies (docs/checkpoints.md), behind a path or a
URL: `URL/config.json`, `URL/model.safetensors` and so on. Only files of the names known here are
asked for, none larger than it may be; what came is verified as a whole against the digests of its
`config.json` before it takes its place in one move.
"""

from __future__ import annotations

import http.client
import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, cast

from models.atomic_folder import replacing
from models.card_header import Value, card_header
from models.checkpoint import (
    CARD,
    CONFIG,
    METRICS,
    TOKENIZER,
    WEIGHTS,
    CheckpointError,
    load_checkpoint,
    num_parameters,
    read_config,
)
from models.config import ModelConfig

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_SCHEMES = ("http", "https", "file")
_MIB = 1 << 20
_TEXT_BYTES = 4 * _MIB
_TOKENIZER_BYTES = 64 * _MIB
# Beside the matrices, a file of weights has names, shapes and scales.
_WEIGHTS_SLACK = 4 * _MIB
_BYTES_A_NUMBER = 4
_OPTIONAL = (METRICS, CARD, "LICENSE", "LICENSE.md", "LICENSE.txt", "curves.png")
_CHUNK = _MIB
_TIMEOUT_S = 30.0

Told = Callable[[str, int], None]


class PullError(ValueError):
    """A model that cannot be fetched; nothing was changed."""


@dataclass(frozen=True)
class Pulled:
    """What lies in `folder` now. changed: whether it did not before."""

    name: str
    folder: Path
    digest: str
    changed: bool


def pull(
    source: str,
    models: Path,
    *,
    name: str = "",
    digest: str = "",
    replace: bool = False,
    max_bytes: int = 2048 * _MIB,
    told: Told = lambda _name, _size: None,
) -> Pulled:
    """Fetch the checkpoint at `source`, a folder or a URL, as `models / name`.

    name: by default the last part of the source. digest: what the checkpoint must have, "sha256:
    ...". replace: whether another model of that name may go. told: hears name and size of every
    file. Raises PullError, and OSError where the folder cannot be written.
    """
    place = _Place.of(source)
    name = name or place.name
    if not _NAME.fullmatch(name):
        raise PullError(
            f"{name!r} cannot be a model's name: letters, digits, '.', '_' and '-', the first a "
            "letter or a digit, 96 at most; choose one with --name"
        )
    config = b"".join(place.chunks(CONFIG, _TEXT_BYTES))
    offered, weights_bytes = _look_at(place, config, digest, max_bytes)
    folder = models / name
    there = _digest_there(folder)
    if there == offered:
        return Pulled(name, folder, offered, changed=False)
    if there and not replace:
        raise PullError(f"{folder} holds another model: choose --name, or say --replace")
    with replacing(folder) as staging:
        (staging / CONFIG).write_bytes(config)
        _save(place, WEIGHTS, staging, weights_bytes, told)
        _save(place, TOKENIZER, staging, _TOKENIZER_BYTES, told)
        for optional in _OPTIONAL:
            with suppress(_MissingError):
                _save(place, optional, staging, _TEXT_BYTES, told)
        try:
            load_checkpoint(staging)
        except CheckpointError as error:
            reason = str(error).replace(str(staging), place.shown)
            raise PullError(f"what {place.shown} holds was not taken: {reason}") from error
    return Pulled(name, folder, offered, changed=True)


def _digest_there(folder: Path) -> str:
    """Digest of the checkpoint in a folder; empty where there is no folder."""
    if not folder.exists():
        return ""
    try:
        return str(read_config(folder)["digest"])
    except CheckpointError:
        return "no checkpoint"


def _look_at(place: _Place, config: bytes, digest: str, max_bytes: int) -> tuple[str, int]:
    """From `config.json`: the digest that is offered, and how large the weights may be."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CONFIG).write_bytes(config)
        try:
            values = read_config(Path(folder))
            model = ModelConfig.from_dict(values["model"])
        except (KeyError, TypeError, ValueError) as error:
            reason = str(error).replace(folder, place.shown)
            raise PullError(f"{place.shown} is no checkpoint to pull: {reason}") from error
    offered = str(values["digest"])
    if digest and offered != digest:
        raise PullError(f"{place.shown} has the digest {offered}, not {digest}: it was not taken")
    largest = num_parameters(model) * _BYTES_A_NUMBER + _WEIGHTS_SLACK
    if largest > max_bytes + _WEIGHTS_SLACK:
        raise PullError(
            f"{place.shown} may take {largest // _MIB} MiB, more than --max-mb {max_bytes // _MIB}"
        )
    return offered, largest


def _save(place: _Place, name: str, folder: Path, limit: int, told: Told) -> None:
    size = 0
    chunks = place.chunks(name, limit)
    first = next(chunks, b"")  # what is missing leaves no empty file
    with (folder / name).open("wb") as file:
        for chunk in chain([first], chunks):
            size += file.write(chunk)
    told(name, size)


class _MissingError(PullError):
    """A file that the source does not have."""


@dataclass(frozen=True)
class _Place:
    """Where a model is fetched from. url: of its folder, ending in "/"; None for a path."""

    shown: str
    name: str
    path: Path | None = None
    url: str = ""

    @classmethod
    def of(cls, source: str) -> _Place:
        """A path, or a URL of one of the schemes that are known. PullError for another."""
        parts = urllib.parse.urlsplit(source)
        if not parts.scheme or "://" not in source:
            path = Path(source)
            if not path.is_dir():
                raise PullError(f"{source} is neither a folder nor a URL")
            return cls(shown=source, name=path.resolve().name, path=path)
        if parts.scheme not in _SCHEMES:
            raise PullError(f"{source}: the scheme must be one of {', '.join(_SCHEMES)}")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise PullError(f"{source}: give the folder's URL, without user, query or fragment")
        if parts.scheme == "file":
            if parts.netloc not in ("", "localhost"):
                raise PullError(f"{source}: a file:// URL is of this machine")
            return cls.of(urllib.request.url2pathname(parts.path))
        name = urllib.parse.unquote(parts.path.rstrip("/").rpartition("/")[2])
        return cls(shown=source, name=name, url=source.rstrip("/") + "/")

    def chunks(self, name: str, limit: int) -> Iterator[bytes]:
        """A file's content; PullError where it is missing, larger than `limit`, or cut short."""
        left = limit
        try:
            with self._open(name) as file:
                while chunk := file.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise PullError(
                            f"{name} of {self.shown} is larger than the {limit:,} bytes that it "
                            "may have"
                        )
                    yield chunk
        except FileNotFoundError as error:
            raise _MissingError(f"{self.shown} has no {name}") from error
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            kind = _MissingError if error.code in (404, 410) else PullError
            raise kind(f"{self.url}{name}: HTTP status {error.code}, {error.reason}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, PullError):
                raise
            raise PullError(f"{name} of {self.shown} cannot be read: {error}") from error

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        if self.path is not None:
            if not (self.path / name).is_file():  # nor a pipe, which would be waited for
                raise FileNotFoundError(name)
            with (self.path / name).open("rb") as file:
                yield file
            return
        with _opener().open(self.url + name, timeout=_TIMEOUT_S) as answer:
            yield cast(IO[bytes], answer)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """To another address of HTTP, never from a protected one to an open one."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            fp.close()
            raise PullError(f"{req.full_url} leads to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """HTTP alone: no file, no FTP, wherever a redirect points."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


@dataclass(frozen=True)
class Listed:
    """A model of a folder. fault: why it cannot be used; the other fields are empty then."""

    name: str
    digest: str = ""
    model_type: str = ""
    parameters: int = 0
    storage: str = ""
    chat: bool = False
    license: str = ""
    tags: tuple[str, ...] = ()
    fault: str = ""


def listed(models: Path) -> list[Listed]:
    """What a folder of models holds, by name; weights are not read. PullError for no folder."""
    if not models.is_dir():
        raise PullError(f"{models} is no folder of models")
    return [
        _listed(folder)
        for folder in sorted(models.iterdir())
        if folder.is_dir() and not folder.name.startswith(".") and (folder / CONFIG).exists()
    ]


def _listed(folder: Path) -> Listed:
    try:
        config = read_config(folder)
        model = ModelConfig.from_dict(config["model"])
    except (KeyError, TypeError, ValueError) as error:
        return Listed(folder.name, fault=str(error))
    card = folder / CARD
    header = card_header(card.read_text("utf-8", "replace")) if card.is_file() else {}
    return Listed(
        name=folder.name,
        digest=str(config["digest"]),
        model_type=model.architecture,
        parameters=num_parameters(model),
        storage=str(config["storage"]),
        chat=bool(config.get("chat_template")),
        license=_text(header.get("license_name") or header.get("license", "")),
        tags=tuple(_items(header.get("tags", []))),
    )


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def _items(value: Value) -> list[str]:
    return [value] if isinstance(value, str) else value
