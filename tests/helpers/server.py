"""A web server on this machine that knows ranges and can misbehave."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` under every path. Each of `faults` is used up by one request: "cut" sends half of what was
    asked for and hangs up, a number is an error of that code. `requests` are the Range headers that came."""

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.faults, self.requests = content, [], []
        self.ranges, self.announces_length = True, True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Server = self.server
        asked = self.headers.get("Range")
        server.requests.append(asked)
        fault = server.faults.pop(0) if server.faults else None
        if isinstance(fault, int):
            self.send_error(fault)
            return
        size, first = len(server.content), 0
        if asked and server.ranges:
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
            if first >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        else:
            self.send_response(200)
        if server.announces_length:
            self.send_header("Content-Length", str(size - first))
        self.end_headers()
        body = server.content[first:]
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serve(content: bytes) -> Iterator[Server]:
    server = Server(content)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
