"""LangChain's interfaces over a store: retriever and tool, awaited and not."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import ToolException
from support.agents import QUESTION, UNKNOWN

from hoptrail.agents import Budget, Receipt
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.app.adapters import LangChainRetriever, ask_tool
from hoptrail.app.adapters.cited_answer import NOTHING, cited


def test_the_retriever_gives_what_the_search_does(kb: KnowledgeBase) -> None:
    retriever = LangChainRetriever(knowledge_base=kb, k=3)
    found = retriever.invoke("master of the Heron")
    wanted = kb.search("master of the Heron", k=3).hits
    assert [one.id for one in found] == [hit.passage.id for hit in wanted]
    assert all(isinstance(one, Document) for one in found)
    for one in found:
        at = one.metadata
        assert kb.store.slice(at["document_id"], at["start"], at["end"]) == one.page_content
    assert [one.metadata["score"] for one in found] == [hit.score for hit in wanted]
    assert asyncio.run(retriever.ainvoke("master of the Heron")) == found
    assert retriever.batch(["master of the Heron", "harbour"])[0] == found


def test_the_retriever_takes_mode_and_filter(kb: KnowledgeBase) -> None:
    only = LangChainRetriever(knowledge_base=kb, mode="lexical", where={"kind": "d6"})
    (found,) = only.invoke("Heron")
    assert (found.metadata["document_id"], found.metadata["source"]) == ("d6", "lexical")


def test_the_retriever_is_part_of_a_chain(kb: KnowledgeBase) -> None:
    titles = RunnableLambda(lambda found: [one.metadata["title"] for one in found])
    chain = LangChainRetriever(knowledge_base=kb, k=1) | titles
    assert chain.invoke("Ilsa Corrin navigator") == ["Ilsa Corrin"]


@pytest.mark.parametrize("awaited", [False, True])
def test_the_tool_answers_with_numbered_quotes_and_the_receipt(
    kb: KnowledgeBase, awaited: bool
) -> None:
    tool = ask_tool(kb, strategy="single", budget=Budget(searches=4))
    call = {"type": "tool_call", "id": "1", "name": tool.name, "args": {"question": QUESTION}}
    message = asyncio.run(tool.ainvoke(call)) if awaited else tool.invoke(call)
    assert isinstance(message, ToolMessage)
    receipt = message.artifact
    assert isinstance(receipt, Receipt)
    assert (receipt.strategy, receipt.budget.searches) == ("single", 4)
    lines = str(message.content).split("\n")
    for number, item in enumerate(cited(receipt), 1):
        place = f"({item.document_id}, characters {item.start} to {item.end})"
        assert f"[{number}] {item.title} {place}" in lines
        assert f"{item.quote} [{number}]" in lines


def test_the_tool_says_when_nothing_answers(kb: KnowledgeBase) -> None:
    assert ask_tool(kb).invoke({"question": UNKNOWN}) == NOTHING


def test_the_tool_is_described_and_refuses_other_arguments(kb: KnowledgeBase) -> None:
    tool = ask_tool(kb, name="archive", description="Asks the archive.")
    assert (tool.name, tool.description) == ("archive", "Asks the archive.")
    assert list(tool.args) == ["question"]
    with pytest.raises((ValueError, ToolException)):
        tool.invoke({"query": "x"})


def test_nothing_is_imported_until_it_is_used() -> None:
    code = (
        "import sys, hoptrail.app.adapters\n"
        "print([m for m in ('langchain_core', 'langgraph', 'llama_index') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
