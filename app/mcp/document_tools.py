"""The tools without a model: search, fetch, read_span and list_documents over an open store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.app.mcp.addresses import PART, Part, part_around, part_of, public_url
from hoptrail.app.mcp.token_limit import longest_prefix, that_fit
from hoptrail.app.mcp.tool_types import (
    DocumentPage,
    FetchArguments,
    FetchedText,
    ListArguments,
    ListedDocument,
    SearchArguments,
    SearchResult,
    SearchResults,
    Span,
    SpanArguments,
)
from hoptrail.app.text import one_line, shortened, shown
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.types import Document, Hit, Scalar

_HITS = 10
_TITLE, _FIELDS, _VALUE = 200, 40, 300
"""Characters of a title, and fields of metadata and characters of each, that are returned."""


def search(kb: KnowledgeBase, arguments: SearchArguments) -> SearchResults:
    """The documents, or parts of long ones, whose passages bear on a query, best first."""
    hits = kb.search(arguments.query, k=_HITS).hits
    found: dict[str, SearchResult] = {}
    for hit in hits:
        result = _result(kb, hit)
        found.setdefault(result.id, result)
    return SearchResults(results=tuple(that_fit(found.values())))


def fetch(kb: KnowledgeBase, arguments: FetchArguments) -> FetchedText:
    """The text of a document, or of the part that an id names.

    Raises:
        SettingsError: there is no such document, or it ends before the part.
    """
    document, part = _found(kb, arguments.id)
    text = longest_prefix(document.text[part.start : min(part.end, part.start + PART)])
    if not text and part.start:
        raise SettingsError(
            f"The document {document.id!r} has {len(document.text)} characters, and none from "
            f"{part.start}: fetch it by its id alone."
        )
    end = part.start + len(text)
    metadata = dict(_metadata(document.metadata))
    if len(text) < len(document.text):
        metadata["hoptrail.part"] = f"characters {part.start}-{end} of {len(document.text)}"
    if end < len(document.text):
        metadata["hoptrail.next_id"] = Part(document_id=document.id, start=end, end=end + PART).id
    return FetchedText(
        id=arguments.id,
        title=title_of(document),
        text=shown(text),
        url=public_url(arguments.id, document.metadata),
        metadata=metadata,
    )


def read_span(kb: KnowledgeBase, arguments: SpanArguments) -> Span:
    """Exact characters of a document, as quotes are checked against.

    Raises:
        SettingsError: there is no such document, or the span is empty.
    """
    if arguments.end <= arguments.start:
        raise SettingsError(f"A span needs start < end, not {arguments.start} and {arguments.end}.")
    document = _document(kb, arguments.id)
    wanted = min(arguments.end, len(document.text))
    text = longest_prefix(document.text[arguments.start : min(wanted, arguments.start + PART)])
    end = arguments.start + len(text)
    return Span(
        id=document.id,
        title=title_of(document),
        start=arguments.start,
        end=end,
        text=text,
        next_start=end if text and end < wanted else None,
    )


def list_documents(kb: KnowledgeBase, arguments: ListArguments) -> DocumentPage:
    """One page of all documents, by id."""
    ids = islice(kb.store.documents(arguments.cursor), arguments.limit)
    listed = (_listed(document) for one in ids if (document := kb.store.document(one)) is not None)
    page = tuple(that_fit(listed))
    more = page and next(kb.store.documents(page[-1].id), None) is not None
    return DocumentPage(
        documents=page,
        total=kb.store.stats().documents,
        next_cursor=page[-1].id if more else None,
    )


def title_of(document: Document) -> str:
    """A document's title, or its id, on one line and without control characters."""
    return safe_title(document.title, document.id)


def safe_title(title: str, document_id: str) -> str:
    """A title, or the id where there is none, on one line and without control characters."""
    return shortened(one_line(title), _TITLE) or shortened(one_line(document_id), _TITLE) or "-"


def _listed(document: Document) -> ListedDocument:
    return ListedDocument(
        id=document.id,
        title=title_of(document),
        url=public_url(document.id, document.metadata),
    )


def _result(kb: KnowledgeBase, hit: Hit) -> SearchResult:
    passage = hit.passage
    document = kb.store.document(passage.document_id)
    metadata: Mapping[str, Scalar] = {} if document is None else document.metadata
    identifier = passage.document_id
    if document is not None and len(document.text) > PART:
        identifier = part_around(passage.document_id, passage.start).id
    return SearchResult(
        id=identifier,
        title=safe_title(passage.title, passage.document_id),
        url=public_url(identifier, metadata),
    )


def _found(kb: KnowledgeBase, identifier: str) -> tuple[Document, Part]:
    """The document of an id, and the part of it that is meant; a document's own id comes first."""
    document = kb.store.document(identifier)
    if document is not None:
        return document, Part(document_id=identifier)
    part = part_of(identifier) or Part(document_id=identifier)
    return _document(kb, part.document_id), part


def _document(kb: KnowledgeBase, identifier: str) -> Document:
    document = kb.store.document(identifier)
    if document is None:
        raise SettingsError(
            f"There is no document {shortened(one_line(identifier), _TITLE)!r}: use an id that "
            "search or list_documents returned."
        )
    return document


def _metadata(metadata: Mapping[str, Scalar]) -> Iterator[tuple[str, Scalar]]:
    """A document's metadata, bounded and on one line each."""
    for key, value in islice(metadata.items(), _FIELDS):
        safe = shortened(one_line(value), _VALUE) if isinstance(value, str) else value
        yield shortened(one_line(key), _VALUE), safe
