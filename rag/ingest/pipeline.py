"""Ingestion pipeline: files parsed, compared with the store, chunked, embedded and committed.

A document is embedded only when its fingerprint differs from the store's, so a killed run resumes
by being started again. It is acknowledged (`DocumentCommitted`) only after the commit that holds
it, and it is never split over two commits: a huge one is embedded in slices before its one commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.errors import SettingsError, StoreMismatch
from hoptrail.rag.ingest.batching import ChunkedDocument, CommitBatch
from hoptrail.rag.ingest.chunking import DocumentChunker, check_chunking
from hoptrail.rag.ingest.discovery import FoundFiles, check_paths, find_files
from hoptrail.rag.ingest.files import ProblemKind, SourceFile, UnreadableFile
from hoptrail.rag.ingest.ingest_events import (
    DocumentCommitted,
    DocumentDeleted,
    DocumentSkipped,
    FileFailed,
    IngestEvent,
    IngestReport,
    Progress,
)
from hoptrail.rag.ingest.parsers.parser import FileProblem, Parsed, ParseLimits, Parser
from hoptrail.rag.ingest.roots import plan_roots
from hoptrail.rag.ingest.stored_documents import StoredDocuments
from hoptrail.rag.store.commit import check_document
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Origin

__all__ = [
    "DocumentCommitted", "DocumentDeleted", "DocumentSkipped", "FileFailed", "IngestEvent",
    "IngestReport", "IngestSettings", "Progress", "ingest",
]  # fmt: skip

_PROGRESS_SECONDS = 1.0
_DELETES_AT_ONCE = 256
_ASSIGNS_AT_ONCE = 1000
_FAILURES_KEPT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """Settings of an ingest: chunk size, overlap, commit size, pruning, limits."""

    chunk_tokens: int = 180
    """Most cl100k_base tokens of a file's passage. A .jsonl record is split only above the
    embedder's window."""
    overlap: int = 0
    """Tokens of whole sentences that a passage repeats."""
    batch_passages: int = 256
    """Most passages of a commit (but for a document that has more)."""
    batch_seconds: float = 2.0
    """Longest wait of a split document for its commit, checked between documents and while a
    slow file is parsed."""
    prune: bool = False
    """Delete documents from below the given paths that this run did not meet."""
    name: str | None = None
    """Of the given folder or file in document ids; None: the last part of its path."""
    take_over: bool = False
    """Documents that came from elsewhere may be overwritten, and a folder of the same name that was
    given before is this one now."""
    limits: ParseLimits = field(default_factory=ParseLimits)

    def __post_init__(self) -> None:
        """Raises SettingsError for values that cannot be."""
        check_chunking(self.chunk_tokens, self.overlap)
        for name in ("batch_passages", "batch_seconds"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} is {getattr(self, name)!r}. Set it above 0.")


_DEFAULTS = IngestSettings()


def _ignore(_event: IngestEvent) -> None:
    """Listens to nothing."""


def ingest(
    paths: Sequence[Path],
    store: Store,
    embedder: Embedder,
    settings: IngestSettings = _DEFAULTS,
    on_event: Callable[[IngestEvent], None] = _ignore,
    clock: Callable[[], float] = time.monotonic,
) -> IngestReport:
    """Brings a store up to date with files and folders.

    Whatever ends the run early (an error, Ctrl-C, a kill), every acknowledged document stays, and
    starting it again goes on from there.

    Args:
        paths: files and folders; ids follow from them (see `rag.ingest.roots`). The store's own
            files are passed over.
        store: opened for the same embedder.
        embedder: makes the passages' vectors.
        settings: see there.
        on_event: hears of each event at once.
        clock: seconds; only differences count.

    Raises:
        SettingsError: the paths hold nothing to read or do not exist, or the store has documents of
            another folder of that name.
        StoreMismatch: the store was made with another embedder.
        EmbedderError: the embedder failed.
        StoreError: the store is being written by another, or its disk is full.
    """
    if embedder.id != store.spec.embedder:
        raise StoreMismatch(
            f"The store was made with the embedder {store.spec.embedder!r}, not {embedder.id!r}. "
            "Use that one, or make a new store."
        )
    began = clock()
    paths = [Path(path) for path in paths]
    check_paths(paths)
    roots = plan_roots(
        paths, store.origins.roots(), name=settings.name, take_over=settings.take_over
    )
    stored = StoredDocuments(store, roots, take_over=settings.take_over)
    found = find_files(paths, store=store.root, roots=roots, ids=stored.ids())
    store.origins.register(roots.added, roots.moved)
    run = _Run(store, embedder, settings, on_event, clock, found.bytes, stored)
    for problem in found.problems:
        run.fail(problem)
    with Parser(settings.limits, on_idle=run.batch.tick) as parser:
        run.chunker.split = parser.passage_spans
        for source in found.files:
            for item in parser.read(source):
                run.take(source, item)
            run.finish(source)
        run.batch.flush()
    run.assign()
    refused = run.prune(paths, found) if settings.prune else None
    return run.report(found, refused, clock() - began)


class _Run:
    """The counts of one run, and what it has met."""

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        settings: IngestSettings,
        on_event: Callable[[IngestEvent], None],
        clock: Callable[[], float],
        total_bytes: int,
        stored: StoredDocuments,
    ) -> None:
        self.added = self.replaced = self.unchanged = self.deleted = self.failed = 0
        self.passages = 0
        self.failures: list[FileFailed] = []
        self.batch = CommitBatch(
            store,
            embedder,
            most_passages=settings.batch_passages,
            most_seconds=settings.batch_seconds,
            clock=clock,
            acknowledge=self._acknowledge,
        )
        self._store = store
        self._clock, self._told = clock, clock()
        self._tell, self._total_bytes = on_event, total_bytes
        self.chunker = DocumentChunker(
            embedder,
            budget=settings.chunk_tokens,
            overlap=settings.overlap,
            language=store.spec.language,
        )
        self._stored, self._known = stored, stored.fingerprints
        self._assigned: dict[str, Origin] = {}
        self._met: dict[str, str] = {}
        self._missing: set[str] = set()
        self._failed_blindly = ""
        self._files_bytes = self._done_bytes = self._seen_passages = 0

    def take(self, source: SourceFile, item: Parsed | FileProblem) -> None:
        """Handles what a parser gave."""
        if isinstance(item, FileProblem):
            self.fail(item)
        else:
            self._done_bytes = self._files_bytes + item.read_bytes
            self._document(source, item)
        self.batch.tick()
        if self._clock() - self._told >= _PROGRESS_SECONDS:
            self._progress()

    def fail(self, problem: FileProblem) -> None:
        """Reports a problem, and remembers whose old version must not be pruned."""
        if problem.document_id is None:
            self._failed_blindly = self._failed_blindly or str(problem)
        else:
            self._missing.add(problem.document_id)
        event = FileFailed(
            path=problem.path, reason=problem.reason, kind=problem.kind, line=problem.line
        )
        self.failed += 1
        if len(self.failures) < _FAILURES_KEPT:
            self.failures.append(event)
        self._tell(event)

    def finish(self, source: SourceFile) -> None:
        """Marks a file as read."""
        self._files_bytes += source.size
        self._done_bytes = self._files_bytes
        self._progress()
        if len(self._assigned) >= _ASSIGNS_AT_ONCE:
            self.assign()

    def assign(self) -> None:
        """Records whence unchanged documents are that came from elsewhere, or from nowhere."""
        assigned, self._assigned = self._assigned, {}
        self._store.origins.assign(assigned)

    def prune(self, paths: Sequence[Path], found: FoundFiles) -> str | None:
        """Deletes what came from below the paths and was not met; returns why not if unsafe."""
        if not self._met:
            return "no document was read, so that everything would be deleted"
        if self._failed_blindly:
            return f"which documents are missing cannot be known: {self._failed_blindly}"
        left = self._stored.below(paths) - self._met.keys() - self._missing
        if (reason := self._stored.away(left, found)) is not None:
            return reason
        gone = sorted(left)
        for first in range(0, len(gone), _DELETES_AT_ONCE):
            group = gone[first : first + _DELETES_AT_ONCE]
            generation = self._store.commit((), deletes=group)
            self.deleted += len(group)
            for identifier in group:
                self._tell(DocumentDeleted(id=identifier, generation=generation))
        return None

    def report(self, found: FoundFiles, prune_refused: str | None, seconds: float) -> IngestReport:
        """What the run has done."""
        return IngestReport(
            added=self.added,
            replaced=self.replaced,
            unchanged=self.unchanged,
            deleted=self.deleted,
            failed=self.failed,
            passages=self.passages,
            skipped_files=found.skipped,
            skipped_links=found.links,
            adopted=len(self._stored.adopted),
            left_behind=self._stored.left_behind(),
            failures=tuple(self.failures),
            prune_refused=prune_refused,
            generation=self._store.generation,
            seconds=seconds,
        )

    def _document(self, source: SourceFile, parsed: Parsed) -> None:
        document = self._stored.settled(source, parsed.document, self._met)
        if document.id in self._met:
            reason = f"has the id {document.id!r}, which {self._met[document.id]} used already"
            self._refuse(source, parsed, reason, "duplicate")
            return
        try:
            check_document(document)
        except SettingsError as error:
            self._refuse(source, parsed, f"cannot be stored: {error}", "malformed")
            return
        fingerprint = self.chunker.fingerprint(document, parsed.is_record)
        unchanged = self._known.get(document.id) == fingerprint
        conflict = None if unchanged else self._stored.conflict(document.id, source.origin)
        if conflict is not None:
            self._refuse(source, parsed, conflict, "taken")
            return
        line = "" if parsed.line is None else f", line {parsed.line}"
        self._met[document.id] = f"{source.path}{line}"
        if unchanged:
            self._skip(document.id, source.origin)
            return
        try:
            passages = self.chunker.passages(document, parsed.is_record)
        except UnreadableFile as refused:
            self._refuse(source, parsed, refused.reason, refused.kind)
            return
        self._seen_passages += len(passages)
        self.batch.add(
            ChunkedDocument(
                document=document,
                passages=passages,
                fingerprint=fingerprint,
                origin=source.origin,
                replaces=document.id in self._known,
            )
        )

    def _refuse(self, source: SourceFile, parsed: Parsed, reason: str, kind: ProblemKind) -> None:
        self.fail(
            FileProblem(
                path=str(source.path),
                reason=reason,
                kind=kind,
                document_id=parsed.document.id,
                line=parsed.line,
            )
        )

    def _skip(self, identifier: str, origin: Origin) -> None:
        self.unchanged += 1
        if self._stored.origins.get(identifier) != origin and self._stored.may_own(
            identifier, origin
        ):
            self._assigned[identifier] = origin
        self._tell(DocumentSkipped(id=identifier))

    def _acknowledge(self, prepared: ChunkedDocument, generation: int) -> None:
        self.added += not prepared.replaces
        self.replaced += prepared.replaces
        self.passages += len(prepared.passages)
        event = DocumentCommitted(
            id=prepared.document.id,
            passages=len(prepared.passages),
            generation=generation,
            replaced=prepared.replaces,
        )
        self._tell(event)

    def _progress(self) -> None:
        self._told = self._clock()
        event = Progress(
            done_bytes=min(self._done_bytes, self._total_bytes),
            total_bytes=self._total_bytes,
            documents=len(self._met),
            passages=self._seen_passages,
        )
        self._tell(event)
