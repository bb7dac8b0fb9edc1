"""A corpus that goes on by words alone once its embedder has failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.rag.errors import EmbedderError
from hoptrail.rag.types import Mode, Ranking, Where


def with_lexical_fallback(
    corpus: Corpus, seconds_left: Callable[[], float], note: Callable[[str], None]
) -> Corpus:
    """The corpus, with searches in mode `lexical` once one of its calls raised EmbedderError.

    The embedder is not tried again: a server that is down would cost each search its attempts.

    Args:
        corpus: what is asked.
        seconds_left: seconds that the run has left.
        note: called with what happened, in words, once.
    """
    return cast(Corpus, _LexicalFallback(corpus, seconds_left, note))


class _LexicalFallback:
    """The corpus of `with_lexical_fallback`."""

    def __init__(
        self, corpus: Corpus, seconds_left: Callable[[], float], note: Callable[[str], None]
    ) -> None:
        self._corpus = corpus
        self._seconds_left = seconds_left
        self._note = note
        self._failed = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any other method of the corpus
        """That of the other corpus."""
        return getattr(self._corpus, name)

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        """The k best passages for a query; by words where the embedder has failed."""
        if not self._failed or mode == "lexical":
            try:
                return await self._corpus.search(
                    query, k=k, mode=mode, where=where, timeout=timeout
                )
            except EmbedderError as error:
                self._fail(error)
                timeout = min(timeout, self._seconds_left())
        return await self._corpus.search(query, k=k, mode="lexical", where=where, timeout=timeout)

    async def similarity(
        self, query: str, texts: Sequence[str], *, timeout: float
    ) -> tuple[float, ...]:
        """The cosine of the query to each text; none where the embedder has failed."""
        if self._failed:
            return ()
        try:
            return await self._corpus.similarity(query, texts, timeout=timeout)
        except EmbedderError as error:
            self._fail(error)
            return ()

    def _fail(self, error: EmbedderError) -> None:
        if not self._failed:
            self._failed = True
            self._note(f"embedder: it failed, and the search went on by words alone ({error})")
