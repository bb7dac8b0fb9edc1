"""An embedder that works in small batches and can be stopped between two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hoptrail.rag.embedders.base import DelegatingEmbedder, Embedder, TextKind
from hoptrail.rag.types import Vectors

TEXTS = 16
"""Texts of a batch, where the embedder does not say by `texts_at_once` that it wants more."""


class Interrupted(Exception):
    """The caller of `embed` no longer waits for its result."""


class InterruptibleEmbedder(DelegatingEmbedder):
    """Another embedder, asked for a few texts at a time; safe to share by threads if that one is.

    Args:
        embedder: the other one.
        stopped: asked before each batch, in the thread of the call; True ends the call.
    """

    def __init__(self, embedder: Embedder, stopped: Callable[[], bool]) -> None:
        super().__init__(embedder)
        self._stopped = stopped
        self._size = int(getattr(embedder, "texts_at_once", TEXTS))

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        """Returns (len(texts), dimension) float32, rows L2-normalised, in order.

        Raises:
            Interrupted: `stopped` said so between two batches.
            EmbedderError: the other embedder's.
        """
        if len(texts) <= self._size:
            self._check()
            return self._embedder.embed(texts, kind)
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        # Texts of a like length stand together: padding is what costs.
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        for start in range(0, len(order), self._size):
            self._check()
            rows = order[start : start + self._size]
            vectors[rows] = self._embedder.embed([texts[at] for at in rows], kind)
        return vectors

    def _check(self) -> None:
        if self._stopped():
            raise Interrupted
