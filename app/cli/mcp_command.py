"""`hoptrail mcp`: serves a store's documents as tools to programs that speak MCP."""

from __future__ import annotations

import asyncio
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hoptrail.app.cli import options
from hoptrail.app.cli.model_options import read_key, role_models, served_model
from hoptrail.app.cli.output import note
from hoptrail.app.cli.resolve import (
    budget_of,
    embedder_flags,
    embedder_of,
    run_settings,
    store_location,
)
from hoptrail.app.cli.settings import first, load_settings
from hoptrail.rag.errors import SettingsError

if TYPE_CHECKING:
    from mcp.server import Server

    from hoptrail.app.mcp.mcp_transports import HttpAddress


def mcp(  # noqa: PLR0913 (a command's options are its parameters)
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Serve HTTP there, at /mcp.  [default: stdio]"),
    ] = None,
    http_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File that holds the key that HTTP clients must send."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST", help="A name by which clients reach the HTTP server; may be repeated."
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A web page's origin that may call it; may be repeated."),
    ] = None,
    strategy: options.Strategy = None,
    mode: options.AskMode = None,
    model: options.ModelUrl = None,
    model_name: options.ModelName = None,
    api_key_file: options.KeyFile = None,
    role: options.RoleSettings = None,
    budget_calls: options.Calls = None,
    budget_tokens: options.Tokens = None,
    budget_searches: options.Searches = None,
    budget_seconds: options.Seconds = None,
    embedder: options.EmbedderName = None,
    embedder_folder: options.EmbedderFolder = None,
    embedder_key_file: options.EmbedderKeyFile = None,
    settings: options.SettingsFile = None,
) -> None:
    """Serve the documents as tools: search, fetch, ask, read_span, list_documents (MCP)."""
    if find_spec("mcp") is None:
        raise SettingsError(
            "`hoptrail mcp` needs the MCP SDK, which is not installed: pip install 'hoptrail[mcp]'"
        )
    from hoptrail.agents.knowledge_base import KnowledgeBase
    from hoptrail.agents.strategies.registry import strategy as strategy_named
    from hoptrail.app.mcp.ask_tool import AskOptions
    from hoptrail.app.mcp.mcp_transports import http_address
    from hoptrail.app.mcp.tool_server import tool_server

    tables = load_settings(settings)
    root, name = store_location(store, tenant, tables.store)
    key = None if http_key_file is None else read_key(http_key_file)
    address = (
        None
        if http is None
        else http_address(
            http, key=key, hosts=tuple(allow_host or ()), origins=tuple(allow_origin or ())
        )
    )
    if address is None and (http_key_file or allow_host or allow_origin):
        raise SettingsError(
            "--http-key-file, --allow-host and --allow-origin go with --http HOST:PORT."
        )
    default = served_model(model, model_name, api_key_file, tables.model)
    answering = AskOptions(
        strategy=strategy_named(first(strategy, tables.ask.strategy) or "pool").name,
        models=role_models(default, tables.models, role),
        budget=budget_of(
            budget_calls, budget_tokens, budget_searches, budget_seconds, tables.budget
        ),
        settings=run_settings(mode, tables.ask),
    )
    if address is None:
        # A thread waits in a read of stdin, which nothing can end but the client.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    flags = embedder_flags(embedder, embedder_folder, embedder_key_file)
    encoder = embedder_of(root, name, flags, tables.store)
    with KnowledgeBase.open(root, tenant=name, embedder=encoder, keep_runs=False) as kb:
        asyncio.run(_serve(tool_server(kb, answering), address))


async def _serve(server: Server[Any], address: HttpAddress | None) -> None:
    from hoptrail.app.mcp.mcp_transports import serve_http, serve_stdio

    if address is None:
        await serve_stdio(server)
    else:
        note(f"MCP over HTTP: http://{address.host}:{address.port}/mcp")
        await serve_http(server, address)
