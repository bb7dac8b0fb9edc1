"""Both transports with the SDK's own client: protocol eras, origin, key, cancellation, stdout."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import anyio
import httpx
import pytest
from mcp import Client
from support.agents import QUESTION, make_chain
from support.chat_server import FakeServer, hang
from support.cli import COMMAND, error
from support.mcp_client import MODES, http_server, over_http, over_stdio, value

from hoptrail.agents import RoleModels, ServedModel
from hoptrail.app.mcp.ask_tool import AskOptions
from hoptrail.app.mcp.mcp_transports import HttpAddress, http_address
from hoptrail.rag.errors import SettingsError

DISCOVER = {
    "jsonrpc": "2.0", "id": 1, "method": "tools/list",
    "params": {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    },
}  # fmt: skip
HEADERS = {
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/list",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chain(tmp_path_factory.mktemp("mcp") / "store", graph="links")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("over", [over_stdio, over_http], ids=["stdio", "http"])
def test_a_client_searches_fetches_and_asks(
    root: Path, over: Callable[..., tuple[str, str, str]], mode: str
) -> None:
    seen: list[str] = []

    async def note(_progress: float, _total: float | None, message: str | None) -> None:
        seen.append(message or "")

    async def say(client: Client) -> tuple[str, str, str]:
        found = await value(client, "search", query="master of the Heron")
        fetched = await value(client, "fetch", id=found["results"][0]["id"])
        asked = await client.call_tool("ask", {"question": QUESTION}, progress_callback=note)
        assert asked.structured_content is not None
        return client.protocol_version or "", fetched["text"], asked.structured_content["answer"]

    version, text, answer = over(root, say, mode=mode)
    assert version == ("2026-07-28" if mode == "auto" else "2025-11-25")
    assert text.startswith("The Heron was a survey ship")
    assert "Tarn Hollow" in answer
    assert any(line.startswith("Hop 2") for line in seen)


INITIALIZE = (
    {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}}},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
)  # fmt: skip


class Stdio:
    """`hoptrail mcp` as a process, spoken to line by line."""

    def __init__(self, root: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "mcp", "--store", str(root), *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def send(self, *lines: object) -> None:
        for line in lines:
            self.stdin.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
        self.stdin.flush()

    def reply(self, number: int) -> dict[str, Any]:
        """The reply of that id; every line before it must be of the protocol too."""
        while True:
            read: dict[str, Any] = json.loads(self.stdout.readline())
            assert read["jsonrpc"] == "2.0"
            if read.get("id") == number:
                return read

    def call(self, number: int, tool: str, **arguments: object) -> None:
        params = {"name": tool, "arguments": arguments}
        self.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})


def test_stdout_has_nothing_but_the_protocol_and_eof_ends_the_server(root: Path) -> None:
    with Stdio(root) as server:
        server.send(*INITIALIZE, "this is no JSON")
        assert server.reply(1)["result"]["protocolVersion"] == "2025-06-18"
        server.call(2, "search", query="Heron")
        assert json.loads(server.reply(2)["result"]["content"][0]["text"])["results"]
        server.stdin.close()
        assert server.stdout.read() == ""
        assert server.process.wait(60) == 0
        server.process.stdin = None


def test_ctrl_c_ends_the_server_while_it_waits_for_its_client(root: Path) -> None:
    with Stdio(root) as server:
        server.send(*INITIALIZE)
        server.reply(1)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == -signal.SIGINT


def test_a_client_that_leaves_in_the_middle_of_a_question_ends_the_server(root: Path) -> None:
    with FakeServer(hang) as model, Stdio(root, "--model", model.url) as server:
        server.send(*INITIALIZE)
        server.reply(1)
        server.call(2, "ask", question=QUESTION)
        while not model.chats:
            assert server.process.poll() is None
            time.sleep(0.05)
        server.stdin.close()
        assert server.process.wait(60) == 0
        assert model.hung_up.wait(60)
        server.process.stdin = None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost:3000"}, 200),
        ({"origin": "https://chat.example"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 421),
        ({"content-type": "text/plain"}, 400),
    ],
)
def test_origin_and_host_are_checked(root: Path, headers: dict[str, str], status: int) -> None:
    async def run() -> int:
        async with (
            http_server(root, origins=["https://chat.example"]) as url,
            httpx.AsyncClient() as client,
        ):
            body = json.dumps(DISCOVER)
            sent = {"content-type": "application/json", **HEADERS, **headers}
            return (await client.post(url, content=body, headers=sent)).status_code

    assert asyncio.run(run()) == status


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Basic sesame", 401),
        ("Bearer sesame", 200),
        ("bearer sesame", 200),
        ("Bearer s\u00e9same", 401),
    ],
)
def test_a_key_is_asked_for(root: Path, sent: str | None, status: int) -> None:
    async def run() -> int:
        async with http_server(root, key="sesame") as url, httpx.AsyncClient() as client:
            key = {} if sent is None else {"authorization": sent.encode("latin-1")}
            reply = await client.post(url, json=DISCOVER, headers={**HEADERS, **key})  # type: ignore[dict-item]
            return reply.status_code

    assert asyncio.run(run()) == status


def test_a_body_that_is_too_large_is_refused(root: Path) -> None:
    async def run() -> int:
        async with http_server(root) as url, httpx.AsyncClient() as client:
            huge = {**DISCOVER, "padding": "x" * (1 << 21)}
            return (await client.post(url, json=huge, headers=HEADERS)).status_code

    assert asyncio.run(run()) == 413


def test_other_machines_are_let_in_with_a_key_only() -> None:
    for host in ("0.0.0.0", "192.168.1.5", "::", "server.example"):
        with pytest.raises(SettingsError, match="reached from other machines"):
            HttpAddress(host=host, port=1)
        assert HttpAddress(host=host, port=1, key="sesame").key == "sesame"
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.9"):
        assert HttpAddress(host=host, port=1).key is None


def test_an_address_is_read() -> None:
    assert http_address("[::1]:80").host == "::1"
    assert http_address("localhost:0").port == 0
    for wrong in ("8000", ":8000", "localhost", "localhost:x", "localhost:70000"):
        with pytest.raises(SettingsError, match="write HOST:PORT"):
            http_address(wrong)


@pytest.mark.parametrize("mode", MODES)
def test_a_client_that_gives_up_ends_its_model_calls(root: Path, mode: str) -> None:
    """The call is cut off while the model hangs; the connection goes on."""

    async def run(server: FakeServer) -> dict[str, Any]:
        models = RoleModels(default=ServedModel(url=server.url))
        async with (
            http_server(root, options=AskOptions(models=models)) as url,
            Client(url, mode=mode) as client,
        ):
            with anyio.CancelScope() as giving_up:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_until_asked, server, giving_up)
                    await client.call_tool("ask", {"question": QUESTION})
            assert giving_up.cancelled_caught
            assert await asyncio.to_thread(server.hung_up.wait, 60)
            return await value(client, "search", query="Heron")

    with FakeServer(hang) as server:
        assert asyncio.run(run(server))["results"]


async def _until_asked(server: FakeServer, giving_up: anyio.CancelScope) -> None:
    while not server.chats:
        await asyncio.sleep(0.02)
    giving_up.cancel()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--http", "0.0.0.0:0"], "--http-key-file"),
        (["--http", "nowhere"], "write HOST:PORT"),
        (["--allow-origin", "https://a.example"], "go with --http HOST:PORT"),
        (["--strategy", "psychic"], "Unknown strategy 'psychic'"),
    ],
)
def test_wrong_options_are_told(root: Path, arguments: list[str], told: str) -> None:
    assert told in error("mcp", "--store", root, *arguments, code=2)


def test_without_the_sdk_the_command_says_what_to_install(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hoptrail.app.cli.mcp_command.find_spec", lambda _: None)
    assert "pip install 'hoptrail[mcp]'" in error("mcp", "--store", root, code=2)


def test_nothing_else_loads_the_sdk() -> None:
    code = (
        "import sys, hoptrail, hoptrail.agents, hoptrail.app.cli.main\n"
        "hoptrail.KnowledgeBase\n"
        "print([m for m in ('mcp', 'starlette', 'uvicorn') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_the_http_command_serves_until_it_is_told_to_stop(root: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sesame\n")
    server = subprocess.Popen(
        [*COMMAND, "mcp", "--store", str(root), "--http", f"127.0.0.1:{_free_port()}",
         "--http-key-file", str(key)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stderr is not None
    with server:
        try:
            url = server.stderr.readline().split()[-1]
            status = 0
            while status == 0 and server.poll() is None:
                with suppress(httpx.TransportError):
                    status = httpx.post(url, json=DISCOVER, headers=HEADERS).status_code
            keyed = {**HEADERS, "authorization": "Bearer sesame"}
            assert status == 401
            assert httpx.post(url, json=DISCOVER, headers=keyed).status_code == 200
            server.terminate()
            assert server.wait(timeout=60) in (0, -15)
        finally:
            server.kill()
        assert server.stdout is not None
        assert server.stdout.read() == ""


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
