"""An embedder that remembers: for measuring many runs over one corpus, where texts come again."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.embedders.base import DelegatingEmbedder, Embedder, TextKind
from hoptrail.rag.types import Vectors


class CachingEmbedder(DelegatingEmbedder):
    """Another embedder, each text embedded once; safe to share by threads if that one is.

    Never use it where time is measured.
    """

    def __init__(self, embedder: Embedder, *, most: int = 200_000) -> None:
        """`most`: vectors kept; those remembered first are forgotten first."""
        assert most >= 1
        super().__init__(embedder)
        self._most = most
        self._vectors: dict[tuple[str, TextKind], NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        """Returns (len(texts), dimension) float32, rows L2-normalised, in order.

        Raises:
            EmbedderError: the other embedder's.
        """
        known: dict[str, NDArray[np.float32]] = {}
        with self._lock:
            for text in texts:
                vector = self._vectors.get((text, kind))
                if vector is not None:
                    known[text] = vector
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        if fresh:
            # Copies: a row that is a view would keep its whole batch.
            made = {
                t: v.copy() for t, v in zip(fresh, self._embedder.embed(fresh, kind), strict=True)
            }
            known |= made
            with self._lock:
                self._vectors.update({(text, kind): vector for text, vector in made.items()})
                while len(self._vectors) > self._most:
                    del self._vectors[next(iter(self._vectors))]
        rows = [known[text] for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.dimension)
