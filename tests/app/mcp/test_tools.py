"""The tools as a client sees them: shapes, bounds, bad arguments, hostile documents."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult
from support.agents import CHAIN, QUESTION, make_chain
from support.mcp_client import MODES, checked, refused, talk, value

from hoptrail.agents.runs.receipt import Receipt
from hoptrail.app.mcp.addresses import PART
from hoptrail.app.mcp.token_limit import MOST_TOKENS, longest_prefix
from hoptrail.rag.text.tokens import count_tokens

HOSTILE = "Ti\x1b[31mtle\nsecond\u202eline\U000e0041"
LONG = "\n".join(f"Entry {at}: the lamp of ward {at} was lit." for at in range(700))
CORPUS = {
    **CHAIN,
    "hostile": (HOSTILE, "The zephyr lantern is blue.\x07\u202e It hangs at Ost."),
}
LONG_TEXTS = {
    "long/notes #1.txt": ("Ward book", LONG),
    "ideographs": ("Ideographs", "燈塔在港口的北邊。" * 1_600),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chain(tmp_path_factory.mktemp("mcp") / "store", CORPUS, graph="links")


@pytest.fixture(scope="module")
def long_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chain(tmp_path_factory.mktemp("long") / "store", LONG_TEXTS)


@pytest.mark.parametrize("mode", MODES)
def test_the_tools_are_read_only_and_have_schemas(root: Path, mode: str) -> None:
    tools = talk(root, lambda client: client.list_tools(), mode=mode).tools
    names = [one.name for one in tools]
    assert names == ["search", "fetch", "ask", "read_span", "list_documents"]
    for tool in tools:
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is True
        assert tool.annotations.destructive_hint is False
        assert tool.output_schema is not None
        for schema in (tool.input_schema, tool.output_schema):
            jsonschema.Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object"


def test_search_and_fetch_have_the_shape_of_chatgpts_connectors(root: Path) -> None:
    async def say(client: Client) -> tuple[Any, Any]:
        found = await client.call_tool("search", {"query": "master of the Heron"})
        first = checked(found)["results"][0]["id"]
        return found, await client.call_tool("fetch", {"id": first})

    found, fetched = talk(root, say)
    for result in (found, fetched):
        assert [one.type for one in result.content] == ["text"]
    results = checked(found)
    assert set(results) == {"results"}
    assert all(set(one) == {"id", "title", "url"} for one in results["results"])
    assert all(isinstance(text, str) for one in results["results"] for text in one.values())
    document = checked(fetched)
    assert document == {
        "id": "d1",
        "title": CHAIN["d1"][0],
        "text": CHAIN["d1"][1],
        "url": "hoptrail://documents/d1",
        "metadata": {"kind": "d1"},
    }


def test_results_follow_the_schemas_that_are_listed(root: Path) -> None:
    calls: dict[str, dict[str, object]] = {
        "search": {"query": "Heron"},
        "fetch": {"id": "d1"},
        "ask": {"question": QUESTION},
        "read_span": {"id": "d1", "start": 0, "end": 9},
        "list_documents": {"limit": 2},
    }

    async def say(client: Client) -> None:
        for tool in (await client.list_tools()).tools:
            assert tool.output_schema is not None
            result = await value(client, tool.name, **calls[tool.name])
            jsonschema.validate(result, tool.output_schema)

    talk(root, say)


def test_an_answer_has_checked_quotes_links_and_a_receipt(root: Path) -> None:
    async def say(client: Client) -> tuple[dict[str, Any], list[Any], str, list[str]]:
        result = await client.call_tool("ask", {"question": QUESTION})
        found, links = checked(result), result.content[1:]
        (receipt,) = (await client.read_resource(links[0].uri)).contents  # type: ignore[union-attr]
        spans = [
            await value(
                client, "read_span", id=one["document_id"], start=one["start"], end=one["end"]
            )
            for one in found["sources"]
        ]
        return found, links, receipt.text, [one["text"] for one in spans]  # type: ignore[union-attr]

    found, links, receipt, spans = talk(root, say)
    assert "Tarn Hollow" in found["answer"]
    assert [one["number"] for one in found["sources"]] == list(range(1, len(spans) + 1))
    assert [one["quote"] for one in found["sources"]] == spans
    assert {n for claim in found["claims"] for n in claim["sources"]} <= set(
        range(1, len(spans) + 1)
    )
    assert found["left_out"] == 0
    assert [one.type for one in links] == ["resource_link"] * len(links)
    assert links[0].uri == found["receipt"]
    assert [one.uri for one in links[1:]] == [one["url"] for one in found["sources"]]
    assert Receipt.parse(receipt).question == QUESTION


@pytest.mark.parametrize("mode", MODES)
def test_progress_is_reported_hop_by_hop(root: Path, mode: str) -> None:
    seen: list[tuple[float, str]] = []

    async def note(progress: float, _total: float | None, message: str | None) -> None:
        seen.append((progress, message or ""))

    async def say(client: Client) -> None:
        await client.call_tool("ask", {"question": QUESTION}, progress_callback=note)

    talk(root, say, mode=mode)
    numbers = [number for number, _ in seen]
    assert numbers == sorted(set(numbers))
    lines = [line for _, line in seen]
    assert "Hop 1: searching Where was the first master of the Heron born?" in lines
    assert any(line.startswith("Hop 2: ") for line in lines)
    assert lines[-1] == "Checking the claims against their quotes"


def test_a_long_document_is_fetched_part_by_part(long_root: Path) -> None:
    async def say(client: Client) -> list[dict[str, Any]]:
        parts, wanted = [], "long/notes #1.txt"
        while wanted:
            parts.append(await value(client, "fetch", id=wanted))
            wanted = parts[-1]["metadata"].get("hoptrail.next_id", "")
        return parts

    parts = talk(long_root, say)
    assert "".join(one["text"] for one in parts) == LONG
    assert len(parts) > 2
    assert all(count_tokens(one["text"]) <= MOST_TOKENS for one in parts)
    assert parts[0]["metadata"]["hoptrail.part"] == f"characters 0-{PART} of {len(LONG)}"
    assert parts[1]["url"] == f"hoptrail://documents/long%2Fnotes%20%231.txt#char={PART},{2 * PART}"


def test_search_names_the_part_of_a_long_document(tmp_path: Path) -> None:
    from hoptrail.agents.knowledge_base import KnowledgeBase
    from hoptrail.rag.embedders.hashing import HashEmbedder

    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "wards.txt").write_text(LONG + "\n\nThe zinnia bell rang at Ost.\n" + LONG, "utf-8")
    with KnowledgeBase.create(tmp_path / "store", embedder=HashEmbedder()) as kb:
        kb.ingest(notes, sentences=False)

    async def say(client: Client) -> tuple[list[dict[str, str]], dict[str, Any]]:
        found = (await value(client, "search", query="zinnia bell"))["results"]
        return found, await value(client, "fetch", id=found[0]["id"])

    found, part = talk(tmp_path / "store", say)
    assert found[0]["id"].startswith("notes/wards.txt#char=")
    assert len({one["id"] for one in found}) == len(found)
    assert "The zinnia bell rang at Ost." in part["text"]


def test_text_dense_in_tokens_is_cut_by_tokens_and_goes_on(long_root: Path) -> None:
    async def say(client: Client) -> tuple[dict[str, Any], dict[str, Any]]:
        first = await value(client, "read_span", id="ideographs", start=0, end=14_000)
        return first, await value(
            client, "read_span", id="ideographs", start=first["next_start"], end=14_000
        )

    first, second = talk(long_root, say)
    text = LONG_TEXTS["ideographs"][1]
    assert count_tokens(first["text"]) <= MOST_TOKENS
    assert first["end"] == first["next_start"] == len(first["text"])
    assert (first["text"] + second["text"]) == text[: second["end"]]


def test_the_longest_prefix_is_cut_at_the_last_token_that_fits() -> None:
    text = "one two three four five"
    assert longest_prefix(text, 3) == "one two three"
    assert longest_prefix(text, 50) == text
    assert longest_prefix("", 3) == ""


def test_the_list_of_documents_is_paged(root: Path) -> None:
    async def say(client: Client) -> list[dict[str, Any]]:
        pages = [await value(client, "list_documents", limit=4)]
        while pages[-1]["next_cursor"]:
            pages.append(
                await value(client, "list_documents", limit=4, cursor=pages[-1]["next_cursor"])
            )
        return pages

    pages = talk(root, say)
    assert [len(one["documents"]) for one in pages] == [4, 4, 1]
    assert [d["id"] for page in pages for d in page["documents"]] == sorted(CORPUS)
    assert {one["total"] for one in pages} == {len(CORPUS)}


def test_pages_are_bounded_in_tokens(tmp_path: Path) -> None:
    wide = {f"{at:03}-" + "名" * 900: ("", "Text.") for at in range(30)}
    make_chain(tmp_path / "store", wide)

    async def say(client: Client) -> dict[str, Any]:
        return await value(client, "list_documents", limit=200)

    page = talk(tmp_path / "store", say)
    assert 1 <= len(page["documents"]) < len(wide)
    assert page["next_cursor"] == page["documents"][-1]["id"]
    assert count_tokens(json.dumps(page["documents"], ensure_ascii=False)) < 1.1 * MOST_TOKENS


def test_hostile_titles_come_on_one_line_without_controls(root: Path) -> None:
    progress: list[str] = []

    async def note(_progress: float, _total: float | None, message: str | None) -> None:
        progress.append(message or "")

    async def say(client: Client) -> list[Any]:
        found = await client.call_tool("search", {"query": "zephyr lantern"})
        fetched = await client.call_tool("fetch", {"id": "hostile"})
        question = {"question": "What colour is the zephyr lantern?"}
        asked = await client.call_tool("ask", question, progress_callback=note)
        listed = await client.call_tool("list_documents", {})
        return [found, fetched, asked, listed]

    def texts(node: object) -> list[str]:
        if isinstance(node, dict):
            return [one for value in node.values() for one in texts(value)]
        if isinstance(node, list):
            return [one for value in node for one in texts(value)]
        return [node] if isinstance(node, str) else []

    results = talk(root, say)
    titled = 0
    for result in results:
        shown = texts(result.structured_content) + progress
        shown += [one.name for one in result.content if one.type == "resource_link"]
        titles = [one for one in shown if "tle" in one and "second" in one]
        titled += len(titles)
        for text in shown:
            bad = [c for c in text if unicodedata.category(c) in ("Cc", "Cf") and c not in "\n\t"]
            assert bad == [], text
        assert all("\n" not in one for one in titles)
        assert "\x1b" not in result.content[0].text
        assert "\n" not in result.content[0].text
    assert titled >= len(results)


def test_read_span_is_exact_and_its_text_escapes_controls(root: Path) -> None:
    async def say(client: Client) -> CallToolResult:
        return await client.call_tool("read_span", {"id": "hostile", "start": 0, "end": 40})

    result = talk(root, say)
    assert checked(result)["text"] == CORPUS["hostile"][1][:40]
    assert result.content[0].text.isprintable()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("search", {}, "Wrong arguments for search: 'query': field required."),
        ("search", {"query": ""}, "'query': string should have at least 1 character"),
        ("search", {"query": "x" * 2_001}, "'query': string should have at most 2000 characters"),
        ("search", {"query": 7}, "'query': input should be a valid string"),
        ("search", {"query": "x", "k": 3}, "'k': unexpected keyword argument"),
        ("fetch", {"id": "nobody"}, "There is no document 'nobody': use an id that"),
        ("fetch", {"id": "../../etc/passwd"}, "There is no document '../../etc/passwd'"),
        ("fetch", {"id": "d1#char=5000,6000"}, "and none from 5000: fetch it by its id alone."),
        ("fetch", {"id": "d1\x1b[2J\nzz"}, "There is no document 'd1\ufffd[2J zz'"),
        ("read_span", {"id": "d1", "start": 9, "end": 4}, "A span needs start < end, not 9 and 4."),
        ("read_span", {"id": "d1", "start": -1, "end": 4}, "'start': input should be greater"),
        ("read_span", {"id": "nobody", "start": 0, "end": 4}, "There is no document 'nobody'"),
        ("list_documents", {"limit": 0}, "'limit': input should be greater than or equal to 1"),
        ("list_documents", {"limit": "many"}, "'limit': input should be a valid integer"),
        ("ask", {"question": "q" * 20_001}, "'question': string should have at most 20000"),
        ("ask", {"question": "Who?", "strategy": "psychic"}, "Unknown strategy 'psychic': use"),
    ],
)
def test_bad_arguments_are_told_in_one_line(
    root: Path, tool: str, arguments: dict[str, object], told: str
) -> None:
    async def say(client: Client) -> tuple[str, dict[str, Any]]:
        message = await refused(client, tool, **arguments)
        return message, await value(client, "search", query="Heron")

    message, after = talk(root, say)
    assert told in message
    assert after["results"]


def test_unknown_tools_and_resources_are_errors_of_the_protocol(root: Path) -> None:
    async def say(client: Client) -> list[MCPError]:
        errors = []
        for call in (
            client.call_tool("delete_everything", {}),
            client.read_resource("hoptrail://documents/nobody"),
            client.read_resource("hoptrail://receipts/0123"),
            client.read_resource("file:///etc/passwd"),
        ):
            with pytest.raises(MCPError) as raised:
                await call
            errors.append(raised.value)
        return errors

    errors = talk(root, say)
    assert [one.error.code for one in errors] == [-32602] * 4
    assert "use one of search, fetch" in errors[0].error.message
    assert "no document 'nobody'" in errors[1].error.message


def test_documents_are_resources_in_pages(root: Path) -> None:
    async def say(client: Client) -> tuple[list[str], str]:
        listed = await client.list_resources()
        uris = [one.uri for one in listed.resources]
        texts = [(await client.read_resource(uri)).contents[0] for uri in uris]
        templates = (await client.list_resource_templates()).resource_templates
        assert {one.uri_template for one in templates} == {
            "hoptrail://documents/{id}",
            "hoptrail://receipts/{id}",
        }
        return uris, texts[uris.index("hoptrail://documents/d2")].text  # type: ignore[union-attr]

    uris, text = talk(root, say)
    assert len(uris) == len(CORPUS)
    assert text == CHAIN["d2"][1]


def test_a_failure_of_the_store_names_no_path(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from hoptrail.app.mcp import document_tools
    from hoptrail.rag.errors import StoreDamaged

    def fail(*_: object) -> None:
        raise StoreDamaged(f"The store at {root} is damaged.")

    monkeypatch.setattr(document_tools, "search", fail)

    async def say(client: Client) -> str:
        return await refused(client, "search", query="Heron")

    assert str(root) not in talk(root, say)
    assert str(root) in caplog.text


def test_the_web_address_in_a_documents_metadata_is_its_url() -> None:
    from hoptrail.app.mcp.addresses import public_url

    assert public_url("a", {"url": "https://example.org/a"}) == "https://example.org/a"
    for wrong in ("javascript:alert(1)", "https://a\nb", "http://", "https://a b", 7, "x" * 3_000):
        assert public_url("a b", {"url": wrong}) == "hoptrail://documents/a%20b"
