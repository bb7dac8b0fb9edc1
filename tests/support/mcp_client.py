"""A client of the MCP server for tests: in this process, over stdio, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import CallToolResult
from support.agents import open_chain
from support.cli import COMMAND

from hoptrail.app.mcp.ask_tool import AskOptions
from hoptrail.app.mcp.mcp_transports import HttpAddress, http_app
from hoptrail.app.mcp.tool_server import tool_server

T = TypeVar("T")
Talk = Callable[[Client], Awaitable[T]]

MODES = ("auto", "legacy")
"""The protocol without sessions, and the one that begins with `initialize`."""


def talk(root: Path, say: Talk[T], *, mode: str = "auto", options: AskOptions | None = None) -> T:
    """What a client of a server over the store in this process comes back with."""

    async def run() -> T:
        with open_chain(root) as kb:
            async with Client(tool_server(kb, options or AskOptions()), mode=mode) as client:
                return await say(client)

    return asyncio.run(run())


def over_stdio(root: Path, say: Talk[T], *, mode: str) -> T:
    """The same with `hoptrail mcp` as a process behind stdin and stdout."""

    async def run() -> T:
        command = StdioServerParameters(
            command=COMMAND[0], args=[*COMMAND[1:], "mcp", "--store", str(root)]
        )
        async with Client(command, mode=mode) as client:
            return await say(client)

    return asyncio.run(run())


@asynccontextmanager
async def http_server(
    root: Path,
    *,
    options: AskOptions | None = None,
    key: str | None = None,
    origins: Sequence[str] = (),
) -> AsyncIterator[str]:
    """A server over HTTP in this loop; its address."""
    with open_chain(root) as kb:
        place = HttpAddress(host="127.0.0.1", port=0, key=key, origins=origins)
        app = http_app(tool_server(kb, options or AskOptions()), place)
        config = uvicorn.Config(app, host=place.host, port=0, log_level="warning", lifespan="on")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            server.should_exit = True
            await serving


def over_http(root: Path, say: Talk[T], *, mode: str) -> T:
    """The same over streamable HTTP."""

    async def run() -> T:
        async with http_server(root) as url, Client(url, mode=mode) as client:
            return await say(client)

    return asyncio.run(run())


async def value(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    """The structured content of a call, which its text must say too."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return checked(result)


def checked(result: CallToolResult) -> dict[str, Any]:
    """The structured content of a result, after its text was compared with it."""
    text = result.content[0]
    assert text.type == "text"
    assert json.loads(text.text) == result.structured_content
    assert isinstance(result.structured_content, Mapping)
    return dict(result.structured_content)


async def refused(client: Client, tool: str, **arguments: object) -> str:
    """What a call that must fail is told: one line."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    (text,) = result.content
    assert text.type == "text"
    assert "\n" not in text.text
    return text.text
