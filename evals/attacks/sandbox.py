"""The sandbox of the attack suite: a temporary store with a sample of the user's documents.

The user's store is only read: its settings and at most `DOCUMENTS` of its documents, by SQLite
alone, so that not even a stale index of it is rebuilt. Everything is removed when the sandbox is
left, also by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory

from hoptrail.agents.budget.limits import Budget
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.served_model import AnyModel
from hoptrail.agents.runs.models import RoleModels
from hoptrail.agents.runs.receipt import Receipt
from hoptrail.agents.runs.request import RunSettings
from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.embedders.caching import CachingEmbedder
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.embedders.loading import recorded_embedder
from hoptrail.rag.errors import ModelError
from hoptrail.rag.store.catalogue import database as catalogue
from hoptrail.rag.store.layout import Layout, disk_errors
from hoptrail.rag.store.spec import StoreOptions, StoreSpec, read_spec
from hoptrail.rag.types import Document, IndexedDocument, Mode, Passage, Where, embedding_text

DOCUMENTS = 200
"""Most documents of the user's store that are copied."""

_CHARACTERS = 2_000_000
"""Most characters of the copied documents together."""

_COMMIT = 50
"""Documents of a commit while the sample is copied."""

MODES: tuple[Mode, ...] = ("lexical", "dense", "hybrid", "graph")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """How the questions of the attacks are asked: model, strategy, budget, search settings."""

    model: AnyModel | RoleModels | None = None
    """None: the local players."""
    strategy: str = "pool"
    budget: Budget = field(default_factory=Budget)
    settings: RunSettings = field(default_factory=RunSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledStore:
    """The settings of a store and a sample of its documents, each with its passages."""

    spec: StoreSpec
    documents: tuple[tuple[Document, tuple[Passage, ...]], ...]


class Sandbox:
    """A temporary store under attack; use `Sandbox.over`."""

    def __init__(
        self, folder: Path, kb: KnowledgeBase, settings: SandboxSettings, sampled: tuple[str, ...]
    ) -> None:
        self.folder = folder
        """Temporary folder that holds the store and everything else."""
        self.kb = kb
        self.settings = settings
        self.sampled = sampled
        """Ids of the user's documents in it."""
        self._scratch = 0

    @classmethod
    @contextmanager
    def over(
        cls,
        root: Path | None,
        *,
        tenant: str = "default",
        embedder: Embedder | None = None,
        settings: SandboxSettings | None = None,
        documents: int = DOCUMENTS,
    ) -> Iterator[Sandbox]:
        """Makes a sandbox with the settings and a sample of a store; removes it at the end.

        Args:
            root: folder of the user's store; None: no documents but those of the attacks.
            tenant: whose documents.
            embedder: that of the store; None: the one that it records, or hashing without a store.
            settings: how questions are asked.
            documents: most documents to copy.

        Raises:
            StoreError, EmbedderError: the store or its embedder cannot be used.
        """
        sample = None if root is None else sample_store(Path(root), tenant, embedder, documents)
        if embedder is None:
            embedder = HashEmbedder() if sample is None else recorded_embedder(sample.spec.embedder)
        options = StoreOptions() if sample is None else _options(sample.spec)
        cached = CachingEmbedder(embedder)
        with (
            _terminable(),
            TemporaryDirectory(prefix="hoptrail-attack-", ignore_cleanup_errors=True) as name,
        ):
            folder = Path(name)
            with KnowledgeBase.create(folder / "store", embedder=cached, options=options) as kb:
                if sample is not None:
                    _copy(sample, kb)
                sampled = tuple(kb.store.documents())
                yield cls(folder, kb, settings or SandboxSettings(), sampled)

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The search modes that the store has an index for."""
        return MODES if self.kb.store.linked else MODES[:-1]

    def scratch(self) -> Path:
        """A new empty folder beside the store."""
        self._scratch += 1
        folder = self.folder / f"scratch-{self._scratch}"
        folder.mkdir()
        return folder

    @contextmanager
    def planted(
        self, documents: Sequence[Document], kb: KnowledgeBase | None = None
    ) -> Iterator[tuple[str, ...]]:
        """Ingests documents as records of a .jsonl file, and deletes them again.

        Yields their ids in the store; those of a record that was refused are not among them.
        """
        path = self.scratch() / "planted.jsonl"
        path.write_text("".join(_record(one) for one in documents), encoding="utf-8")
        with self.ingested(path, kb) as ids:
            yield ids

    @contextmanager
    def ingested(self, path: Path, kb: KnowledgeBase | None = None) -> Iterator[tuple[str, ...]]:
        """Ingests a file or folder, yields the ids that this added, and deletes them again."""
        kb = kb or self.kb
        before = kb.store.fingerprints().keys()
        kb.ingest(path, sentences=False)
        added = tuple(sorted(kb.store.fingerprints().keys() - before))
        try:
            yield added
        finally:
            kb.delete(added)

    def ask(
        self,
        question: str,
        *,
        kb: KnowledgeBase | None = None,
        where: Where | None = None,
        model: AnyModel | RoleModels | None = None,
        budget: Budget | None = None,
        settings: RunSettings | None = None,
    ) -> Receipt:
        """Asks the sandbox, with the user's model and settings unless others are given.

        Raises:
            ModelError: the model server was lost, so that nothing can be judged.
        """
        mine = self.settings
        receipt = (kb or self.kb).ask(
            question,
            strategy=mine.strategy,
            model=model or mine.model,
            budget=budget or mine.budget,
            settings=settings or mine.settings,
            where=where,
        )
        if receipt.stop == "model_unavailable":
            raise ModelError("The model server was lost during an attack: look at its log.")
        return receipt


@contextmanager
def _terminable() -> Iterator[None]:
    """Has SIGTERM raise KeyboardInterrupt, so that no copy of documents stays behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def sample_store(root: Path, tenant: str, embedder: Embedder | None, most: int) -> SampledStore:
    """Reads the settings and at most `most` documents of a store, evenly over its ids.

    Raises:
        StoreError: there is none that can be read, or it is of another embedder.
    """
    layout = Layout(root=root, tenant=tenant)
    with disk_errors(layout.folder):
        spec, _ = read_spec(layout, embedder)
        source = catalogue.Catalogue(layout.catalogue)
        try:
            with source.reading() as connection:
                rows = connection.execute("SELECT id FROM documents ORDER BY id").fetchall()
                step = max(1, -(-len(rows) // most)) if most else len(rows) + 1
                return SampledStore(
                    spec=spec,
                    documents=tuple(_sampled(connection, [one for (one,) in rows[::step]][:most])),
                )
        finally:
            source.close()


def _sampled(
    connection: catalogue.Connection, ids: Sequence[str]
) -> Iterator[tuple[Document, tuple[Passage, ...]]]:
    left = _CHARACTERS
    for identifier in ids:
        document = catalogue.document(connection, identifier)
        if document is not None and len(document.text) <= left:
            left -= len(document.text)
            yield document, catalogue.passages_of(connection, identifier)


def _copy(sample: SampledStore, kb: KnowledgeBase) -> None:
    for at in range(0, len(sample.documents), _COMMIT):
        kb.store.commit(
            [
                IndexedDocument(
                    document=document,
                    passages=passages,
                    vectors=kb.embedder.embed([embedding_text(one) for one in passages]),
                    fingerprint=document.hash,
                )
                for document, passages in sample.documents[at : at + _COMMIT]
            ]
        )


def _options(spec: StoreSpec) -> StoreOptions:
    return StoreOptions(**{one.name: getattr(spec, one.name) for one in fields(StoreOptions)})


def _record(document: Document) -> str:
    record = {"id": document.id, "title": document.title, "text": document.text}
    return json.dumps({**record, "meta": dict(document.metadata)}) + "\n"
