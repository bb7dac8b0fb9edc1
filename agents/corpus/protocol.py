"""`Corpus`: what a run may ask of the documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hoptrail.rag.tree.search.types import Opened, Seed
from hoptrail.rag.types import Mode, Passage, Ranking, ScoredSentence, Where


@runtime_checkable
class Corpus(Protocol):
    """The documents, as a run sees them.

    Every method ends within `timeout` seconds, or raises TimeoutError.
    """

    async def generation(self, *, timeout: float) -> int:
        """The store's newest committed generation."""

    async def language(self, *, timeout: float) -> str:
        """By whose rules words are told apart: that of the store's analyser."""

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        """The k best passages for a query.

        Raises:
            EmbedderError: the embedder failed; in mode `lexical` none is asked.
        """

    async def similarity(
        self, query: str, texts: Sequence[str], *, timeout: float
    ) -> tuple[float, ...]:
        """The cosine of the query to each text, -1..1.

        Raises:
            EmbedderError: the embedder failed.
        """

    async def sentences(
        self, query: str, ids: Sequence[str], *, timeout: float
    ) -> tuple[tuple[ScoredSentence, ...] | None, ...]:
        """Passages' sentences with their cosine to the query; None where no vectors are stored.

        Raises:
            TimeoutError: not answered within `timeout` seconds.
        """

    async def has_tree(self, *, timeout: float) -> bool:
        """Whether the store has a corpus tree, so that none need be built."""

    async def tree_start(
        self, query: str, found: Sequence[str], *, k: int, where: Where, timeout: float
    ) -> TreeStart:
        """Opens the corpus tree, which is built where there is none.

        Args:
            query: what is searched for.
            found: ids of passages that are known to bear on it, best first.
            k: how many of them point to where to begin.
            where: equality filter on metadata.
            timeout: seconds; what is being built then goes on and is kept.

        Raises:
            EmbedderError: the embedder failed.
        """

    async def tree_open(
        self, query: str, nodes: Sequence[int], *, stand: Stand, where: Where, timeout: float
    ) -> tuple[Opened, ...]:
        """Nodes of the tree with the children that the filter keeps; `stand` is `tree_start`'s.

        Raises:
            EmbedderError: the embedder failed.
        """

    async def tree_passages(
        self, query: str, leaves: Sequence[int], *, timeout: float
    ) -> tuple[Passage | None, ...]:
        """The passage that stands for each leaf of the tree; None for one that is gone."""

    async def passages(self, ids: Sequence[str], *, timeout: float) -> tuple[Passage | None, ...]:
        """Passages by id, in order; None for one that is gone."""

    async def slice(self, document_id: str, start: int, end: int, *, timeout: float) -> str | None:
        """`document.text[start:end]`; None when the document is gone."""


Stand = tuple[int, int]
"""A state of a tree: the generations of the store and of the tree's file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeStart:
    """What a search of the tree begins with."""

    stand: Stand
    """To be given back to `open`."""
    nodes: int
    """Inner nodes."""
    leaves: int
    """Passages that the filter keeps, or documents."""
    seeds: tuple[Seed, ...]
    built: bool
    """There was no tree, so one was built, without a model."""
