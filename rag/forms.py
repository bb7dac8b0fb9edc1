"""The two levels of a question: what it names, and what it wants to know of that.

HuixiangDou2's dual level (arXiv 2503.06474; repository at commit 8fd41f3) has a model write
low-level keywords, which are looked for among entities, and high-level ones, looked for among
relations. Here both come from the question itself without a model: its names, and its words
without them.
"""

from __future__ import annotations

from dataclasses import dataclass

from hoptrail.rag.entities.words import names, words


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """A question on both levels."""

    entities: tuple[str, ...]
    """The names in it, as they stand there, each once."""

    relations: str
    """What is left of it without them; may be empty."""


def forms(question: str) -> Forms:
    """The levels of a question; one without capitals is all relation."""
    found = words(question)
    spans = list(names(found))
    named = {at for first, last in spans for at in range(first, last + 1)}
    kept = [
        part
        for at, part in enumerate(found.parts)
        # Words are at odd places; the gap before a name's further words goes with them.
        if (at - 1) // 2 not in named or (at % 2 == 0 and (at - 1) // 2 + 1 not in named)
    ]
    return Forms(
        entities=tuple(dict.fromkeys(found.surface(span) for span in spans)),
        relations=" ".join("".join(kept).split()),
    )
