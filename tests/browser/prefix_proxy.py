"""A reverse proxy that serves another server under a path prefix, as people put one in front."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_OWN_HEADERS = ("connection", "transfer-encoding", "date", "server")


@contextmanager
def prefix_proxy(address: str, prefix: str, *, strips: bool = True) -> Iterator[str]:
    """The address, without a slash at its end, at which `address` is seen under `prefix`.

    strips: the service behind is asked without the prefix.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass_on(None)

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers["content-length"])))

        def _pass_on(self, body: bytes | None) -> None:
            path = self.path.removeprefix(prefix)
            if path == self.path:
                self.send_error(404)
                return
            connection = http.client.HTTPConnection(urlsplit(address).netloc)
            with closing(connection), suppress(ConnectionError):  # either side may leave
                asked = path if strips else self.path
                connection.request(self.command, asked, body, dict(self.headers))
                with closing(connection.getresponse()) as answer:
                    self._answer(answer)

        def _answer(self, answer: http.client.HTTPResponse) -> None:
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _OWN_HEADERS:
                    self.send_header(name, value)
            self.end_headers()
            while part := answer.read1():
                self.wfile.write(part)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
