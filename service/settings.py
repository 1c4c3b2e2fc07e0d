"""Every setting of the service: command line over environment (``LSTM_SERVE_<NAME>``) over default.

Built once, at the entry point, and passed down.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.engine.hosts.async_engine import Device, EngineOptions, Mode, Precision
from service.logs import LogFormat

_PRETRAINED = Path(__file__).parents[1] / "models" / "pretrained"
_MIB = 1 << 20
_SHORTEST_STATE_KEY = 16
_LISTS = ("api_keys", "served_model_name", "allowed_hosts", "cors_origins")
_OF_CLIENTS = frozenset({"LSTM_SERVE_KEY"})  # examples read it; no setting


class Settings(BaseSettings):
    """Sizes are in bytes (``_bytes``), mebibytes (``_mb``) or counts, times in seconds (``_s``)."""

    model_config = SettingsConfigDict(
        env_prefix="LSTM_SERVE_", env_ignore_empty=True, frozen=True, extra="forbid"
    )

    model: Path = Field(
        _PRETRAINED / "en-small",
        description="checkpoint folder of the default model; clients call it by the folder's name",
    )
    models: Path = Field(
        _PRETRAINED,
        description="folder of checkpoints; each is served by its name, loaded on first use",
    )
    models_memory_mb: int = Field(
        4096,
        ge=1,
        description="memory that the loaded models may take together, estimated; in MiB; the "
        "least recently used idle one makes room, the default model always stays",
    )
    served_model_name: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="further names by which clients may call the default model, with commas"
    )
    watch: bool = Field(
        False,
        description="look at the checkpoint folders each second: what is replaced is loaded, "
        "checked and swapped in, what is removed is dropped",
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 lets the system choose")
    unix_socket: Path | None = Field(
        None, description="socket of the file system to listen on, in place of host and port"
    )
    tls_certificate: Path | None = Field(
        None, description="certificate chain, PEM; with it the service speaks HTTPS"
    )
    tls_key: Path | None = Field(None, description="private key of the certificate, PEM")
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="prefix under which a proxy offers the service, stripped or not: /lm",
    )
    trusted_proxies: str = Field(
        "127.0.0.1,::1",
        description="addresses whose X-Forwarded-For and -Proto are believed, with commas; * for "
        "any, which only a server that a proxy alone can reach should say",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="origins of pages that may ask this service from a browser, with commas; * for "
        "any; none by default",
    )
    compress: bool = Field(
        False,
        description="gzip answers of 4 KiB and more for clients that take it; streams never",
    )
    device: Device = Field(EngineOptions.device, description="where models compute")
    precision: Precision = Field(
        EngineOptions.precision,
        description="arithmetic of the matrix products; auto: int8 where the checkpoint's measured "
        "loss is negligible, else fp32",
    )
    engine: Mode = Field(
        EngineOptions.mode,
        description="engines in processes of their own, or in a thread of the server",
    )
    replicas: int = Field(EngineOptions.replicas, ge=1, description="engine processes per model")
    threads: int = Field(EngineOptions.threads, ge=1, description="threads of each engine process")
    engine_timeout_s: float = Field(
        EngineOptions.timeout_s,
        ge=1,
        description="seconds without a sign of life after which an engine process counts as hung "
        "and is replaced",
    )
    max_num_seqs: int = Field(
        EngineOptions.max_num_seqs,
        ge=1,
        description="sequences that advance together in one step of an engine",
    )
    max_waiting: int = Field(
        EngineOptions.max_waiting,
        ge=1,
        description="requests that may wait for an engine; above it: 429",
    )
    burst_ms: float = Field(
        1000 * EngineOptions.burst_s,
        ge=0,
        le=1000,
        description="milliseconds that streams may advance before their tokens are sent on, while "
        "nobody waits; 0 sends each token by itself",
    )
    cache_mb: int = Field(
        EngineOptions.cache_bytes // _MIB,
        ge=0,
        description="state cache of each engine process, in MiB; 0 switches it off",
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="keys, separated by commas; with any set, every route but /health/live needs "
        "'Authorization: Bearer <key>'",
    )
    api_keys_file: Path | None = Field(
        None,
        description="file of keys, one a line: NAME SCOPES sha256:HEX; read again when it changes",
    )
    open_pages: bool = Field(
        True,
        description="pages, /docs, /openapi.json, /version and /health/* need no key even where "
        "keys are set",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="names in the Host header that are answered, with commas; * for any; without "
        "it a keyless server on loopback answers loopback's names alone, and others all names",
    )
    max_requests: int = Field(
        1024, ge=1, description="requests in flight, all clients together; above it: 429"
    )
    max_requests_per_key: int | None = Field(
        None, ge=1, description="requests in flight of one key; above it: 429"
    )
    requests_per_minute_per_key: int | None = Field(
        None, ge=1, description="requests that one key may send in a minute; above it: 429"
    )
    max_wait_s: float = Field(
        30,
        gt=0,
        description="seconds that the work before a new request may take, as measured; above: 429",
    )
    max_queued_tokens: int = Field(
        1 << 22, ge=1, description="tokens of work that may be waiting; above it: 429"
    )
    state_key: SecretStr | None = Field(
        None,
        min_length=_SHORTEST_STATE_KEY,
        description="secret that seals states, the same on every replica; without it a random "
        "one, and states do not survive a restart",
    )
    state_key_file: Path | None = Field(
        None,
        description="file of state keys, one a line: the first seals, all of them open; in place "
        "of a state key that whoever lists processes could read",
    )
    state_max_age_s: float | None = Field(
        None, gt=0, description="seconds for which a sealed state can be resumed; without it, ever"
    )
    bind_states: bool = Field(
        False, description="only the owner of the key that asked for a state may resume it"
    )
    grace_s: float = Field(
        30, ge=0, description="seconds that work in flight may take to finish after SIGTERM"
    )
    heartbeat_s: float = Field(
        15, gt=0, description="seconds of silence after which a stream sends a comment line"
    )
    max_connections: int = Field(
        1024, ge=1, description="connections open at a time; above it: 503 and closed"
    )
    max_header_bytes: int = Field(
        32 << 10, ge=1024, description="size of a request's line and headers, in bytes; above: 431"
    )
    header_timeout_s: float = Field(
        10, gt=0, description="seconds in which a request's headers must arrive"
    )
    body_timeout_s: float = Field(
        60, gt=0, description="seconds in which a request's body must arrive; later: 408"
    )
    write_timeout_s: float = Field(
        30,
        gt=0,
        description="seconds in which a client must take some of its answer, or is cut off",
    )
    keep_alive_s: int = Field(
        65, ge=1, description="seconds that an idle connection stays open between requests"
    )
    max_body_bytes: int = Field(16 * _MIB, ge=1, description="size of a request's body, in bytes")
    max_body_memory_mb: int = Field(
        256,
        ge=1,
        description="all bodies together that are being received, in MiB; above it: 503",
    )
    max_texts: int = Field(4096, ge=1, description="texts or prompts in one request")
    max_utterances: int = Field(4096, ge=1, description="N-best lists in one request")
    max_hypotheses: int = Field(16384, ge=1, description="hypotheses in one request, all lists")
    max_prompt_tokens: int = Field(
        1 << 20,
        ge=1,
        description="tokens of one request's prompts; a context that texts share counts once",
    )
    max_new_tokens: int = Field(
        65536, ge=1, description="tokens one request may generate, over all prompts and samples"
    )
    max_logprobs: int = Field(
        1 << 20,
        ge=1,
        description="alternatives one answer may list: tokens times top_logprobs, or chosen tokens",
    )
    otlp_traces_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="address of an OTLP/HTTP collector, http://collector:4318/v1/traces, that gets "
        "an OpenTelemetry span of each request; needs the extra `otel`",
    )
    log_format: LogFormat = Field("text", description="lines for people, or one JSON object a line")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severity that is logged"
    )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the port."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def state_keys(self) -> list[bytes]:
        """Secrets of sealed states, the one that seals first; a random one where none is set.

        Raises ValueError where the file of keys cannot be used.
        """
        if self.state_key_file is not None:
            try:
                lines = self.state_key_file.read_text("utf-8").split()
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"state_key_file cannot be read: {error}") from error
            if not lines or min(map(len, lines)) < _SHORTEST_STATE_KEY:
                raise ValueError(
                    f"state_key_file: each line must be a key of at least {_SHORTEST_STATE_KEY} "
                    "characters"
                )
            return [line.encode() for line in lines]
        key = self.state_key
        return [key.get_secret_value().encode() if key else secrets.token_bytes(32)]

    @property
    def engine_options(self) -> EngineOptions:
        """How each engine is run."""
        return EngineOptions(
            device=self.device,
            precision=self.precision,
            mode=self.engine,
            replicas=self.replicas,
            threads=self.threads,
            max_num_seqs=self.max_num_seqs,
            max_waiting=self.max_waiting,
            cache_bytes=self.cache_mb * _MIB,
            burst_s=self.burst_ms / 1000,
            timeout_s=self.engine_timeout_s,
        )

    @field_validator(
        "api_keys", "served_model_name", "allowed_hosts", "cors_origins", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(key for part in value.split(",") if (key := part.strip()))
        return value

    @field_validator("api_keys")
    @classmethod
    def _no_empty_key(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(key.get_secret_value() for key in keys):
            raise ValueError("an API key must not be empty")
        return keys


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise ValueError for a variable that looks like a setting and is none, with the nearest one.

    A misspelt variable is otherwise a setting that silently keeps its default.
    """
    prefix = str(Settings.model_config["env_prefix"])
    known = [prefix + name.upper() for name in Settings.model_fields]
    for name in sorted(environment):
        is_ours = name.upper().startswith(prefix) and name not in _OF_CLIENTS
        if is_ours and name.upper() not in known:
            nearest = get_close_matches(name.upper(), known, 1)
            hint = f"did you mean {nearest[0]}?" if nearest else "docs/settings.md lists them"
            raise ValueError(f"environment variable {name}: there is no such setting; {hint}")
