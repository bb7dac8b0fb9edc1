"""Baseline of the store benchmark: SQLite, Tantivy and NumPy queried directly over a store's files.

Without filters, generations, locks, tie-breaks and exact scores.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import tantivy
from numpy.typing import NDArray
from tantivy import Occur

from hoptrail.evals.benchmarks.store.synthetic import SyntheticQuery
from hoptrail.rag.store.indexes.tantivy_queries import SCHEMA
from hoptrail.rag.text.analyzer import index_terms

_DEPTH = 50
_WANTED = 10
_RANK_CONSTANT = 60


class BareParts:
    """Searcher over the files of a store without deletions (row numbers equal vector slots)."""

    def __init__(self, folder: Path, passages: int, dimension: int) -> None:
        self._searcher = tantivy.Index.open(str(folder / "tantivy" / "0")).searcher()
        mapped = np.memmap(folder / "vectors-0.f32", dtype="<f4", mode="r")
        self._vectors = np.asarray(mapped).reshape(-1, dimension)[:passages]
        self._catalogue = sqlite3.connect(folder / "catalogue.db")

    def lexical(self, text: str) -> list[int]:
        """Rows of the 50 best passages by BM25."""
        terms = [
            (Occur.Should, tantivy.Query.term_query(SCHEMA, "words", term, "freq"))
            for term in dict.fromkeys(index_terms("english", text))
        ]
        query = tantivy.Query.boolean_query(terms)
        hits = self._searcher.search(query, _DEPTH, count=False).hits
        rows = self._searcher.fast_field_values("row", [address for _, address in hits])
        return [int(row) for row in rows if row is not None]

    def dense(self, vector: NDArray[np.float32]) -> list[int]:
        """Rows of the 50 best passages by inner product; `vector` is (dimension,)."""
        scores = self._vectors @ vector
        best = np.argpartition(scores, -_DEPTH)[-_DEPTH:]
        rows: list[int] = best[np.argsort(-scores[best])].tolist()
        return rows

    def hybrid(self, query: SyntheticQuery) -> list[str]:
        """Texts of the ten best passages by reciprocal rank fusion (k = 60)."""
        fused: dict[int, float] = {}
        for rows in (self.lexical(query.text), self.dense(query.vector)):
            for rank, row in enumerate(rows, start=1):
                fused[row] = fused.get(row, 0.0) + 1 / (_RANK_CONSTANT + rank)
        best = sorted(fused, key=fused.__getitem__, reverse=True)[:_WANTED]
        marks = ",".join("?" * len(best))
        found = self._catalogue.execute(
            f"SELECT row, text FROM passages WHERE row IN ({marks})", best
        ).fetchall()
        texts = dict(found)
        return [texts[row] for row in best]

    def close(self) -> None:
        """Closes the catalogue."""
        self._catalogue.close()
