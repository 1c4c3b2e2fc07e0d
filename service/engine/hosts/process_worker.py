"""Entry point of an engine process.

`python -m service.engine.hosts.process_worker FD FOLDER OPTIONS`

It imports neither the web framework nor anything of the API, so it starts fast and stays small.
"""

from __future__ import annotations

import json
import select
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.commands import Command, Quit
from service.engine.hosts.loading import load_engine
from service.engine.hosts.wire import pack_outputs
from service.engine.hosts.worker import work
from service.engine.request import RequestOutput
from service.engine.stats import EngineStats


class _PipeChannel:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._poll = select.poll()  # a hundred times quicker than `Connection.poll`
        self._poll.register(connection.fileno(), select.POLLIN)

    def has_command(self) -> bool:
        return bool(self._poll.poll(0))

    def receive(self, *, wait: bool) -> Command | None:
        try:
            if not wait and not self.has_command():
                return None
            command: Command = self._connection.recv()
        except (EOFError, ConnectionError):  # the server is gone
            return Quit()
        return command

    def send(self, outputs: list[RequestOutput], stats: EngineStats) -> None:
        self._connection.send((pack_outputs(outputs), stats))


def main() -> int:
    """An engine's process, from its arguments to its exit status."""
    # The server decides when an engine ends; a Ctrl-C in the terminal reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    options = json.loads(sys.argv[3])
    table_file = options.pop("table_file")
    try:
        engine, info = load_engine(Path(sys.argv[2]), EngineOptions(**options), table_file)
    except Exception as error:
        connection.send(error if isinstance(error, ValueError) else RuntimeError(repr(error)))
        return 1
    connection.send(info)
    work(engine, _PipeChannel(connection))
    return 0


if __name__ == "__main__":
    sys.exit(main())
