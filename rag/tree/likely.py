"""A scorer of slates without a model: words in common, and the embedder's likeness."""

from __future__ import annotations

from collections.abc import Sequence

from hoptrail.rag.analyser import words
from hoptrail.rag.tree.types import Grade, Graded, Item, Slate

WORDS = 0.4
"""0..1: how much words count; the rest is the likeness."""


def likely(query: str, language: str = "english") -> Grade:
    """A scorer for one query; what it gives an item does not depend on the rest of the slate.

    Args:
        query: as asked.
        language: of the analyser, by which words are the same.

    Raises:
        SettingsError: a language without an analyser.
    """
    asked = frozenset(words(language, query))

    def score(item: Item) -> float:
        found = len(asked.intersection(words(language, item.text))) / max(len(asked), 1)
        return WORDS * found + (1 - WORDS) * min(max(item.likeness, 0.0), 1.0)

    def grade(slates: Sequence[Slate]) -> tuple[Graded, ...]:
        return tuple(
            Graded(scores={place: score(item) for place, item in enumerate(slate.shown)})
            for slate in slates
        )

    return grade
