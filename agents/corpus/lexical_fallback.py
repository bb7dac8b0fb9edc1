"""A corpus that goes on by words alone once its embedder has failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from hoptrail.agents.budget.branches import current_branch
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.rag.errors import EmbedderError
from hoptrail.rag.types import Mode, Ranking, ScoredSentence, Where


def with_lexical_fallback(corpus: Corpus, seconds_left: Callable[[], float]) -> Corpus:
    """The corpus, with searches in mode `lexical` once one of its calls raised EmbedderError.

    The embedder is not tried again: a server that is down would cost each search its attempts.
    What failed is noted in the branch of the run that saw it, and holds in those that follow.

    Args:
        corpus: what is asked.
        seconds_left: seconds that the run has left.
    """
    return cast(Corpus, _LexicalFallback(corpus, seconds_left))


class _LexicalFallback:
    """The corpus of `with_lexical_fallback`."""

    def __init__(self, corpus: Corpus, seconds_left: Callable[[], float]) -> None:
        self._corpus = corpus
        self._seconds_left = seconds_left

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any other method of the corpus
        """That of the other corpus."""
        return getattr(self._corpus, name)

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        """The k best passages for a query; by words where the embedder has failed."""
        if not current_branch().embedder_failure or mode == "lexical":
            try:
                return await self._corpus.search(
                    query, k=k, mode=mode, where=where, timeout=timeout
                )
            except EmbedderError as error:
                _note(error)
                timeout = min(timeout, self._seconds_left())
        return await self._corpus.search(query, k=k, mode="lexical", where=where, timeout=timeout)

    async def similarity(
        self, query: str, texts: Sequence[str], *, timeout: float
    ) -> tuple[float, ...]:
        """The cosine of the query to each text; none where the embedder has failed."""
        if current_branch().embedder_failure:
            return ()
        try:
            return await self._corpus.similarity(query, texts, timeout=timeout)
        except EmbedderError as error:
            _note(error)
            return ()

    async def sentences(
        self, query: str, ids: Sequence[str], *, timeout: float
    ) -> tuple[tuple[ScoredSentence, ...] | None, ...]:
        """Stored sentences with their cosine to the query; none where the embedder has failed."""
        if current_branch().embedder_failure:
            return (None,) * len(ids)
        try:
            return await self._corpus.sentences(query, ids, timeout=timeout)
        except EmbedderError as error:
            _note(error)
            return (None,) * len(ids)


def _note(error: EmbedderError) -> None:
    branch = current_branch()
    branch.embedder_failure = branch.embedder_failure or str(error)
