"""A log that nobody reads stops nobody; a line is one event."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from service.logs import JsonFormatter, TextFormatter, logging_to_stderr


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("service.x", logging.INFO, "file", 1, message, (), None)
    made.__dict__["fields"] = fields
    return made


def test_json_has_the_fields_beside_the_message() -> None:
    event = json.loads(JsonFormatter().format(record("request\nx", id="1", status=200)))
    assert (event["message"], event["id"], event["status"]) == ("request\nx", "1", 200)
    assert event["level"] == "info"


def test_text_has_no_control_characters() -> None:
    line = TextFormatter().format(record("a\x1b[31mb\rc", id="1", none=None))
    assert "\x1b" not in line
    assert "\r" not in line
    assert line.endswith("a\\x1b[31mb\\x0dc id=1")


def test_a_pipe_that_nobody_reads_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        monkeypatch.setattr("service.logs._LAST_LINES_S", 0.1)
        started = time.perf_counter()
        with logging_to_stderr("info", "text"):
            for _ in range(12_000):
                logging.getLogger("service.x").info("x" * 100)
        assert time.perf_counter() - started < 20
        os.close(reader)  # the thread that was writing meets the end of the pipe
        time.sleep(0.1)
        monkeypatch.undo()
        with suppress(BrokenPipeError):
            pipe.close()


def test_a_log_on_a_full_disk_goes_on_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk()
    monkeypatch.setattr(sys, "stderr", disk)
    with logging_to_stderr("info", "text"):
        log = logging.getLogger("service.x")
        log.info("written")
        wait_until(lambda: "written" in disk.text)
        disk.is_full = True
        for _ in range(3):
            log.info("nowhere to go")
        wait_until(lambda: disk.num_refused == 3)
        disk.is_full = False
        log.info("back again")
    assert "nowhere" not in disk.text
    assert disk.text.count("(3 lines were lost: the log could not be written)") == 1
    assert disk.text.endswith("back again\n")


class FullDisk(io.TextIOBase):
    """A file that sometimes has no room."""

    is_full, text, num_refused = False, "", 0

    def write(self, text: str) -> int:
        if self.is_full:
            self.num_refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        self.text += text
        return len(text)


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    pytest.fail("it did not come about")
