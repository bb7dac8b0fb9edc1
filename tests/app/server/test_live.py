"""The server on a port: the openai client, clients that leave, bad bodies, signals."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from support.agents import CHAIN, Reader, make_chain, open_chain, reading
from support.cli import COMMAND
from support.server import ASK, api_key, bearer, live_server, until

from hoptrail.agents.llm.types import ChatReply, ChatRequest
from hoptrail.agents.runs.models import RoleModels
from hoptrail.app.server.server_settings import ServerSettings
from hoptrail.rag.fsck import fsck

KEY = "ht-test"


class Slow:
    """A model that does not answer until it is let go; it counts calls and those broken off."""

    def __init__(self) -> None:
        self.calls = self.broken_off = 0
        self.scripted = reading(Reader())
        self.go = False

    async def attempt(self, request: ChatRequest, **options: Any) -> ChatReply:  # noqa: ANN401
        self.calls += 1
        try:
            while not self.go:
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        return await self.scripted.attempt(request, **options)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.scripted, name)


@pytest.fixture
def slow() -> Slow:
    """A model of the test's own."""
    return Slow()


@pytest.fixture
def url(chain_root: Path, slow: Slow) -> Iterator[str]:
    """The address of a server with one key, whose model is slow."""
    keys = (api_key(KEY, questions=1, metrics=True),)
    models = RoleModels(default=slow)
    settings = ServerSettings(
        store=chain_root, keys=keys, models=models, body_bytes=100_000, body_seconds=1.0
    )
    with live_server(settings) as address:
        yield address


@pytest.fixture(scope="module")
def talking(chain_root: Path) -> Iterator[openai.OpenAI]:
    """OpenAI's own client of a server without a model."""
    keys = (api_key(KEY),)
    with live_server(ServerSettings(store=chain_root, keys=keys)) as address:
        yield openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)


def test_the_openai_client_holds_a_conversation_of_three_turns(talking: openai.OpenAI) -> None:
    assert "hoptrail/auto" in [one.id for one in talking.models.list()]
    messages: list[Any] = []
    said = []
    for question in ("Who was the first master of the Heron?", "Where was she born?",
                     "How many inhabitants had Tarn Hollow in 1900?"):  # fmt: skip
        messages.append({"role": "user", "content": question})
        stream = talking.chat.completions.create(
            model="hoptrail/pool", messages=messages, stream=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        text, usage, annotated = "", None, []
        for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                annotated += getattr(choice.delta, "annotations", None) or []
        assert usage is not None
        assert usage.total_tokens > 0
        assert annotated
        for one in annotated:
            cited = one["url_citation"]
            assert re.fullmatch(r"\[\d+\]", text[cited["start_index"] : cited["end_index"]])
        messages.append({"role": "assistant", "content": text})
        said.append(text)
    assert "Ilsa Corrin" in said[0]
    assert "Tarn Hollow" in said[1]
    assert "1,204" in said[2]


def test_the_openai_client_reads_answers_annotations_and_errors(talking: openai.OpenAI) -> None:
    made = talking.chat.completions.create(**ASK)
    message = made.choices[0].message
    assert message.content
    assert message.annotations
    assert message.annotations[0].url_citation.url.startswith("http://127.0.0.1")
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-4'"):
        talking.chat.completions.create(**{**ASK, "model": "gpt-4"})
    with pytest.raises(openai.AuthenticationError):
        talking.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.BadRequestError):
        talking.chat.completions.create(model="hoptrail", messages=[])


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_ends_its_model_call_and_gives_its_place_back(
    url: str, slow: Slow, streamed: bool
) -> None:
    with httpx.Client(base_url=url, headers=bearer(KEY), timeout=30) as client:
        body = ASK | {"stream": streamed}
        request = client.build_request("POST", "/v1/chat/completions", json=body)
        with socket.create_connection(("127.0.0.1", client.base_url.port or 0)) as raw:
            raw.sendall(_wire(request))
            until(lambda: slow.calls)
            refused = client.post("/v1/chat/completions", json=ASK)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
            assert refused.json()["error"]["type"] == "rate_limit_error"
        until(lambda: slow.broken_off)
        until(lambda: "questions_in_flight 0.0" in client.get("/metrics").text)
        slow.go = True
        assert "Tarn Hollow" in client.post("/v1/chat/completions", json=ASK).text


def _wire(request: httpx.Request) -> bytes:
    """A request as it goes over a socket."""
    head = f"{request.method} {request.url.raw_path.decode()} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return head.encode() + b"\r\n" + request.read()


def test_bodies_that_are_huge_or_slow_or_half_are_ended(url: str) -> None:
    with httpx.Client(base_url=url, headers=bearer(KEY), timeout=30) as client:
        whole = client.post("/v1/chat/completions", content=b"x" * 100_001)
        assert (whole.status_code, whole.json()["error"]["code"]) == (413, "too_large")

        def endless() -> Iterator[bytes]:
            for _ in range(1_000):
                yield b" " * 1_000

        try:
            chunked = client.post("/v1/chat/completions", content=endless())
            assert chunked.status_code == 413
        except httpx.WriteError:
            pass  # it was hung up on while it still sent
        port = client.base_url.port or 0
        for sent in (
            b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
            b"POST /v1/search HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        ):
            with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as raw:
                raw.sendall(sent)
                assert b" 408 " in raw.recv(1_000)
        with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as raw:
            raw.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
            assert b" 400 " in raw.recv(1_000)
        with closing(socket.create_connection(("127.0.0.1", port))) as raw:
            raw.sendall(b"POST /v1/sea")  # and never goes on
            assert client.get("/healthz").status_code == 200


def test_twenty_clients_at_once_each_get_their_own_answer(chain_root: Path) -> None:
    keys = (api_key(KEY, questions=50),)
    titles = {"d1": "Heron (ship)", "d3": "Tarn Hollow", "d5": "Port Saben", "d6": "Heron (river)"}

    async def asked(client: httpx.AsyncClient, document: str) -> None:
        body = ASK | {
            "model": "hoptrail/single",
            "hoptrail": {"where": {"kind": document}},
            "messages": [{"role": "user", "content": f"What is the {titles[document]}?"}],
        }
        answer = await client.post("/v1/chat/completions", json=body)
        message = answer.json()["choices"][0]["message"]
        assert {one["url_citation"]["title"] for one in message["annotations"]} <= {
            titles[document]
        }

    async def main(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, headers=bearer(KEY), timeout=60) as client:
            await asyncio.gather(*(asked(client, one) for _ in range(5) for one in titles))

    with live_server(ServerSettings(store=chain_root, keys=keys)) as url:
        asyncio.run(main(url))


@contextmanager
def child(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """`hoptrail serve` in a process of its own: the process, its address, its store."""
    root, config = make_chain(tmp_path / "store"), tmp_path / "h.toml"
    config.write_text('[store]\nembedder = "hash"\n')
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    command = [*COMMAND, "serve", "--store", root, "--port", port, "--config", config]
    started = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert started.poll() is None
        try:
            return httpx.get(f"{url}/readyz").status_code == 200
        except httpx.ConnectError:
            return False

    try:
        until(answers, 120)
        yield started, url, root
    finally:
        started.kill()
        started.communicate()


def test_a_signal_ends_the_server_after_the_questions_in_flight(tmp_path: Path) -> None:
    with child(tmp_path) as (server, url, _):
        with httpx.stream(
            "POST", f"{url}/v1/chat/completions", json=ASK | {"stream": True}, timeout=60
        ) as answer:
            server.send_signal(signal.SIGTERM)
            text = "".join(answer.iter_text())
        assert text.endswith("data: [DONE]\n\n")
        assert "error" not in json.loads(text.split("\n\n")[-3].removeprefix("data: "))
        _, told = server.communicate(timeout=60)
    assert server.returncode == 0
    assert "No API keys are set: the server answers this machine only." in told
    assert "Traceback" not in told


def test_no_document_that_was_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    stored = []
    with child(tmp_path) as (server, url, root), suppress(httpx.TransportError):
        for at in range(10_000):
            answer = httpx.put(
                f"{url}/v1/documents/n{at}?wait=true", json={"text": f"Note {at}."}, timeout=60
            )
            assert answer.json()["state"] == "done"
            stored.append(f"n{at}")
            if at == 2:
                threading.Timer(0.3, server.kill).start()
    assert stored
    with open_chain(root) as opened:
        ids = set(opened.store.documents())
        assert set(stored) <= ids
        assert ids - set(stored) <= {*CHAIN, f"n{len(stored)}"}
        hits = opened.search(f"Note {len(stored) - 1}.", k=50).hits
        assert stored[-1] in {hit.passage.document_id for hit in hits}
    assert fsck(root).clean
