"""Events of an ingest, and its report."""

from __future__ import annotations

from dataclasses import dataclass

from hoptrail.rag.ingest.files import ProblemKind


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentCommitted:
    """Event: a document is committed."""

    id: str
    passages: int
    generation: int
    replaced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSkipped:
    """Event: the store has the same document already, chunked and embedded in the same way."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentDeleted:
    """Event: a document that was not among the files was deleted."""

    id: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFailed:
    """Event: a file, or one line of it, gave no document; an older version stays in the store."""

    path: str
    reason: str
    kind: ProblemKind
    line: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Event: progress in bytes of files; documents and passages as met, not committed.

    Told after each file, and each second between documents.
    """

    done_bytes: int
    total_bytes: int
    documents: int
    passages: int


IngestEvent = DocumentCommitted | DocumentSkipped | DocumentDeleted | FileFailed | Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """Counts of one ingest. Documents met: added + replaced + unchanged."""

    added: int
    replaced: int
    unchanged: int
    deleted: int
    failed: int
    passages: int
    """Of added and replaced documents."""
    skipped_files: int
    """Without a parser for their suffix."""
    skipped_links: int
    """Symbolic links inside folders."""
    adopted: int
    """Documents of the store without an origin that were found to be from these files."""
    left_behind: tuple[str, ...]
    """Ids of such documents that fit a file here whose text is another; both are kept."""
    failures: tuple[FileFailed, ...]
    """The first 1000."""
    prune_refused: str | None
    """Why `prune` deleted nothing; None: it did, or was not asked for."""
    generation: int
    seconds: float
