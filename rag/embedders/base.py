"""The `Embedder` protocol, and a placeholder for searches that embed nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from hoptrail.rag.types import Vectors

TextKind = Literal["query", "passage"]


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def id(self) -> str:
        """The model's name; a store refuses an embedder with another one."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    @property
    def window(self) -> int:
        """Tokens of the embedder's own tokenizer that it reads; what is beyond is cut."""

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        """Returns (len(texts), dimension) float32, rows L2-normalised, in order.

        Raises:
            EmbedderError: the model cannot be reached or answers nonsense.
        """


class DelegatingEmbedder:
    """Base of the embedders around another one: they have its id, dimension and window."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @property
    def id(self) -> str:
        """The other embedder's."""
        return self._embedder.id

    @property
    def dimension(self) -> int:
        """The other embedder's."""
        return self._embedder.dimension

    @property
    def window(self) -> int:
        """The other embedder's."""
        return self._embedder.window


class PlaceholderEmbedder:
    """Bears the name of the store's embedder and is never asked to embed."""

    window = 0

    def __init__(self, identifier: str, dimension: int) -> None:
        self.id = identifier
        self.dimension = dimension

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        """Must not be called."""
        raise AssertionError("a search by words embeds nothing")
