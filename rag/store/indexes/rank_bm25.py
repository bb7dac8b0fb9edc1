"""rank-bm25 lexical index: in memory, for small corpora; the reference of the others in tests.

`rank_bm25.BM25Okapi` with k1 = 1.5, b = 0.75, built in memory from the catalogue when a query finds
that the store has moved on. Its idf is replaced: the library's turns negative for a word in more
than half of the passages and is then floored at a share of the average, which is itself negative in
a small corpus, so that a matching passage could rank below one that does not match.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rank_bm25 import BM25Okapi

from hoptrail.rag.errors import BackendRefused
from hoptrail.rag.store.catalogue.database import Catalogue, Connection, snapshot
from hoptrail.rag.store.indexes.base import Capabilities
from hoptrail.rag.store.types import Generation, IndexBatch, RowFilter, ranked
from hoptrail.rag.text.analyzer import Terms, analyzer, inverse_frequency, rarest
from hoptrail.rag.types import Candidates, Rows

TRAITS = Capabilities(multi_process=True, persistent=False, filters_before_ranking=True)

WARNED_ABOVE = 10_000
REFUSED_ABOVE = 50_000
"""Passages; a query over 100k takes 0.35 s and holds the interpreter all that time."""

_LOG = logging.getLogger(__name__)


class _Okapi(BM25Okapi):  # type: ignore[misc]
    found_in: Mapping[str, int]
    """Number of passages by word."""

    def _calc_idf(self, nd: Mapping[str, int]) -> None:
        """Lucene's, never negative."""
        self.found_in = nd
        for word, found_in in nd.items():
            self.idf[word] = inverse_frequency(self.corpus_size, found_in)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    generation: int
    rows: Rows
    okapi: _Okapi | None
    """None if no passage has a word."""
    forms: Mapping[str, NDArray[np.intp]]
    """By further term: places in `rows` of the passages that have it."""

    def frequency(self, term: str) -> int:
        """The number of passages that have a term, as a word and as a further term."""
        as_word = self.okapi.found_in.get(term, 0) if self.okapi else 0
        return as_word + len(self.forms.get(term, ()))

    def form_scores(self, terms: Iterable[str]) -> NDArray[np.float64]:
        """(rows,): the inverse document frequencies of the further terms that each row has."""
        scores = np.zeros(len(self.rows))
        for term in terms:
            if term in self.forms:
                weight = inverse_frequency(len(self.rows), self.frequency(term))
                scores[self.forms[term]] += weight
        return scores


class RankBm25Index:
    """BM25 over one generation, built at the first query."""

    traits = TRAITS

    def __init__(self, keeper: RankBm25Backend, state: Generation) -> None:
        self._keeper = keeper
        self._generation = state.generation

    def search(self, terms: Terms, k: int, scope: RowFilter) -> Candidates:
        """The k best rows by BM25; selects the filtered rows first, then scores only them."""
        model = self._keeper.model(self._generation)
        kept = rarest(terms.counts(), model.frequency)
        query = [term for term, count in kept.items() for _ in range(count)]
        scores = model.form_scores(kept)
        if scope.facets:
            places = np.flatnonzero(np.isin(model.rows, scope.rows(), assume_unique=True))
        else:
            places = np.arange(len(model.rows))
        scores = scores[places]
        if query and model.okapi is not None:
            scores += (
                np.array(model.okapi.get_batch_scores(query, places.tolist()))
                if scope.facets
                else model.okapi.get_scores(query)
            )
        rows = model.rows[places]
        kept_rows = (scores > 0) & scope.alive(rows)
        return ranked(rows[kept_rows], scores[kept_rows].astype(np.float32), k, scope.ties)


class RankBm25Backend:
    """Backend that builds the BM25 model in memory."""

    traits = TRAITS
    deferred = False

    def __init__(self, catalogue: Catalogue, language: str) -> None:
        self._catalogue = catalogue
        self._analyser = analyzer(language)
        self._guard = threading.Lock()
        self._model: _Model | None = None
        self._warned = False

    def admit(self, passages: int) -> None:
        """Warns above 10,000 passages; raises BackendRefused above 50,000."""
        if passages > REFUSED_ABOVE:
            raise BackendRefused(
                f"A store with the rank-bm25 index holds at most {REFUSED_ABOVE:,} passages, and "
                f"this write would make it {passages:,}. Ingest into a new store with tantivy."
            )
        if passages > WARNED_ABOVE and not self._warned:
            self._warned = True
            _LOG.warning(
                "rank-bm25 with %s passages is slow (a query takes tens of milliseconds, the first "
                "after each write seconds); tantivy is made for this size",
                f"{passages:,}",
            )

    def lag(self, state: Generation) -> str | None:
        """Returns None: there are no files."""
        return None

    def write(self, epoch: int, batch: IndexBatch) -> AbstractContextManager[None]:
        """Does nothing: there are no files."""
        return nullcontext()

    def settle(self, writer: Connection) -> None:
        """Does nothing after the commit."""

    def reading(self, state: Generation) -> RankBm25Index:
        """The index of a generation."""
        return RankBm25Index(self, state)

    def build(self, epoch: int, batches: Iterable[IndexBatch], state: Generation) -> None:
        """Does nothing: there are no files."""

    def audit(self, state: Generation) -> Iterator[tuple[int, int]]:
        """Yields nothing: there are no files."""
        return iter(())

    def seal(self, epoch: int) -> int | None:
        """Returns None: there are no files."""
        return None

    def damage(self, state: Generation, *, whole: bool) -> str | None:
        """Returns None: there are no files."""
        return None

    def bloated(self, epoch: int, rows: int, passages: int) -> bool:
        """Returns False: the model has live rows only."""
        return False

    def tidy(self, epoch: int) -> None:
        """Does nothing: there are no files."""

    def close(self) -> None:
        """Frees the model."""
        self._model = None

    def model(self, generation: int) -> _Model:
        """The model of that generation, or of a newer one."""
        with self._guard:
            if self._model is None or self._model.generation < generation:
                self._model = self._read()
            return self._model

    def _read(self) -> _Model:
        with self._catalogue.reading() as connection, snapshot(connection):
            generation = connection.execute(
                "SELECT value FROM meta WHERE key = 'generation'"
            ).fetchone()[0]
            lines = connection.execute(
                "SELECT p.row, d.title, p.text FROM passages p JOIN documents d ON d.doc = p.doc "
                "ORDER BY p.row"
            ).fetchall()
        corpus = [self._analyser.terms(f"{title}\n{text}") for _, title, text in lines]
        forms: defaultdict[str, list[int]] = defaultdict(list)
        for place, terms in enumerate(corpus):
            for form in terms.forms:
                forms[form].append(place)
        words = [terms.words for terms in corpus]
        return _Model(
            generation=generation,
            rows=np.array([row for row, _, _ in lines], dtype=np.int64),
            okapi=_Okapi(words) if any(words) else None,
            forms={form: np.array(places) for form, places in forms.items()},
        )
