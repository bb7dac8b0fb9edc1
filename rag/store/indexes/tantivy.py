"""Tantivy lexical index: incremental, on disk, one writer, many readers.

BM25 with Tantivy's k1 = 1.2, b = 0.75 and idf = ln(1 + (N - n + 0.5) / (n + 0.5)), which is never
negative (Robertson & Zaragoza 2009, section 3.2, with Lucene's one inside the logarithm). Until a
merge or a compaction sweeps them out, dead rows still count in the statistics; they are never
returned.

Tantivy's fast union adds a row's term scores in an order that depends on its neighbours, so the
last bits of a score do too. Scores are therefore rounded up to 11 significant bits, and the few
that lie so near a step that those bits could decide are scored again by a chain of queries, which
adds the terms one by one in a fixed order. Equal texts so score equally wherever they lie.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tantivy
from numpy.typing import NDArray
from tantivy import Query

from hoptrail.rag.store.catalogue.database import Connection
from hoptrail.rag.store.indexes.base import Capabilities
from hoptrail.rag.store.indexes.tantivy_files import folder_damage, list_seal
from hoptrail.rag.store.indexes.tantivy_queries import (
    FORMS,
    MANY,
    SCHEMA,
    TOKENIZER,
    WORDS,
    any_of,
    chain,
    facets_of,
    span_of,
    union,
)
from hoptrail.rag.store.indexes.temporary import linked, removed
from hoptrail.rag.store.layout import can_write
from hoptrail.rag.store.types import (
    NOTHING,
    Generation,
    IndexBatch,
    Keys,
    RowFilter,
    all_of,
    tie_key,
)
from hoptrail.rag.text.analyzer import Analyzer, Terms, analyzer, inverse_frequency, rarest
from hoptrail.rag.types import Candidates, Rows, tie_break

TRAITS = Capabilities(multi_process=True, persistent=True, filters_before_ranking=True)

_HEAP = 32_000_000
_BUILD_HEAP = 128_000_000
_EXTRA = 14
_LOW_BITS = 13
"""Of the 24 of a float32, so that 11 are left."""
_NEAR = 1 - 2.0**-10 - 2.0**-13
"""A rounding step plus the error of 512 clauses: below this share of the k-th a row stays so."""


class TantivyIndex:
    """A Tantivy searcher as of one generation."""

    traits = TRAITS

    def __init__(self, searcher: tantivy.Searcher, state: Generation) -> None:
        self._searcher = searcher
        self._garbage = state.garbage

    def search(self, terms: Terms, k: int, scope: RowFilter) -> Candidates:
        """The k best rows by BM25."""
        clauses = self._clauses(terms)
        if not clauses:
            return NOTHING
        if scope.facets:
            found = self._fetch(chain(facets_of(scope.facets), clauses), k, scope)
            scores = _stepped(found.scores)
        else:
            found = self._fetch(union(clauses), k, scope)
            scores = self._certain(found, clauses)
        best = np.lexsort((found.ties, -scores))[:k]
        return Candidates(rows=found.rows[best], scores=scores[best])

    def _clauses(self, terms: Terms) -> list[Query]:
        """The clauses of a query; any term may be a word of one passage and a form in another."""
        found_in, clauses = self._searcher.doc_freq, list[Query]()
        kept = rarest(terms.counts(), lambda term: found_in(WORDS, term) + found_in(FORMS, term))
        for term, count in kept.items():
            as_word, as_form = found_in(WORDS, term), found_in(FORMS, term)
            if as_word:
                query = Query.term_query(SCHEMA, WORDS, term, "freq")
                clauses.append(query if count == 1 else Query.boost_query(query, float(count)))
            if as_form:
                query = Query.term_query(SCHEMA, FORMS, term, "basic")
                weight = inverse_frequency(self._searcher.num_docs, as_word + as_form)
                clauses.append(Query.const_score_query(query, weight))
        return clauses

    def _fetch(self, query: Query, k: int, scope: RowFilter) -> _Found:
        """The best k live rows, and all rows that may score as high as the k-th."""
        most = max(1, self._searcher.num_docs)
        limit = min(most, k + _EXTRA + min(self._garbage, 3 * k))
        while True:
            found = self._hits(query, limit)
            scores = found.scores
            keep = scope.alive(found.rows)
            if len(scores) and scores[-1] <= 0:
                keep &= scores > 0
            exhausted = len(scores) < limit or limit >= most or scores[-1] <= 0
            kept = scores if all_of(keep) else scores[keep]
            bound = kept[k - 1] * _NEAR if len(kept) >= k else 0.0
            if exhausted or scores[-1] < bound:
                return found.only(keep).first(int(np.count_nonzero(kept >= bound)))
            limit = min(most, limit * 4)

    def _certain(self, found: _Found, clauses: Sequence[Query]) -> NDArray[np.float32]:
        """The rounded scores, independent of the order in which the union added."""
        # Two sums of n terms differ by at most 2 (n - 1) 2**-24 of their value; of two, by nothing.
        doubt = 2 * (len(clauses) - 1) if len(clauses) > 2 else 0
        scores = _stepped(found.scores, -doubt)
        unsure = (scores != _stepped(found.scores, doubt)).nonzero()[0]
        if len(unsure):
            again = self._again(found.rows[unsure].tolist(), clauses)
            places = dict(zip(found.rows[unsure].tolist(), unsure.tolist(), strict=True))
            order = [places[row] for row in again.rows.tolist()]
            scores[order] = _stepped(again.scores)
        return scores

    def _again(self, rows: list[int], clauses: Sequence[Query]) -> _Found:
        few = len(rows) < MANY
        among = any_of(rows) if few else Query.term_set_query(SCHEMA, "row", rows)
        return self._hits(chain(among, clauses), len(rows))

    def _hits(self, query: Query, limit: int) -> _Found:
        hits = self._searcher.search(query, limit, count=False).hits
        addresses = [address for _, address in hits]
        rows = self._searcher.fast_field_values("row", addresses)
        ties = self._searcher.fast_field_values("tie", addresses)
        return _Found(
            rows=np.array(rows, dtype=np.int64),
            scores=np.array([score for score, _ in hits], dtype=np.float32),
            ties=np.array(ties, dtype=np.uint64),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    rows: Rows
    scores: NDArray[np.float32]
    """Descending."""
    ties: Keys

    def only(self, kept: NDArray[np.bool_]) -> _Found:
        """Those that are kept."""
        if all_of(kept):
            return self
        return _Found(rows=self.rows[kept], scores=self.scores[kept], ties=self.ties[kept])

    def first(self, count: int) -> _Found:
        """The best of them."""
        return _Found(rows=self.rows[:count], scores=self.scores[:count], ties=self.ties[:count])


class TantivyBackend:
    """Keeps the Tantivy folders of a tenant; each build has its own."""

    traits = TRAITS
    deferred = False

    def __init__(self, folder: Path, language: str) -> None:
        self._links = None if can_write(folder) else linked(folder / "tantivy")
        self._folder = Path(self._links.name) if self._links else folder / "tantivy"
        self._analyser = analyzer(language)
        self._open: tuple[int, tantivy.Index] | None = None

    def admit(self, passages: int) -> None:
        """Accepts any number of passages."""

    def lag(self, state: Generation) -> str | None:
        """The reason why the folder does not reflect the state; None if it does."""
        path = self._path(state.lexical_epoch)
        if not path.is_dir():
            return "the lexical index is missing" if state.passages else None
        return self._unreadable(path, state)

    def _unreadable(self, path: Path, state: Generation) -> str | None:
        try:
            if not tantivy.Index.is_compatible(str(path)):
                return "the lexical index was written by another version of Tantivy"
            index = self._index(state.lexical_epoch)
            index.reload()
            searcher = index.searcher()
        except (ValueError, OSError) as error:
            self._open = None
            if "schema does not match" in str(error):
                return "the lexical index was written by another version of hoptrail"
            return f"the lexical index cannot be read ({error})"
        if searcher.num_docs < state.passages:
            return f"the lexical index holds {searcher.num_docs} of {state.passages} passages"
        last = len(state.live) - 1
        if last >= 0 and not searcher.doc_freq("row", last):
            return "the lexical index lacks the last commit"
        return None

    def write(self, epoch: int, batch: IndexBatch) -> AbstractContextManager[None]:
        """Deletes dead rows and adds new ones during the block, and commits at its end."""
        return self._writing(epoch, [batch], _HEAP)

    def settle(self, writer: Connection) -> None:
        """Does nothing after the commit."""

    def reading(self, state: Generation) -> TantivyIndex:
        """The index of a generation."""
        index = self._index(state.lexical_epoch)
        index.reload()
        return TantivyIndex(index.searcher(), state)

    def build(self, epoch: int, batches: Iterable[IndexBatch], state: Generation) -> None:
        """Writes a new folder of all live rows."""
        shutil.rmtree(self._path(epoch), ignore_errors=True)
        with self._writing(epoch, batches, _BUILD_HEAP):
            pass

    def audit(self, state: Generation) -> Iterator[tuple[int, int]]:
        """Pairs (row, CRC-32 of its text) of each entry of a live row; a row may come twice."""
        index = self._index(state.lexical_epoch)
        index.reload()
        searcher = index.searcher()
        if not searcher.num_docs:
            return
        hits = searcher.search(Query.all_query(), searcher.num_docs, count=False).hits
        addresses = [address for _, address in hits]
        rows = np.array(searcher.fast_field_values("row", addresses), dtype=np.int64)
        crcs = np.array(searcher.fast_field_values("crc", addresses), dtype=np.int64)
        known = np.flatnonzero(rows < len(state.live))
        alive = known[state.live[rows[known]]]
        yield from zip(rows[alive].tolist(), crcs[alive].tolist(), strict=True)

    def seal(self, epoch: int) -> int | None:
        """CRC-32 of the list of segments."""
        return list_seal(self._path(epoch))

    def damage(self, state: Generation, *, whole: bool) -> str | None:
        """Which file of a segment has changed under the checksum that Tantivy gave it."""
        path = self._path(state.lexical_epoch)
        found = folder_damage(path, state.lexical_seal, whole=whole)
        return None if found is None else f"the lexical index is damaged: {found}"

    def bloated(self, epoch: int, rows: int, passages: int) -> bool:
        """Returns False: Tantivy merges segments by itself."""
        return False

    def tidy(self, epoch: int) -> None:
        """Removes the folders of other builds."""
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path != self._path(epoch):
                    shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Releases the folder."""
        self._open = None
        if self._links is not None:
            removed(self._links)

    @contextmanager
    def _writing(self, epoch: int, batches: Iterable[IndexBatch], heap: int) -> Iterator[None]:
        writer = self._index(epoch).writer(heap_size=heap, num_threads=1)
        try:
            for batch in batches:
                _feed(writer, batch, self._analyser)
            yield
            writer.commit()
            # Dropping the writer would give up a merge that the commit began, and all its work.
            writer.wait_merging_threads()
        finally:
            # An exception keeps this frame alive, and with it Tantivy's lock.
            del writer

    def _index(self, epoch: int) -> tantivy.Index:
        if self._open is not None and self._open[0] == epoch:
            return self._open[1]
        path = self._path(epoch)
        path.mkdir(parents=True, exist_ok=True)
        index = tantivy.Index(SCHEMA, path=str(path))
        index.register_tokenizer(TOKENIZER, self._analyser.words)
        index.config_reader("manual")
        self._open = (epoch, index)
        return index

    def _path(self, epoch: int) -> Path:
        return self._folder / str(epoch)


def _feed(writer: tantivy.IndexWriter, batch: IndexBatch, analyser: Analyzer) -> None:
    for first, count in batch.swept:
        # By query: a delete by term takes the number for a signed one and finds nothing.
        writer.delete_documents_by_query(span_of(first, count))
    for entry in batch.entries:
        document = tantivy.Document()
        words, forms = analyser.prepare(entry.words)
        document.add_text(WORDS, words)
        for form in forms:
            document.add_text(FORMS, form)
        document.add_unsigned("row", entry.row)
        document.add_unsigned("tie", tie_key(tie_break(entry.passage_id)))
        document.add_unsigned("crc", zlib.crc32(entry.words.encode()))
        for one in entry.facets:
            document.add_text("facet", one)
        writer.add_document(document)


def _stepped(scores: NDArray[np.float32], doubt: int = 0) -> NDArray[np.float32]:
    """Scores (>= 0), moved by `doubt` units of their last place, rounded up to a step.

    The bits of positive floats, read as integers, have the order of the floats.
    """
    mask = (1 << _LOW_BITS) - 1
    stepped = (scores.view(np.int32) + (doubt + mask)) & ~mask
    return stepped.view(np.float32)
