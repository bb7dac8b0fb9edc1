"""The cosines of stored sentences to a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.store.catalogue.sentence_table import SentenceVectors
from hoptrail.rag.types import ScoredSentence


class SentenceSource(Protocol):
    """Where stored sentence vectors come from."""

    def of(self, ids: Sequence[str]) -> Mapping[str, SentenceVectors]:
        """By passage id, for the passages that have them."""


def scored(found: SentenceVectors, query: NDArray[np.float32]) -> tuple[ScoredSentence, ...]:
    """The sentences of a passage with their cosines to a (dimension,) L2-normalised query.

    Each is summed in float64 by itself, so that it does not depend on the sentences beside it.
    """
    cosines = np.vecdot(found.vectors.astype(np.float64), query.astype(np.float64))
    return tuple(
        ScoredSentence(start=start, end=end, cosine=round(cosine, 6))
        for (start, end), cosine in zip(found.spans.tolist(), cosines.tolist(), strict=True)
    )
