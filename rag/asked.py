"""What a question names, as the passage graph knows names: by key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hoptrail.rag.spans import CAPITAL, COMMON, DIGIT, SENTENCE, Span, Words, combine, names, words

_LONGEST = 10
_MOST_WORDS = 200
"""Words of a question that are looked at: a pasted page is no question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The names of a question."""

    phrases: Mapping[int, Span]
    """Every run of its words that may be a title: its key, and its first and last word."""
    mentions: frozenset[int]
    """Its maximal names."""

    def longest(self, known: Collection[int]) -> dict[int, int]:
        """Those phrases that are known and stand in no longer known one, with their words."""
        found = {key: self.phrases[key] for key in known if key in self.phrases}
        return {
            key: last - first + 1
            for key, (first, last) in found.items()
            if not any(
                other != key and start <= first and last <= end
                for other, (start, end) in found.items()
            )
        }


def asked(question: str) -> Asked:
    """The names of a question; one written without capitals still has its longer phrases."""
    found = words(question)
    return Asked(
        phrases=_phrases(found, min(len(found.keys), _MOST_WORDS)),
        mentions=frozenset(found.key(one) for one in names(found)),
    )


def surface(text: str, key: int) -> str | None:
    """How a name stands in a text, where it comes first; None if it does not."""
    found = words(text)
    spans = (*names(found), *_phrases(found, len(found.keys)).values())
    return next((found.surface(span) for span in spans if found.key(span) == key), None)


def _phrases(found: Words, count: int) -> dict[int, Span]:
    """All runs of up to ten words within a sentence; of single words only the capitalised."""
    phrases: dict[int, Span] = {}
    for first in range(count):
        for last in range(first, min(count, first + _LONGEST)):
            if last > first and found.breaks[last] == SENTENCE:
                break
            kind = found.kinds[first]
            if last == first and (not kind & (CAPITAL | DIGIT) or kind & COMMON):
                continue
            phrases.setdefault(combine(found.keys[first : last + 1]), (first, last))
    return phrases
