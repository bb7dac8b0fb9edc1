"""An open store as runs use it: documents, secret, and the place of unfinished runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hoptrail.agents.corpus.live import LiveCorpus
from hoptrail.agents.corpus.live_tree import Trees
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.spec import check_embedder
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeBase:
    """What many questions may share; close it when the last one is answered."""

    corpus: Corpus
    secret: bytes
    runs: Path | None
    """None: runs are not kept on disk and cannot be resumed."""
    store: Store | None = None
    mode: Mode = "hybrid"
    """How a question is searched unless it is told."""

    def close(self) -> None:
        """Closes the threads and the store it was opened with, unless a call is still inside."""
        idle = self.corpus.close() if isinstance(self.corpus, LiveCorpus) else True
        if idle and self.store is not None:
            self.store.close()

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_library(
    folder: Path, *, tenant: str = "default", embedder: Embedder | None = None, keep: bool = True
) -> KnowledgeBase:
    """Opens a tenant's store for questions.

    Args:
        folder: the store's folder.
        tenant: whose documents.
        embedder: None: the one that the store names.
        keep: whether runs are kept on disk until their receipt is written.

    Raises:
        StoreError: it is missing, damaged, or was made with another embedder.
        EmbedderError: the embedder that it names cannot be found.
    """
    store = Store.open(folder, tenant=tenant)
    try:
        if embedder is None:
            embedder = load_embedder(store.spec.embedder)
        check_embedder(store.spec, embedder, str(folder))
    except BaseException:
        store.close()
        raise
    searcher = Retriever(store, embedder)
    return KnowledgeBase(
        corpus=LiveCorpus(store, searcher, Trees(store, embedder)),
        secret=store.secret,
        runs=folder / tenant / "runs" if keep else None,
        store=store,
        mode=searcher.mode,
    )
