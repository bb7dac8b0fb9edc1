"""The embedder that can be stopped between two batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from hoptrail.rag.embedders.base import Embedder, TextKind
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.embedders.interruptible import TEXTS, Interrupted, InterruptibleEmbedder
from hoptrail.rag.types import Vectors


@pytest.mark.parametrize("count", [0, 1, TEXTS, TEXTS + 1, 5 * TEXTS + 3])
def test_the_vectors_are_those_of_the_other_embedder_in_order(count: int) -> None:
    other = HashEmbedder()
    embedder = InterruptibleEmbedder(other, lambda: False)
    texts = [f"text {n} {'long ' * (n * 7 % 5)}" for n in range(count)]
    assert isinstance(embedder, Embedder)
    assert (embedder.id, embedder.dimension, embedder.window) == (
        other.id, other.dimension, other.window,
    )  # fmt: skip
    assert np.array_equal(embedder.embed(texts), other.embed(texts))


def test_it_ends_before_the_batch_at_which_it_is_stopped() -> None:
    asked: list[int] = []

    class Counting(HashEmbedder):
        texts_at_once = 4

        def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
            asked.append(len(texts))
            return super().embed(texts, kind)

    embedder = InterruptibleEmbedder(Counting(), lambda: len(asked) == 2)
    with pytest.raises(Interrupted):
        embedder.embed(["text"] * 40)
    assert asked == [4, 4]
    with pytest.raises(Interrupted):
        embedder.embed(["text"])
