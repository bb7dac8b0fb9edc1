"""LangChain tool: a question to the documents, for an agent's model to call."""

from __future__ import annotations

from typing import Unpack

from langchain_core.tools import StructuredTool

from hoptrail.agents.ask import AskOptions
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.runs.receipt import Receipt
from hoptrail.app.adapters.cited_answer import cited_answer

_DESCRIPTION = (
    "Answers a question from the documents: searches over several hops and returns claims with "
    "exact, numbered quotes. Ask one whole question that stands alone."
)


def ask_tool(
    knowledge_base: KnowledgeBase,
    *,
    name: str = "ask_documents",
    description: str = _DESCRIPTION,
    **options: Unpack[AskOptions],
) -> StructuredTool:
    """The tool: its content is the answer with its quotes, its artifact the `Receipt`.

    Args:
        knowledge_base: open; who calls this closes it.
        name: what the model calls it by.
        description: what the model reads of it.
        options: of each question, as for `hoptrail.aask`: strategy, model, budget.
    """

    async def answer(question: str) -> tuple[str, Receipt]:
        receipt = await knowledge_base.aask(question, **options)
        return cited_answer(receipt), receipt

    def answer_now(question: str) -> tuple[str, Receipt]:
        receipt = knowledge_base.ask(question, **options)
        return cited_answer(receipt), receipt

    return StructuredTool.from_function(
        func=answer_now,
        coroutine=answer,
        name=name,
        description=description,
        response_format="content_and_artifact",
    )
