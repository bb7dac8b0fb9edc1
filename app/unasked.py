"""An embedder in name only, for searches that use no vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hoptrail.rag.protocols import TextKind
    from hoptrail.rag.types import Vectors


class Unasked:
    """Bears the name of the store's embedder and is never asked to embed."""

    window = 0

    def __init__(self, identifier: str, dimension: int) -> None:
        self.id = identifier
        self.dimension = dimension

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        """Must not be called."""
        raise AssertionError("a search by words embeds nothing")
