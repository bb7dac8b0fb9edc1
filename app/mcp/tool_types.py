"""Arguments and results of the tools, from which their JSON schemas are made.

`SearchResults` and `FetchedText` have exactly the fields that ChatGPT's connectors read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from hoptrail.rag.types import Scalar

_NO_OTHERS = ConfigDict(extra="forbid")

DocumentId = Annotated[
    str, Field(min_length=1, max_length=4_096, description="An id that another tool returned.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchArguments:
    """Arguments of `search`."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHERS
    query: Annotated[str, Field(min_length=1, max_length=2_000, description="What to look for.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchArguments:
    """Arguments of `fetch`."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHERS
    id: DocumentId


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanArguments:
    """Arguments of `read_span`."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHERS
    id: DocumentId
    start: Annotated[int, Field(ge=0, description="The first character, counted from 0.")]
    end: Annotated[int, Field(ge=1, description="The character after the last one.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListArguments:
    """Arguments of `list_documents`."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHERS
    cursor: Annotated[
        str, Field(max_length=4_096, description="next_cursor of the page before; empty: page 1.")
    ] = ""
    limit: Annotated[int, Field(ge=1, le=200, description="Most documents on a page.")] = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class AskArguments:
    """Arguments of `ask`."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHERS
    question: Annotated[
        str, Field(min_length=1, max_length=20_000, description="A question that stands alone.")
    ]
    strategy: Annotated[
        str, Field(max_length=64, description="How to search; empty: as the server was started.")
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """A document, or the part of a long one, that bears on the query."""

    id: str
    title: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResults:
    """Result of `search`, best first."""

    results: tuple[SearchResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedText:
    """Result of `fetch`: a document or a part of it, without control characters."""

    id: str
    title: str
    text: str
    url: str
    metadata: Annotated[
        Mapping[str, Scalar],
        Field(description="The document's own, and hoptrail.part and hoptrail.next_id of a part."),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Result of `read_span`: exact characters of a document."""

    id: str
    title: str
    start: int
    end: Annotated[int, Field(description="Less than asked for where the document or page ends.")]
    text: str
    next_start: Annotated[int | None, Field(description="Where to go on; null: nothing is left.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDocument:
    """A document of the list."""

    id: str
    title: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPage:
    """Result of `list_documents`, by id."""

    documents: tuple[ListedDocument, ...]
    total: int
    next_cursor: Annotated[str | None, Field(description="For the next page; null: the last.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedSource:
    """A quote that the answer cites, checked to stand in its document."""

    number: int
    document_id: str
    title: str
    url: str
    start: int
    end: int
    quote: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerClaim:
    """A sentence of the answer with the numbers of its sources."""

    text: str
    sources: tuple[int, ...]
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskResult:
    """Result of `ask`."""

    answer: Annotated[str, Field(description="Empty where nothing in the documents answers.")]
    outcome: Annotated[
        str, Field(description="answered, partial, quotes, unverified or abstained.")
    ]
    reason: Annotated[str, Field(description="Why nothing was answered; else empty.")]
    stop: Annotated[str, Field(description="Why the search ended.")]
    claims: tuple[AnswerClaim, ...]
    sources: tuple[CitedSource, ...]
    left_out: Annotated[int, Field(description="Claims and sources that are in the receipt only.")]
    receipt: Annotated[str, Field(description="Resource with every step, quote and cost.")]
