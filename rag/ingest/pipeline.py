"""Ingestion pipeline: files parsed, compared with the store, chunked, embedded and committed.

A document is embedded only when its fingerprint differs from the store's, so a killed run resumes
by being started again. It is acknowledged (`DocumentCommitted`) only after the commit that holds
it, and it is never split over two commits: a huge one is embedded in slices before its one commit.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.errors import SettingsError, StoreMismatch
from hoptrail.rag.ingest.batching import ChunkedDocument, CommitBatch
from hoptrail.rag.ingest.chunking import check_chunking, chunk, chunk_record
from hoptrail.rag.ingest.files import ProblemKind, SourceFile, find_files
from hoptrail.rag.ingest.parsers.parser import FileProblem, Parsed, ParseLimits, Parser
from hoptrail.rag.store.commit import check_document
from hoptrail.rag.store.store import Store
from hoptrail.rag.text.sentences import sentence_languages
from hoptrail.rag.types import Document, Passage

_SPLITTING = 1
"""Counted up when the same settings give other passages, so that old ones are replaced."""

_PROGRESS_SECONDS = 1.0
_DELETES_AT_ONCE = 256
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
    """Delete documents that this run did not meet."""
    limits: ParseLimits = field(default_factory=ParseLimits)

    def __post_init__(self) -> None:
        """Raises SettingsError for values that cannot be."""
        check_chunking(self.chunk_tokens, self.overlap)
        for name in ("batch_passages", "batch_seconds"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} is {getattr(self, name)!r}. Set it above 0.")


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
    failures: tuple[FileFailed, ...]
    """The first 1000."""
    prune_refused: str | None
    """Why `prune` deleted nothing; None: it did, or was not asked for."""
    generation: int
    seconds: float


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
        paths: files and folders; ids are relative to them (see `rag.ingest.files`). The
            store's own files are passed over.
        store: opened for the same embedder.
        embedder: makes the passages' vectors.
        settings: see there.
        on_event: hears of each event at once.
        clock: seconds; only differences count.

    Raises:
        SettingsError: the paths hold nothing to read, clash, or do not exist.
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
    found = find_files(paths, store=store.root)
    run = _Run(store, embedder, settings, on_event, clock, found.bytes)
    for problem in found.problems:
        run.fail(problem)
    with Parser(settings.limits, on_idle=run.batch.tick) as parser:
        for source in found.files:
            for item in parser.read(source):
                run.take(source, item)
            run.finish(source)
        run.batch.flush()
    refused = run.prune() if settings.prune else None
    return IngestReport(
        added=run.added,
        replaced=run.replaced,
        unchanged=run.unchanged,
        deleted=run.deleted,
        failed=run.failed,
        passages=run.passages,
        skipped_files=found.skipped,
        skipped_links=found.links,
        failures=tuple(run.failures),
        prune_refused=refused,
        generation=store.generation,
        seconds=clock() - began,
    )


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
        self._store, self._embedder, self._settings = store, embedder, settings
        self._clock, self._told = clock, clock()
        self._tell, self._total_bytes = on_event, total_bytes
        language = store.spec.language.partition("+")[0]
        self._language = language if language in sentence_languages() else "english"
        self._known = store.fingerprints()
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

    def prune(self) -> str | None:
        """Deletes the documents that were not met; returns why not if that is not safe."""
        if not self._met:
            return "no document was read, so that everything would be deleted"
        if self._failed_blindly:
            return f"which documents are missing cannot be known: {self._failed_blindly}"
        gone = sorted(self._known.keys() - self._met.keys() - self._missing)
        for first in range(0, len(gone), _DELETES_AT_ONCE):
            group = gone[first : first + _DELETES_AT_ONCE]
            generation = self._store.commit((), deletes=group)
            self.deleted += len(group)
            for identifier in group:
                self._tell(DocumentDeleted(id=identifier, generation=generation))
        return None

    def _document(self, source: SourceFile, parsed: Parsed) -> None:
        document = parsed.document
        if document.id in self._met:
            reason = f"has the id {document.id!r}, which {self._met[document.id]} used already"
            self._refuse(source, document, reason, "duplicate")
            return
        try:
            check_document(document)
        except SettingsError as error:
            self._refuse(source, document, f"cannot be stored: {error}", "malformed")
            return
        self._met[document.id] = str(source.path)
        fingerprint = self._fingerprint(document, parsed.is_record)
        if self._known.get(document.id) == fingerprint:
            self.unchanged += 1
            self._tell(DocumentSkipped(id=document.id))
            return
        passages = self._split(document, parsed.is_record)
        self._seen_passages += len(passages)
        self.batch.add(
            ChunkedDocument(
                document=document,
                passages=passages,
                fingerprint=fingerprint,
                replaces=document.id in self._known,
            )
        )

    def _refuse(
        self, source: SourceFile, document: Document, reason: str, kind: ProblemKind
    ) -> None:
        path = str(source.path)
        self.fail(FileProblem(path=path, reason=reason, kind=kind, document_id=document.id))

    def _split(self, document: Document, is_record: bool) -> tuple[Passage, ...]:
        if is_record:
            return chunk_record(document, self._embedder.window, language=self._language)
        settings = self._settings
        return chunk(
            document,
            budget=settings.chunk_tokens,
            overlap=settings.overlap,
            language=self._language,
        )

    def _fingerprint(self, document: Document, is_record: bool) -> str:
        settings = self._settings
        how = (
            ("record", self._embedder.window)
            if is_record
            else ("file", settings.chunk_tokens, settings.overlap)
        )
        body = json.dumps([_SPLITTING, document.hash, self._embedder.id, self._language, how])
        return hashlib.sha256(body.encode()).hexdigest()

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
