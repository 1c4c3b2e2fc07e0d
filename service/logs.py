"""Logging that never waits for whoever reads it, in lines for people or for machines.

No text of a client's is ever logged: neither prompts nor the names of fields, and no control
characters, so that a log's line is one event.
"""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

LogFormat = Literal["text", "json"]
_MAX_WAITING = 10_000
_LAST_LINES_S = 2.0
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), 127)}


class TextFormatter(logging.Formatter):
    """One line an event, a traceback below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", None) or {}
        told = "".join(f" {name}={value}" for name, value in fields.items() if value is not None)
        return super().format(record).translate(_CONTROL) + told


class JsonFormatter(logging.Formatter):
    """One JSON object a line; an event's fields stand beside its message."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **(getattr(record, "fields", None) or {}),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=True, default=str)


class _QueueHandler(logging.Handler):
    """Hands records to a thread that writes. While nobody reads, the newest are lost and counted.

    A pipe that is full would otherwise stop the event loop at its next line.
    """

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._lines: queue.Queue[str | None] = queue.Queue(_MAX_WAITING)
        self._num_lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if self._num_lost and not self._lines.full():
            line = f"({self._num_lost} lines were lost: nobody read the log)\n{line}"
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._num_lost += 1
        else:
            self._num_lost = 0

    def _write(self) -> None:
        num_unwritten = 0
        while (line := self._lines.get()) is not None:
            if num_unwritten:
                line = f"({num_unwritten} lines were lost: the log could not be written)\n{line}"
            try:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
            except OSError:  # the disk is full, or nobody reads; it may be otherwise later
                num_unwritten += 1
            except ValueError:  # closed
                return
            else:
                num_unwritten = 0

    def close(self) -> None:
        """Let what is waiting be written, for a moment."""
        try:
            self._lines.put(None, timeout=_LAST_LINES_S)
        except queue.Full:
            pass
        else:
            self._thread.join(_LAST_LINES_S)
        super().close()


@contextmanager
def logging_to_stderr(level: str, form: LogFormat) -> Iterator[None]:
    """Log everything of at least that severity for as long as the context lasts."""
    handler = _QueueHandler(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level.upper())
    # A client causes these at will: one that sends no HTTP, and whatever uvicorn tells of itself.
    logging.getLogger("uvicorn.error").setLevel(max(root.level, logging.WARNING))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        handler.close()
