"""An embeddings server's answer is given up above its bytes, and when its time is up."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from support.embedding_server import Reply, embedding_server

from hoptrail.rag.embedders import openai
from hoptrail.rag.embedders.bounded_answer import BodyTooLarge, BoundedBody, within
from hoptrail.rag.embedders.openai import OpenAIEmbedder, OpenAIEmbedderSettings
from hoptrail.rag.errors import EmbedderError

STREAMED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"


@pytest.fixture(params=[STREAMED, b"HTTP/1.1 200 OK\r\nX-Slow: "], ids=["body", "headers"])
def trickling(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that begins an answer and goes on with a byte each twentieth of a second."""
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=trickle, args=[listener.accept()[0]]).start()

    def trickle(peer: socket.socket) -> None:
        with suppress(OSError), closing(peer):
            peer.sendall(request.param)
            while not over.wait(0.05):
                peer.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_an_answer_that_trickles_in_ends(trickling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "_GRACE", 0.2)
    settings = OpenAIEmbedderSettings(url=trickling, timeout=0.3, attempts=2)
    with pytest.raises(EmbedderError, match=r"only a part within 0.3 s|no answer within 0.3 s"):
        OpenAIEmbedder(settings, sleep=lambda _: None)


def test_an_archive_that_unpacks_to_too_much_is_given_up() -> None:
    bomb = gzip.compress(b'{"data": [' + b" " * 80_000_000)
    with embedding_server() as served:
        embedder = OpenAIEmbedder(OpenAIEmbedderSettings(url=served.url))
        served.manners = lambda *_: Reply(body=bomb, headers={"Content-Encoding": "gzip"})
        with closing(embedder), pytest.raises(EmbedderError, match="answers more than"):
            embedder.embed(["a ship"])
        assert len(served.requests) == 2  # it is not asked again


def test_a_body_has_at_most_its_bytes() -> None:
    body = BoundedBody(5)
    body.add(b"abc")
    body.add(b"de")
    assert body.whole() == b"abcde"
    with pytest.raises(BodyTooLarge, match="more than 5 bytes"):
        body.add(b"f")


def test_a_call_gives_its_result_or_its_error_in_time() -> None:
    assert within(60, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(60, lambda: 1 // 0)
    with pytest.raises(TimeoutError):
        within(0.01, lambda: time.sleep(1))
