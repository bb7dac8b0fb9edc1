"""An open store as runs use it: its corpus, secret, default search mode and folder of runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from hoptrail.agents.budget.admission import OF_PROCESS, Admission
from hoptrail.agents.corpus.live import LiveCorpus
from hoptrail.agents.corpus.live_tree import Trees
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.corpus.run_retention import RunRetention
from hoptrail.agents.corpus.threads import given_up
from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.embedders.interruptible import InterruptibleEmbedder
from hoptrail.rag.embedders.loading import load_embedder, recorded_embedder
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.layout import can_write
from hoptrail.rag.store.spec import check_embedder
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStore:
    """A store opened for questions, which many of them may share.

    Close it when the last one is answered.
    """

    corpus: Corpus
    secret: bytes
    runs: Path | None
    """None: runs are not kept on disk and cannot be resumed."""
    retention: RunRetention = field(default_factory=RunRetention)
    """How long runs that were cut off are kept; looked at when a run begins."""
    store: Store | None = None
    embedder: Embedder | None = None
    retriever: Retriever | None = None
    mode: Mode = "hybrid"
    """How a question is searched unless it is told."""
    admission: Admission = OF_PROCESS
    """How many runs go on at once."""

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        tenant: str = "default",
        embedder: str | Embedder | None = None,
        keep_runs: bool | RunRetention = True,
        admission: Admission = OF_PROCESS,
    ) -> Self:
        """Opens a tenant's store for questions.

        Args:
            folder: the store's folder.
            tenant: whose documents.
            embedder: one, or its name for `load_embedder`; None: the one that the store records.
            keep_runs: whether runs are kept on disk until their receipt is written, so that one
                that was cut off can be resumed; a `RunRetention` says for how long that. Those of a
                store that can only be read are not kept.
            admission: how many runs go on at once; the process's unless one is given.

        Raises:
            StoreError: it is missing, damaged, or was made with another embedder.
            EmbedderError: the embedder that it names cannot be found.
        """
        store = Store.open(Path(folder), tenant=tenant)
        try:
            if embedder is None:
                embedder = recorded_embedder(store.spec.embedder)
            elif isinstance(embedder, str):
                embedder = load_embedder(embedder)
            check_embedder(store.spec, embedder, str(folder))
        except BaseException:
            store.close()
            raise
        # What runs embed can be stopped between two batches; what is ingested cannot.
        for_runs = InterruptibleEmbedder(embedder, given_up)
        retriever = Retriever(store, for_runs)
        home = Path(folder) / tenant
        retention = keep_runs if isinstance(keep_runs, RunRetention) else RunRetention()
        return cls(
            corpus=LiveCorpus(store, retriever, Trees(store, for_runs)),
            secret=store.secret,
            runs=home / "runs" if keep_runs and can_write(home) else None,
            retention=retention,
            store=store,
            embedder=embedder,
            retriever=retriever,
            mode=retriever.mode,
            admission=admission,
        )

    def close(self) -> None:
        """Closes the threads and the store it was opened with, unless a call is still inside."""
        idle = self.corpus.close() if isinstance(self.corpus, LiveCorpus) else True
        if idle and self.store is not None:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
