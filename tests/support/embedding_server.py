"""A loopback embeddings server whose manners a test sets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hoptrail.rag.embedders.hashing import HashEmbedder

DIMENSION = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is sent back; `body` may be anything, `hang_up` closes without an answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False


Request = dict[str, Any]
Manners = Callable[[int, Request], Reply | None]


@dataclass(slots=True)
class Served:
    """A running server: its URL, what it was asked, and its manners, which may change."""

    url: str
    requests: list[Request] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    manners: Manners = lambda _count, _request: None
    """From the number of the request (from 0) to a reply; None: a right answer."""
    cards: list[dict[str, Any]] = field(default_factory=lambda: [{"id": "tiny"}])
    most_at_once: int = 0


def right_answer(request: Request) -> list[dict[str, Any]]:
    """The data of a well-behaved server: unnormalised vectors with their indexes."""
    vectors = HashEmbedder(DIMENSION).embed(request["input"]) * 3
    return [
        {"object": "embedding", "index": n, "embedding": row}
        for n, row in enumerate(vectors.tolist())
    ]


def as_reply(data: list[dict[str, Any]]) -> Reply:
    """Data as the body of an answer."""
    return Reply(body=json.dumps({"object": "list", "data": data, "model": "tiny"}).encode())


@contextmanager
def embedding_server() -> Iterator[Served]:
    """Runs a server on a free loopback port."""
    lock = threading.Lock()
    busy = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            assert self.path == "/v1/models"
            self._send(Reply(body=json.dumps({"data": served.cards}).encode()))

        def do_POST(self) -> None:
            nonlocal busy
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(served.requests)
                served.requests.append(request)
                served.keys.append(self.headers["Authorization"])
                busy += 1
                served.most_at_once = max(served.most_at_once, busy)
            reply = served.manners(number, request) or as_reply(right_answer(request))
            with lock:
                busy -= 1
            self._send(reply)

        def _send(self, reply: Reply) -> None:
            if reply.hang_up:
                self.close_connection = True
                return
            self.send_response(reply.status)
            headers = {"Content-Length": str(len(reply.body)), **reply.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Served(url=f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
