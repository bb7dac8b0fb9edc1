"""LlamaIndex query engine: an answer with its quotes as source nodes."""

from __future__ import annotations

from typing import Unpack

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import RESPONSE_TYPE, Response
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import (
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)

from hoptrail.agents.ask import AskOptions
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.runs.receipt import Receipt
from hoptrail.agents.types import Evidence
from hoptrail.app.adapters.cited_answer import NOTHING, cited


class LlamaIndexQueryEngine(BaseQueryEngine):
    """Query engine over an open knowledge base.

    The response's source nodes are the quotes that the answer cites; its metadata has `receipt`
    (JSON, for `Receipt.parse`), `outcome` and `stop`.
    """

    def __init__(self, knowledge_base: KnowledgeBase, **options: Unpack[AskOptions]) -> None:
        """Takes the options of `hoptrail.aask`, for every question."""
        super().__init__(callback_manager=None)
        self._knowledge_base, self._options = knowledge_base, options

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        return _response(self._knowledge_base.ask(query_bundle.query_str, **self._options))

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        return _response(await self._knowledge_base.aask(query_bundle.query_str, **self._options))

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}


def _response(receipt: Receipt) -> Response:
    return Response(
        response=receipt.answer or NOTHING,
        source_nodes=[_node(item) for item in cited(receipt)],
        metadata={
            "receipt": receipt.json(),
            "outcome": receipt.outcome.kind,
            "stop": receipt.stop,
        },
    )


def _node(item: Evidence) -> NodeWithScore:
    return NodeWithScore(
        score=item.score,
        node=TextNode(
            id_=item.id,
            text=item.quote,
            start_char_idx=item.start,
            end_char_idx=item.end,
            metadata={"document_id": item.document_id, "title": item.title},
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=item.document_id)},
        ),
    )
