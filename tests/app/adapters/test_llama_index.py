"""LlamaIndex's interfaces over a store, and its documents in one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from llama_index.core import SimpleDirectoryReader
from llama_index.core.base.response.schema import Response
from llama_index.core.node_parser import MarkdownNodeParser
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.schema import QueryBundle, TextNode
from support.agents import QUESTION, UNKNOWN

from hoptrail.agents import Receipt
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.app.adapters import LlamaIndexQueryEngine, LlamaIndexRetriever, documents_of
from hoptrail.app.adapters.cited_answer import NOTHING, cited
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import SettingsError


def test_the_retriever_gives_what_the_search_does(kb: KnowledgeBase) -> None:
    retriever = LlamaIndexRetriever(kb, k=3)
    assert isinstance(retriever, BaseRetriever)
    found = retriever.retrieve("master of the Heron")
    wanted = kb.search("master of the Heron", k=3).hits
    assert [(one.node_id, one.score) for one in found] == [(h.passage.id, h.score) for h in wanted]
    for one in found:
        node = one.node
        assert isinstance(node, TextNode)
        assert node.ref_doc_id == node.metadata["document_id"]
        assert node.start_char_idx is not None
        assert node.end_char_idx is not None
        span = kb.store.slice(node.ref_doc_id, node.start_char_idx, node.end_char_idx)
        assert span == node.text
    awaited = asyncio.run(retriever.aretrieve(QueryBundle("master of the Heron")))
    assert [one.node_id for one in awaited] == [one.node_id for one in found]


def test_the_retriever_takes_mode_and_filter(kb: KnowledgeBase) -> None:
    (found,) = LlamaIndexRetriever(kb, mode="lexical", where={"kind": "d6"}).retrieve("Heron")
    assert (found.node.metadata["document_id"], found.node.metadata["source"]) == ("d6", "lexical")


@pytest.mark.parametrize("awaited", [False, True])
def test_the_query_engine_answers_with_its_quotes(kb: KnowledgeBase, awaited: bool) -> None:
    engine = LlamaIndexQueryEngine(kb, strategy="single")
    response = asyncio.run(engine.aquery(QUESTION)) if awaited else engine.query(QUESTION)
    assert isinstance(response, Response)
    assert response.metadata is not None
    receipt = Receipt.parse(response.metadata["receipt"])
    assert receipt.strategy == "single"
    assert str(response) == receipt.answer
    assert [one.text for one in response.source_nodes] == [item.quote for item in cited(receipt)]
    assert [one.node.ref_doc_id for one in response.source_nodes] == [
        item.document_id for item in cited(receipt)
    ]


def test_the_query_engine_says_when_nothing_answers(kb: KnowledgeBase) -> None:
    response = LlamaIndexQueryEngine(kb).query(UNKNOWN)
    assert str(response) == NOTHING
    assert response.metadata is not None
    assert response.metadata["outcome"] == "abstained"


def test_what_readers_load_is_stored_and_found(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "heron.txt").write_text("The Heron was launched at Maddock Yard.", "utf-8")
    (notes / "blank.txt").write_text(" \n", "utf-8")
    loaded = SimpleDirectoryReader(str(notes), filename_as_id=True).load_data()
    documents = documents_of(loaded)
    assert [(one.title, one.text) for one in documents] == [
        ("heron.txt", "The Heron was launched at Maddock Yard.")
    ]
    with KnowledgeBase.create(tmp_path / "store", embedder=HashEmbedder()) as kb:
        first = kb.put(documents)
        assert kb.put(documents_of(loaded)) == first, "what is unchanged is not stored again"
        (hit,) = kb.search("Maddock Yard").hits
        assert hit.passage.document_id == documents[0].id == str(notes / "heron.txt")
        found = kb.search("Maddock Yard", where={"file_name": "heron.txt"})
        assert found.hits == (hit,)


def test_what_node_parsers_make_is_a_source_too() -> None:
    whole = LlamaDocument(
        text="# Heron\n\nA ship.\n\n# Orrin\n\nA valley.\n",
        id_="whole",
        metadata={"title": "Places", "tags": ["a"], "n": 7},
    )
    nodes = MarkdownNodeParser().get_nodes_from_documents([whole])
    documents = documents_of(nodes)
    assert [one.text for one in documents] == ["# Heron\n\nA ship.", "# Orrin\n\nA valley."]
    assert [one.id for one in documents] == [one.node_id for one in nodes]
    assert {one.title for one in documents} == {"Places"}
    assert all(one.metadata["n"] == 7 and "tags" not in one.metadata for one in documents)


def test_a_malformed_document_is_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    wrong = LlamaDocument(text="half a character: \ud800", id_="wrong")
    right = LlamaDocument(text="whole", id_="right")
    with KnowledgeBase.create(tmp_path / "store", embedder=HashEmbedder()) as kb:
        with pytest.raises(SettingsError):
            kb.put(documents_of([right, wrong]))
        assert kb.store.fingerprints() == {}
