"""The routes of search: `/v1/search`, and Dify's external knowledge API `POST /retrieval`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.app.server.api_errors import ApiError, documented
from hoptrail.app.server.auth import Caller
from hoptrail.app.server.documents.conditions import Condition, holds
from hoptrail.app.server.links import Links
from hoptrail.app.server.shared.context import base_of, context_of
from hoptrail.rag.types import Hit, Mode, Scalar

router = APIRouter(tags=["search"])

_LONGEST_QUERY = 20_000
_WIDER = 5
"""Hits looked through for each that is wanted, where conditions drop some."""

Text = Annotated[str, Field(min_length=1, max_length=_LONGEST_QUERY)]


class SearchRequest(BaseModel):
    """The body of `POST /v1/search`."""

    model_config = ConfigDict(extra="ignore")

    query: Text
    k: Annotated[int, Field(ge=1, le=100)] = 10
    mode: Mode | None = None
    where: dict[str, Scalar] = Field(default_factory=dict)


class SearchHit(BaseModel):
    """A passage: `text` is `document.text[start:end]`; `score` is of its mode, best first."""

    document_id: str
    passage_id: str
    title: str
    text: str
    start: int
    end: int
    score: float
    via: str | None
    """The name by which the search came to it; null: the query itself."""
    url: str


class SearchResult(BaseModel):
    """The hits of a query, best first."""

    query: str
    generation: int
    hits: list[SearchHit]


class RetrievalSetting(BaseModel):
    """Dify's settings of a retrieval."""

    model_config = ConfigDict(extra="ignore")

    top_k: Annotated[int, Field(ge=1, le=100)] = 5
    score_threshold: float | None = None


class MetadataCondition(BaseModel):
    """Dify's filter on metadata."""

    model_config = ConfigDict(extra="ignore")

    logical_operator: str | None = "and"
    conditions: list[Condition] | None = None


class RetrievalRequest(BaseModel):
    """The body of Dify's `POST /retrieval`."""

    model_config = ConfigDict(extra="ignore")

    knowledge_id: str
    query: Text
    retrieval_setting: RetrievalSetting = Field(default_factory=RetrievalSetting)
    metadata_condition: MetadataCondition | None = None


class RetrievalRecord(BaseModel):
    """A passage as Dify reads it; its score is 1 for the best hit, others in proportion."""

    content: str
    score: float
    title: str
    metadata: dict[str, Any]


class RetrievalResult(BaseModel):
    """The answer to Dify."""

    records: list[RetrievalRecord]


@router.post("/v1/search", responses=documented())
async def search(request: Request, body: SearchRequest, key: Caller) -> SearchResult:
    """Search passages; no answer is written."""
    context = context_of(request)
    async with context.tenants.reading(key.tenant) as opened:
        found = await asyncio.to_thread(
            opened.search, body.query, k=body.k, mode=body.mode, where=body.where
        )
        secret = opened.secret if context.settings.keys else None
    links = Links(
        base=base_of(request), tenant=key.tenant, secret=secret, days=context.settings.link_days
    )
    return SearchResult(
        query=body.query,
        generation=found.generation,
        hits=[_hit(one, links) for one in found.hits],
    )


@router.post("/retrieval", responses=documented(404))
@router.post("/v1/retrieval", responses=documented(404), include_in_schema=False)
async def retrieval(request: Request, body: RetrievalRequest, key: Caller) -> RetrievalResult:
    """Dify's external knowledge API; `knowledge_id` is the tenant of the key."""
    if body.knowledge_id != key.tenant:
        raise ApiError(
            404,
            "not_found",
            f"There is no knowledge of that id: this API key opens {key.tenant!r}.",
            param="knowledge_id",
        )
    async with context_of(request).tenants.reading(key.tenant) as opened:
        records = await asyncio.to_thread(_records, opened, body)
    return RetrievalResult(records=records)


def _hit(hit: Hit, links: Links) -> SearchHit:
    passage = hit.passage
    return SearchHit(
        document_id=passage.document_id,
        passage_id=passage.id,
        title=passage.title,
        text=passage.text,
        start=passage.start,
        end=passage.end,
        score=hit.score,
        via=hit.via.name if hit.via else None,
        url=links.to(passage.document_id, passage.start, passage.end),
    )


def _records(opened: KnowledgeBase, body: RetrievalRequest) -> list[RetrievalRecord]:
    wanted, asked = body.retrieval_setting, body.metadata_condition
    conditions = (asked.conditions if asked else None) or []
    any_is_enough = bool(asked and asked.logical_operator == "or")
    k = wanted.top_k * (_WIDER if conditions else 1)
    hits = opened.search(body.query, k=k).hits
    best = max((hit.score for hit in hits), default=0.0)
    records: list[RetrievalRecord] = []
    for hit in hits:
        score = max(0.0, min(1.0, hit.score / best)) if best > 0 else 0.0
        document = opened.store.document(hit.passage.document_id)
        metadata = dict(document.metadata) if document else {}
        if score < (wanted.score_threshold or 0.0):
            continue
        if conditions and not holds(conditions, metadata, any_is_enough=any_is_enough):
            continue
        place = hit.passage
        own = {"document_id": place.document_id, "start": place.start, "end": place.end}
        records.append(
            RetrievalRecord(
                content=place.text, score=score, title=place.title, metadata={**metadata, **own}
            )
        )
    return records[: wanted.top_k]
