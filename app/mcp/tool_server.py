"""The MCP server over an open store: five tools, and documents and receipts as resources.

Both eras of the protocol are the SDK's work. What a client did wrong is told to it in one line; of
any other failure it hears only that there was one, since messages name paths of this machine.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol

import anyio
import mcp_types as types
from anyio.to_thread import run_sync
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter, ValidationError

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.app.mcp import document_tools
from hoptrail.app.mcp.addresses import DOCUMENTS, RECEIPTS, id_of, resource_uri
from hoptrail.app.mcp.ask_tool import AskOptions, Receipts, Report, ask
from hoptrail.app.mcp.tool_types import (
    AskArguments,
    AskResult,
    DocumentPage,
    FetchArguments,
    FetchedText,
    ListArguments,
    SearchArguments,
    SearchResults,
    Span,
    SpanArguments,
)
from hoptrail.app.text import json_text, one_line, plural, shortened
from hoptrail.rag.errors import HoptrailError, SettingsError

_LOG = logging.getLogger(__name__)

_SHOWN = 300
"""Characters of an argument that an error repeats."""
_LINKS = 10
_PAGE = 100

Context = ServerRequestContext[Any, Any]


class _Call(Protocol):
    def __call__(self, arguments: Any, report: Report) -> Awaitable[Any]:  # noqa: ANN401 (a tool's)
        """Runs the tool."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _ToolEntry:
    """A tool: what clients read of it, its argument and result types, and what it does."""

    name: str
    title: str
    description: str
    arguments: TypeAdapter[Any]
    result: TypeAdapter[Any]
    call: _Call
    idempotent: bool = True

    def described(self) -> types.Tool:
        """The tool as clients list it."""
        return types.Tool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=self.arguments.json_schema(),
            output_schema=self.result.json_schema(mode="serialization"),
            annotations=types.ToolAnnotations(
                title=self.title,
                read_only_hint=True,
                destructive_hint=False,
                idempotent_hint=self.idempotent,
                open_world_hint=False,
            ),
        )


def tool_server(kb: KnowledgeBase, options: AskOptions) -> Server[Any]:
    """The server of one tenant's documents; who calls it closes the knowledge base."""
    receipts = Receipts()
    tools = {one.name: one for one in _tools(kb, options, receipts)}
    found = kb.store.stats()
    return Server(
        "hoptrail",
        title="hoptrail",
        version=version("hoptrail"),
        instructions=(
            f"Answers questions from {plural(found.documents, 'document')}. ask searches over "
            "several hops and returns an answer whose quotes are checked; search and fetch find "
            "and read documents; read_span returns exact characters of one."
        ),
        on_list_tools=partial(_list_tools, tools),
        on_call_tool=partial(_call_tool, tools),
        on_list_resources=partial(_list_resources, kb),
        on_list_resource_templates=_list_templates,
        on_read_resource=partial(_read_resource, kb, receipts),
    )


def _tools(kb: KnowledgeBase, options: AskOptions, receipts: Receipts) -> Sequence[_ToolEntry]:
    searching = anyio.CapacityLimiter(max(2, os.cpu_count() or 1))

    def reading(tool: Callable[[KnowledgeBase, Any], Any]) -> _Call:
        async def call(arguments: Any, report: Report) -> Any:  # noqa: ANN401 (a tool's)
            return await run_sync(tool, kb, arguments, abandon_on_cancel=True, limiter=searching)

        return call

    async def answering(arguments: AskArguments, report: Report) -> AskResult:
        return await ask(kb, options, receipts, arguments, report)

    return (
        _ToolEntry(
            name="search",
            title="Search the documents",
            description="Finds the documents that bear on a query, best first. Read one by fetch.",
            arguments=TypeAdapter(SearchArguments),
            result=TypeAdapter(SearchResults),
            call=reading(document_tools.search),
        ),
        _ToolEntry(
            name="fetch",
            title="Read a document",
            description="The text of a document by the id that search returned. A long one comes "
            "in parts: metadata has the id of the next as hoptrail.next_id.",
            arguments=TypeAdapter(FetchArguments),
            result=TypeAdapter(FetchedText),
            call=reading(document_tools.fetch),
        ),
        _ToolEntry(
            name="ask",
            title="Answer a question from the documents",
            description="Answers a question whose answer may be scattered over several documents: "
            "searches hop by hop and returns claims with exact quotes. Takes seconds to minutes.",
            arguments=TypeAdapter(AskArguments),
            result=TypeAdapter(AskResult),
            call=answering,
            idempotent=False,
        ),
        _ToolEntry(
            name="read_span",
            title="Read exact characters of a document",
            description="Characters start to end of a document, exactly as quotes cite them.",
            arguments=TypeAdapter(SpanArguments),
            result=TypeAdapter(Span),
            call=reading(document_tools.read_span),
        ),
        _ToolEntry(
            name="list_documents",
            title="List the documents",
            description="Ids and titles of all documents, a page at a time.",
            arguments=TypeAdapter(ListArguments),
            result=TypeAdapter(DocumentPage),
            call=reading(document_tools.list_documents),
        ),
    )


async def _list_tools(
    tools: dict[str, _ToolEntry], _context: Context, _params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[one.described() for one in tools.values()])


async def _call_tool(
    tools: dict[str, _ToolEntry], context: Context, params: types.CallToolRequestParams
) -> types.CallToolResult:
    tool = tools.get(params.name)
    if tool is None:
        raise MCPError(
            code=types.INVALID_PARAMS,
            message=f"Unknown tool {_repeated(params.name)}: use one of {', '.join(tools)}.",
        )

    async def report(number: float, line: str) -> None:
        await context.session.report_progress(number, None, line)

    try:
        arguments = tool.arguments.validate_python(params.arguments or {})
        result = await tool.call(arguments, report)
    except ValidationError as error:
        return _failed(_first_problem(tool, error))
    except Exception as error:
        return _failed(_told(error))
    value = tool.result.dump_python(result, mode="json")
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=json_text(value)), *_links(result)],
        structured_content=value,
    )


def _failed(message: str) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=one_line(message))], is_error=True
    )


def _first_problem(tool: _ToolEntry, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"]) or "arguments"
    return (
        f"Wrong arguments for {tool.name}: {_repeated(name)}: {first['msg'].lower()}. See the "
        "tool's input schema."
    )


def _told(error: Exception) -> str:
    """What a client hears of an error."""
    if isinstance(error, SettingsError):
        return str(error)
    if isinstance(error, HoptrailError):
        _LOG.warning("%s", error)
    else:
        _LOG.exception("A tool failed")
    return "The server could not do this; its log says why. Try again later."


def _links(result: object) -> list[types.ContentBlock]:
    """Links to what an answer was made from; `search` and `fetch` return one item alone."""
    if not isinstance(result, AskResult):
        return []
    cited = {resource_uri(one.document_id): one for one in reversed(result.sources)}
    documents = sorted(cited.items(), key=lambda pair: pair[1].number)[:_LINKS]
    return [
        types.ResourceLink(uri=result.receipt, name="receipt", mime_type="application/json"),
        *(
            types.ResourceLink(uri=uri, name=one.title, mime_type="text/plain")
            for uri, one in documents
        ),
    ]


async def _list_resources(
    kb: KnowledgeBase, _context: Context, params: types.PaginatedRequestParams | None
) -> types.ListResourcesResult:
    cursor = (params.cursor if params else None) or ""
    wanted = ListArguments(cursor=cursor, limit=_PAGE)
    page = await run_sync(document_tools.list_documents, kb, wanted)
    return types.ListResourcesResult(
        resources=[
            types.Resource(uri=resource_uri(one.id), name=one.title, mime_type="text/plain")
            for one in page.documents
        ],
        next_cursor=page.next_cursor,
    )


async def _list_templates(
    _context: Context, _params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    return types.ListResourceTemplatesResult(
        resource_templates=[
            types.ResourceTemplate(
                uri_template=DOCUMENTS + "{id}",
                name="document",
                description="A document, or with #char=START,END a part of it.",
                mime_type="text/plain",
            ),
            types.ResourceTemplate(
                uri_template=RECEIPTS + "{id}",
                name="receipt",
                description="The receipt of an answer that ask gave: steps, quotes, cost.",
                mime_type="application/json",
            ),
        ]
    )


async def _read_resource(
    kb: KnowledgeBase,
    receipts: Receipts,
    _context: Context,
    params: types.ReadResourceRequestParams,
) -> types.ReadResourceResult:
    uri = str(params.uri)
    receipt = receipts.read(uri)
    if receipt is not None:
        return _resource(uri, receipt, "application/json")
    if uri.startswith(DOCUMENTS):
        wanted = FetchArguments(id=id_of(uri))
        try:
            found = await run_sync(document_tools.fetch, kb, wanted)
        except SettingsError as error:
            raise _not_found(uri, str(error)) from None
        return _resource(uri, found.text, "text/plain")
    raise _not_found(uri, f"There is no resource {_repeated(uri)}.")


def _resource(uri: str, text: str, kind: str) -> types.ReadResourceResult:
    return types.ReadResourceResult(
        contents=[types.TextResourceContents(uri=uri, text=text, mime_type=kind)]
    )


def _not_found(uri: str, message: str) -> MCPError:
    return MCPError(code=types.INVALID_PARAMS, message=one_line(message), data={"uri": uri})


def _repeated(text: str) -> str:
    """A client's text as an error repeats it."""
    return repr(shortened(one_line(text), _SHOWN))
