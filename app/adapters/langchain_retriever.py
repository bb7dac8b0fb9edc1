"""LangChain retriever: the passages of a search as LangChain documents."""

from __future__ import annotations

import asyncio

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.rag.types import Hit, Mode, Scalar


class LangChainRetriever(BaseRetriever):
    """Retriever over an open knowledge base.

    A document's `id` is the passage's; its metadata has `document_id`, `title`, `start` and `end`
    (characters), `score` and `source` (the search mode).
    """

    knowledge_base: KnowledgeBase
    k: int = 10
    """Most documents, at least 1."""
    mode: Mode | None = None
    """hybrid, lexical, dense or graph; None: the best that the store has an index for."""
    where: dict[str, Scalar] = Field(default_factory=dict)
    """Equality filter on the documents' metadata."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        ranking = self.knowledge_base.search(query, k=self.k, mode=self.mode, where=self.where)
        return [_document(hit) for hit in ranking.hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        beside = run_manager.get_sync()
        return await asyncio.to_thread(self._get_relevant_documents, query, run_manager=beside)


def _document(hit: Hit) -> Document:
    passage = hit.passage
    return Document(
        id=passage.id,
        page_content=passage.text,
        metadata={
            "document_id": passage.document_id,
            "title": passage.title,
            "start": passage.start,
            "end": passage.end,
            "score": hit.score,
            "source": hit.source,
        },
    )
