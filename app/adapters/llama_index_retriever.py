"""LlamaIndex retriever: the passages of a search as nodes with scores."""

from __future__ import annotations

import asyncio

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import (
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.rag.types import Hit, Mode, Where


class LlamaIndexRetriever(BaseRetriever):
    """Retriever over an open knowledge base.

    A node's id is the passage's; its source is the document, its metadata has `document_id`,
    `title` and `source` (the search mode), and its character indices are the document's.
    """

    def __init__(
        self,
        knowledge_base: KnowledgeBase,
        *,
        k: int = 10,
        mode: Mode | None = None,
        where: Where | None = None,
    ) -> None:
        """Takes the arguments of `KnowledgeBase.search`, for every query."""
        super().__init__()
        self._knowledge_base, self._k, self._mode, self._where = knowledge_base, k, mode, where

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        ranking = self._knowledge_base.search(
            query_bundle.query_str, k=self._k, mode=self._mode, where=self._where
        )
        return [_node(hit) for hit in ranking.hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


def _node(hit: Hit) -> NodeWithScore:
    passage = hit.passage
    return NodeWithScore(
        score=hit.score,
        node=TextNode(
            id_=passage.id,
            text=passage.text,
            start_char_idx=passage.start,
            end_char_idx=passage.end,
            metadata={
                "document_id": passage.document_id,
                "title": passage.title,
                "source": hit.source,
            },
            excluded_llm_metadata_keys=["document_id", "source"],
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=passage.document_id)},
        ),
    )
