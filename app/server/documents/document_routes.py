"""The routes of `/v1/documents`: put, list, view, delete; `/v1/jobs` and `/v1/receipts`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field, TypeAdapter

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.app.server.api_errors import ApiError, documented
from hoptrail.app.server.auth import Caller, Writer
from hoptrail.app.server.documents.document_page import PAGE_POLICY, Span, document_page, viewer_of
from hoptrail.app.server.shared.context import ServerContext, context_of
from hoptrail.app.server.shared.jobs import Job
from hoptrail.rag.types import Document, Scalar

router = APIRouter(tags=["documents"])

DocumentId = Annotated[str, Path(min_length=1, max_length=1_000)]
_PROOF_HITS = 50


class NewDocument(BaseModel):
    """A document to be stored; one of the same id is replaced as a whole."""

    id: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None
    """null: a new one is made."""
    title: Annotated[str, Field(max_length=300)] = ""
    text: str
    metadata: dict[str, Scalar] = Field(default_factory=dict)


class NewDocuments(BaseModel):
    """The body of `POST /v1/documents`."""

    documents: Annotated[list[NewDocument], Field(min_length=1, max_length=1_000)]


class JobBody(BaseModel):
    """A job: `queued`, `running`, `done` (its documents are stored for good) or `failed`."""

    id: str
    document_ids: list[str]
    state: str
    generation: int | None
    error: str


class DocumentEntry(BaseModel):
    """A document without its text."""

    id: str
    title: str
    characters: int
    metadata: dict[str, Scalar]


class DocumentList(BaseModel):
    """A page of documents, by ascending id; `next` is the `after` of the page that follows."""

    data: list[DocumentEntry]
    next: str | None


class DocumentBody(DocumentEntry):
    """A document, or a span of it: `text` is `document.text[start:end]`."""

    text: str
    start: int
    end: int


class Deleted(BaseModel):
    """What a deletion took away, and what a search for the document finds afterwards."""

    id: str
    deleted: bool = True
    title: str
    characters: int
    passages: int
    receipts: int
    """Receipts that quoted it, which are deleted too."""
    generation: int
    found_afterwards: int
    """Hits of this document in a search for its title and beginning; 0 proves that it is gone."""


@router.post("/v1/documents", status_code=202, responses=documented(422))
async def add_documents(
    request: Request, body: NewDocuments, key: Writer, wait: bool = False
) -> JobBody:
    """Add or replace documents, all in one commit; `wait`: answer when they are stored."""
    documents = [_document(one, one.id or f"doc-{secrets.token_hex(8)}") for one in body.documents]
    if len({one.id for one in documents}) < len(documents):
        raise ApiError(400, "duplicate_id", "Two of the documents have one id.", param="documents")
    return await _stored(context_of(request), key.tenant, documents, wait=wait)


@router.put("/v1/documents/{document_id:path}", status_code=202, responses=documented(422))
async def replace_document(
    request: Request, document_id: DocumentId, body: NewDocument, key: Writer, wait: bool = False
) -> JobBody:
    """Add a document under this id, or replace it as a whole."""
    return await _stored(context_of(request), key.tenant, [_document(body, document_id)], wait=wait)


@router.get("/v1/jobs/{job_id}", responses=documented(404))
async def job(request: Request, job_id: str, key: Caller) -> JobBody:
    """The state of a job; finished ones are remembered for a while."""
    found = context_of(request).jobs.get(key.tenant, job_id)
    if found is None:
        raise ApiError(404, "not_found", "There is no such job.")
    return _job_body(found)


@router.get("/v1/documents", responses=documented())
async def list_documents(
    request: Request,
    key: Caller,
    after: Annotated[str, Query(max_length=1_000)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> DocumentList:
    """List documents, by ascending id."""
    async with context_of(request).tenants.reading(key.tenant) as opened:
        return await asyncio.to_thread(_page, opened, after, limit)


@router.get(
    "/v1/documents/{document_id:path}",
    response_model=DocumentBody,
    responses={
        **documented(404),
        200: {
            "description": "JSON; to a browser a page with the span marked.",
            "content": {"text/html": {"schema": {"type": "string"}}},
        },
    },
)
async def document(
    request: Request,
    document_id: DocumentId,
    start: Annotated[int, Query(ge=0, le=2**31)] = 0,
    end: Annotated[int | None, Query(ge=0, le=2**31)] = None,
) -> Any:  # noqa: ANN401 - a page or JSON
    """A document; a browser gets it as a page, with the characters from start to end marked.

    Opens with a key, or by the signature in a link from an answer.
    """
    context, tenant = context_of(request), await viewer_of(request, document_id)
    async with context.tenants.reading(tenant) as opened:
        found = await asyncio.to_thread(opened.store.document, document_id)
    if found is None:
        raise ApiError(404, "not_found", "There is no such document.")
    span = Span(start=min(start, len(found.text)), end=min(end or 0, len(found.text)))
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(document_page(found, span), headers=PAGE_POLICY)
    last = len(found.text) if end is None else max(span.start, span.end)
    return DocumentBody(
        **_entry(found).model_dump(),
        text=found.text[span.start : last],
        start=span.start,
        end=last,
    )


@router.delete("/v1/documents/{document_id:path}", responses=documented(404))
async def delete_document(request: Request, document_id: DocumentId, key: Writer) -> Deleted:
    """Delete a document, its passages, and the receipts that quote it; proved by a search."""
    context = context_of(request)
    async with context.tenants.writing(key.tenant) as opened:
        gone = await asyncio.to_thread(_delete, opened, document_id)
    if gone is None:
        raise ApiError(404, "not_found", "There is no such document.")
    context.metrics.documents.labels(action="deleted").inc()
    receipts = await context.receipts.forget(key.tenant, document_id)
    return gone.model_copy(update={"receipts": receipts})


@router.get("/v1/receipts/{receipt_id}", responses=documented(404))
async def receipt(request: Request, receipt_id: str, key: Caller) -> Response:
    """The receipt of an answer: its claims, quotes, steps, cost and stop reason."""
    found = await context_of(request).receipts.get(key.tenant, receipt_id)
    if found is None:
        raise ApiError(404, "not_found", "There is no such receipt.")
    return Response(found, media_type="application/json")


def store_documents(opened: KnowledgeBase, documents: Any) -> int:  # noqa: ANN401
    """What a job does."""
    return opened.put(documents)


async def _stored(
    context: ServerContext, tenant: str, documents: list[Document], *, wait: bool
) -> JobBody:
    added = context.jobs.add(tenant, documents)
    context.metrics.documents.labels(action="put").inc(len(documents))
    if wait:
        added = await context.jobs.finished(tenant, added)
        if added.state == "failed":
            raise ApiError(422, "not_stored", added.error)
    return _job_body(added)


def _document(body: NewDocument, identifier: str) -> Document:
    return Document(
        id=identifier, title=body.title or identifier, text=body.text, metadata=body.metadata
    )


def _job_body(found: Job) -> JobBody:
    return TypeAdapter(JobBody).validate_python(asdict(found))


def _page(opened: KnowledgeBase, after: str, limit: int) -> DocumentList:
    ids = list(islice(opened.store.documents(after), limit + 1))
    found = [opened.store.document(one) for one in ids[:limit]]
    return DocumentList(
        data=[_entry(one) for one in found if one is not None],
        next=ids[limit - 1] if len(ids) > limit else None,
    )


def _entry(found: Document) -> DocumentEntry:
    metadata: Mapping[str, Scalar] = found.metadata
    return DocumentEntry(
        id=found.id, title=found.title, characters=len(found.text), metadata=dict(metadata)
    )


def _delete(opened: KnowledgeBase, document_id: str) -> Deleted | None:
    store = opened.store
    before, passages = store.document(document_id), store.passages_of(document_id)
    if before is None or not opened.delete([document_id]):
        return None
    hits = opened.search(f"{before.title} {before.text[:500]}", k=_PROOF_HITS).hits
    places = [place for hit in hits for place in (hit.passage, *hit.copies)]
    return Deleted(
        id=document_id,
        title=before.title,
        characters=len(before.text),
        passages=len(passages),
        receipts=0,
        generation=store.generation,
        found_afterwards=sum(place.document_id == document_id for place in places),
    )
