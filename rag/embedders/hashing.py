"""A deterministic embedder without a model: for tests, examples and dry runs.

A word's vector is drawn from its hash (random signs), a text's vector is the sum over its words:
a random projection of the bag of words (Achlioptas 2003), so texts that share words are near
each other and the rest are almost orthogonal. It knows nothing of meaning.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.embedders.base import TextKind
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.types import Vectors

_WORD = re.compile(r"\w+")
_SHORT = 3
_SHORT_WEIGHT = 0.4
"""Words of up to three letters are mostly function words: they would drown the rest."""


class HashEmbedder:
    """Signed random projection of the words of a text; equal on every machine and Python."""

    def __init__(self, dimension: int = 64) -> None:
        """`dimension`: length of a vector, at least 1."""
        if dimension < 1:
            raise SettingsError(f"The hash embedder needs dimension >= 1, not {dimension!r}.")
        self._dimension = dimension

    @property
    def id(self) -> str:
        """`hash-<dimension>`."""
        return f"hash-{self._dimension}"

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def window(self) -> int:
        """Practically unlimited: every word counts."""
        return 1_000_000

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        """Returns (len(texts), dimension) float32, rows L2-normalised; `kind` changes nothing.

        A text without a word gets the first unit vector.
        """
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word, count in Counter(_WORD.findall(text.casefold())).items():
                weight = _SHORT_WEIGHT if len(word) <= _SHORT else 1.0
                vectors[row] += weight * (1 + np.log(count)) * _signs(word, self._dimension)
        norms = np.linalg.norm(vectors, axis=1)
        empty = norms < 1e-6
        vectors[empty] = np.eye(1, self._dimension, dtype=np.float32)
        norms[empty] = 1
        vectors /= norms[:, None]
        return vectors


@lru_cache(maxsize=65536)
def _signs(word: str, dimension: int) -> NDArray[np.float32]:
    digest = hashlib.shake_256(word.encode("utf-8", "surrogatepass")).digest((dimension + 7) // 8)
    bits = np.unpackbits(np.frombuffer(digest, dtype=np.uint8), count=dimension)
    return bits.astype(np.float32) * 2 - 1
