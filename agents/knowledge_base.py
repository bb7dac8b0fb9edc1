"""`KnowledgeBase`: the documents of one tenant, to ingest, search and ask."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, Unpack

from hoptrail.agents.ask import AskOptions, ResumeOptions, aask, aresume, astream
from hoptrail.agents.corpus.open_store import OpenStore
from hoptrail.agents.corpus.run_retention import RunRetention
from hoptrail.agents.events import Event
from hoptrail.agents.runs.folder import unfinished_runs
from hoptrail.agents.runs.receipt import Receipt
from hoptrail.agents.runs.synchronous import synchronous
from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.embedders.loading import DEFAULT_EMBEDDER, load_embedder
from hoptrail.rag.errors import StoreError
from hoptrail.rag.ingest.pipeline import IngestEvent, IngestReport, IngestSettings, ingest
from hoptrail.rag.ingest.put_documents import put_documents
from hoptrail.rag.ingest.sentence_vectors import store_sentence_vectors
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.spec import StoreOptions, StoreSpec
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.view import sync_stored_tree
from hoptrail.rag.types import Document, Mode, Ranking, Where

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeBase(OpenStore):
    """The documents of one tenant, open: ingest, search and ask. A context manager.

    Many questions may share it; its methods may be called from several threads and event loops.
    """

    store: Store
    embedder: Embedder
    retriever: Retriever

    @classmethod
    def create(
        cls,
        folder: Path | str,
        *,
        tenant: str = "default",
        embedder: str | Embedder = DEFAULT_EMBEDDER,
        options: StoreOptions | None = None,
        keep_runs: bool | RunRetention = True,
    ) -> Self:
        """Makes an empty store and opens it.

        Args:
            folder: where it will be; several tenants may share one.
            tenant: whose documents: 1 to 64 of a-z, 0-9, - and _.
            embedder: one, or its name for `load_embedder`. The store keeps to it.
            options: indexes, language, passage graph; None: the defaults.
            keep_runs: as for `open`.

        Raises:
            SettingsError: there is a store already, or an option is wrong.
            EmbedderError: the embedder is not found.
        """
        if isinstance(embedder, str):
            embedder = load_embedder(embedder)
        chosen = asdict(options or StoreOptions())
        spec = StoreSpec(embedder=embedder.id, dimension=embedder.dimension, **chosen)
        Store.create(Path(folder), spec, tenant=tenant).close()
        return cls.open(folder, tenant=tenant, embedder=embedder, keep_runs=keep_runs)

    def ingest(
        self,
        paths: Iterable[Path | str] | Path | str,
        *,
        settings: IngestSettings | None = None,
        sentences: bool = True,
        on_event: Callable[[IngestEvent], None] | None = None,
    ) -> IngestReport:
        """Brings the store up to date with files and folders; its tree, if any, follows.

        Args:
            paths: files and folders.
            settings: chunk size, limits, pruning.
            sentences: afterwards store the vectors of all sentences too. That takes about as long
                again, and makes an answer without a model several times faster.
            on_event: called with each event.

        Raises:
            SettingsError: the paths hold nothing to read, clash, or do not exist.
            EmbedderError: the embedder failed.
            StoreError: the store is being written by another, or its disk is full.
        """
        named = [paths] if isinstance(paths, Path | str) else paths
        report = ingest(
            [Path(path) for path in named],
            self.store,
            self.embedder,
            settings or IngestSettings(),
            on_event or _ignore,
        )
        if sentences:
            store_sentence_vectors(self.store, self.embedder)
        self._sync_tree()
        return report

    def put(self, documents: Sequence[Document], *, sentences: bool = True) -> int:
        """Adds or replaces documents that are in memory, all or none; the tree, if any, follows.

        Args:
            documents: of different ids.
            sentences: as for `ingest`.

        Returns:
            The store's generation that has them.

        Raises:
            SettingsError: a document is malformed.
            EmbedderError: the embedder failed.
            StoreError: the store is being written by another, or its disk is full.
        """
        generation = put_documents(self.store, self.embedder, documents)
        if sentences:
            store_sentence_vectors(self.store, self.embedder)
        self._sync_tree()
        return generation

    def delete(self, ids: Collection[str]) -> int:
        """Deletes documents by id; unknown ids are passed over. Returns how many there were."""
        found = set(ids) & self.store.fingerprints().keys()
        self.store.commit((), found)
        self._sync_tree()
        return len(found)

    def search(
        self, query: str, *, k: int = 10, mode: Mode | None = None, where: Where | None = None
    ) -> Ranking:
        """The k best passages for a query, best first.

        Args:
            query: any text.
            k: how many, at least 1.
            mode: hybrid, lexical, dense or graph; None: the best that the store has an index for.
            where: equality filter on the documents' metadata.
        """
        return self.retriever.search(query, k=k, mode=mode, where=where or {})

    async def aask(self, question: str, **options: Unpack[AskOptions]) -> Receipt:
        """Answers a question; see `hoptrail.aask` for the options and errors."""
        return await aask(question, self, **options)

    def astream(self, question: str, **options: Unpack[AskOptions]) -> AsyncIterator[Event]:
        """The events of a question until its receipt; see `hoptrail.astream`."""
        return astream(question, self, **options)

    async def aresume(self, run: str, **options: Unpack[ResumeOptions]) -> Receipt:
        """Takes up a run that was cut off; see `hoptrail.aresume`."""
        return await aresume(run, self, **options)

    ask, resume = synchronous(aask), synchronous(aresume)

    def _sync_tree(self) -> None:
        """Brings the tree, if there is one, up to date; a search of it makes up for a failure."""
        try:
            sync_stored_tree(self.store)
        except StoreError as error:
            _LOG.warning("The tree was not brought up to date: %s", error)

    def unfinished_runs(self) -> list[str]:
        """Ids of the runs that have no receipt yet, for `resume`."""
        return [] if self.runs is None else [run.id for run in unfinished_runs(self.runs)]


def open_library(
    folder: Path, *, tenant: str = "default", embedder: Embedder | None = None, keep: bool = True
) -> KnowledgeBase:
    """`KnowledgeBase.open` under its former name, for one more release."""
    return KnowledgeBase.open(folder, tenant=tenant, embedder=embedder, keep_runs=keep)


def _ignore(_event: object) -> None:
    """Listens to nothing."""
