"""A model server on loopback that misbehaves on demand.

It runs in a thread of its own, so it serves an event loop of the test's as well as a command that
starts its own. Each chat completion is answered by the next behaviour of its script; the last one
repeats. What it was asked, and whether the caller hung up, can be looked at afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

T = TypeVar("T")

MODEL = "fake"
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
MODELS = {"object": "list", "data": [{"id": MODEL, "object": "model", "max_model_len": 4096}]}


@dataclass
class Seen:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any] | None


@dataclass
class Exchange:
    """A request, and the means to answer it."""

    request: Seen
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: FakeServer
    closing: bool = False

    async def send(
        self,
        status: int,
        body: object,
        headers: Mapping[str, str] | None = None,
        kind: str = "application/json",
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    async def begin_stream(self) -> None:
        await self.raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )

    async def chunk(self, data: bytes) -> None:
        await self.raw(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def event(self, event: object) -> None:
        # As vLLM does: no escapes, so that U+2028 and its like stand raw in the stream.
        await self.chunk(b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n")

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def wait_until_hung_up(self) -> None:
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1024):
                pass
        self.closing = True
        self.server.hung_up.set()


Behaviour = Callable[[Exchange], Awaitable[None]]


def says(
    text: str,
    *,
    usage: object = USAGE,
    finish_reason: str | None = "stop",
    pieces: Sequence[str] | None = None,
    reasoning: str | None = None,
) -> Behaviour:
    """A well-behaved reply, streamed when that is asked for."""

    async def whole(exchange: Exchange) -> None:
        message = {"role": "assistant", "content": text, "reasoning": reasoning}
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        await exchange.send(200, {"model": MODEL, "choices": [choice], "usage": usage})

    async def streamed(exchange: Exchange) -> None:
        await exchange.begin_stream()
        await exchange.chunk(b": a comment\r\n\r\n")
        for thought in reasoning or "":
            await exchange.event({"choices": [{"delta": {"reasoning": thought}}]})
        for piece in pieces or [text[i : i + 3] for i in range(0, len(text), 3)]:
            await exchange.event(event(piece))
        await exchange.event(event("", finish_reason))
        assert exchange.request.body is not None
        if exchange.request.body.get("stream_options", {}).get("include_usage"):
            await exchange.event({"model": MODEL, "choices": [], "usage": usage})
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.raw(b"0\r\n\r\n")

    async def behave(exchange: Exchange) -> None:
        assert exchange.request.body is not None
        await (streamed if exchange.request.body.get("stream") else whole)(exchange)

    return behave


def event(piece: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {
        "model": MODEL,
        "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": finish_reason}],
    }


def status(code: int, body: object = None, headers: Mapping[str, str] | None = None) -> Behaviour:
    """An error in OpenAI's form, or with the body given."""
    body = {"error": {"message": f"no {code}", "code": code}} if body is None else body

    async def behave(exchange: Exchange) -> None:
        await exchange.send(code, body, headers)

    return behave


def html(code: int = 200) -> Behaviour:
    """What a login page or a proxy in the way answers."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(code, b"<!doctype html><h1>Please log in</h1>", kind="text/html")

    return behave


async def hang(exchange: Exchange) -> None:
    """Never answers; notes when the caller hangs up."""
    await exchange.wait_until_hung_up()


async def drop(exchange: Exchange) -> None:
    """Closes without an answer, as a server does whose keep-alive has ended."""
    exchange.closing = True


async def cut(exchange: Exchange) -> None:
    """Closes in the middle of a whole answer."""
    await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{")
    exchange.closing = True


def stream_then(ending: Behaviour, *pieces: str) -> Behaviour:
    """Streams some text, then something goes wrong."""

    async def behave(exchange: Exchange) -> None:
        await exchange.begin_stream()
        for piece in pieces:
            await exchange.event(event(piece))
        await ending(exchange)

    return behave


async def error_event(exchange: Exchange) -> None:
    """vLLM's way of saying that its engine died: an event, and still a [DONE] after it."""
    await exchange.event({"error": {"message": "EngineCore encountered an issue", "code": 500}})
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.raw(b"0\r\n\r\n")


async def end_of_stream(exchange: Exchange) -> None:
    """Ends a stream without a finish reason."""
    await exchange.raw(b"0\r\n\r\n")


async def flood(exchange: Exchange) -> None:
    """Writes for ever."""
    await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        while True:
            await exchange.raw(b" " * 2**20)
    exchange.closing = True


class FakeServer:
    """The server; `with FakeServer(says("hi")) as server: ... server.url`.

    Args:
        script: what chat completions are answered with.
        models: what /v1/models is answered with.
        tokenize: tokens of a text, for /tokenize; None: it has none.
        api_key: the key that /v1 asks for.
    """

    def __init__(
        self,
        *script: Behaviour,
        models: Behaviour = status(200, MODELS),  # noqa: B008 - a constant
        tokenize: Callable[[str], int] | None = None,
        api_key: str | None = None,
    ) -> None:
        self.script = script or (says("hello"),)
        self.models = models
        self.tokenize = tokenize
        self.api_key = api_key
        self.requests: list[Seen] = []
        self.hung_up = threading.Event()
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def chats(self) -> list[dict[str, Any]]:
        """Bodies of the chat completions asked for."""
        return [seen.body or {} for seen in self.requests if seen.path == "/v1/chat/completions"]

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, job: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(10)

    async def _stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while (request := await self._read(reader)) is not None:
                self.requests.append(request)
                exchange = Exchange(request, reader, writer, self)
                await self._behaviour(request)(exchange)
                if exchange.closing:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Seen | None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        method, path, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        data = await reader.readexactly(int(headers.get("content-length", 0)))
        return Seen(method, path, headers, json.loads(data) if data else None)

    def _behaviour(self, request: Seen) -> Behaviour:
        given = request.headers.get("authorization")
        guarded = self.api_key is not None and request.path.startswith("/v1/")
        if guarded and given != f"Bearer {self.api_key}":
            return status(401, {"error": "Unauthorized"})
        if request.path == "/v1/models":
            return self.models
        if request.path == "/tokenize" and self.tokenize is not None:
            assert request.body is not None
            texts = [message["content"] for message in request.body["messages"]]
            return status(200, {"count": sum(map(self.tokenize, texts)) + 4 * len(texts)})
        if request.path == "/v1/chat/completions":
            return self.script[min(len(self.chats), len(self.script)) - 1]
        return status(404, {"detail": "Not Found"})
