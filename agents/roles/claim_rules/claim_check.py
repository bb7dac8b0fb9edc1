"""The check of one claim against its quotes by rules; no model judges a model.

A claim holds where its names each stand whole in a quote or its title (prose calls the subject of
its own article "he"), its numbers, units and dates stand there or follow from two years, its words
are mostly theirs, it does not reverse them, and gives names and years the parts that they have.
The rules see surface forms alone: a subtle false claim passes them. `evals.benchmarks.verification`
measures how many do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import regex

from hoptrail.agents.roles.claim_rules.coverage import (
    claimed_names,
    content_terms,
    foreign_words,
    said,
    term,
    words_of,
)
from hoptrail.agents.roles.claim_rules.negation import reversed_clause
from hoptrail.agents.roles.claim_rules.quantities import (
    MONTHS,
    Quantity,
    dates,
    quantities,
)
from hoptrail.agents.roles.claim_rules.relations import moved_year, swapped_name
from hoptrail.agents.types import Claim, Evidence
from hoptrail.rag.entities.surface import only_opens_sentences, surface_words
from hoptrail.rag.entities.words import COMMON_WORDS

_OLDEST = 120
"""Most years that are added to a year: an age."""
_PLACED = re.compile(r"\b(?:at|in|of|by|from|near|to)\s+(?:the\s+|a\s+)?([^\W\d_]+)")
_AGE = re.compile(r"\b(?:age|aged|old|lived)\b")
_LATIN = regex.compile(r"\p{Latin}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What a quote says: its words and quantities, those of its title with them."""

    words: frozenset[str]
    quantities: tuple[Quantity, ...]
    dates: frozenset[tuple[int, str]]
    text: str

    @classmethod
    def of(cls, quote: Evidence) -> _Source:
        text = f"{quote.title}\n{quote.quote}"
        return cls(
            words=frozenset(surface_words(text)),
            quantities=quantities(text),
            dates=dates(text),
            text=text,
        )


def check(claim: Claim, known: Mapping[str, Evidence]) -> Claim:
    """A claim with its verdict by code, and the reason where it is dropped."""
    cited = tuple(dict.fromkeys(e for e in claim.evidence if e in known))
    reason = ""
    if not cited:
        reason = "cites no known evidence"
    elif not claim.text.strip():
        reason = "says nothing"
    else:
        reason = objection(claim.text, [known[e] for e in cited])
    return replace(
        claim,
        evidence=cited,
        verdict="dropped" if reason else "holds",
        reason=reason,
        checked_by="code",
    )


def objection(text: str, quotes: Sequence[Evidence]) -> str:
    """Why the quotes do not state a text, in words; empty where no rule objects."""
    if _is_quoted(text, quotes):
        return ""
    if missing := unsupported(text, quotes):
        return "not in its quotes: " + ", ".join(missing)
    names = claimed_names(text)
    pairs = [(quote.title, quote.quote) for quote in quotes]
    if clause := reversed_clause(text, names, [quote for _, quote in pairs]):
        return f"its quotes say the opposite: {clause}"
    if name := swapped_name(text, pairs):
        return f"its quotes give {name} another part"
    if year := moved_year(text, pairs):
        return f"its quotes tie {year} to something else"
    return ""


def unsupported(text: str, quotes: Sequence[Evidence]) -> tuple[str, ...]:
    """The names, numbers, dates and, where they are many, words of a text that no quote has."""
    if _is_quoted(text, quotes):
        return ()
    sources = [_Source.of(quote) for quote in quotes]
    names = claimed_names(text)
    parts = [
        name
        for name in names
        if not any(has_name(name, s.words) for s in sources)
        and not _only_a_word(name, text, sources)
    ]
    parts += _numbers_lacking(text, sources)
    stated = surface_words(text)
    parts += [m for m in MONTHS if m in stated and not any(m in s.words for s in sources)]
    given = frozenset().union(*(source.dates for source in sources))
    parts += [
        f"{day} {month}"
        for day, month in sorted(dates(text) - given)
        if not parts and any(d != day for d, m in given if m == month)
    ]
    parts += _placed_words(text, sources)
    return tuple(dict.fromkeys(parts)) or foreign_words(text, names, [s.text for s in sources])


def _is_quoted(text: str, quotes: Sequence[Evidence]) -> bool:
    """Whether a text is a quote, word for word."""
    return any(text.strip() == quote.quote.strip() for quote in quotes)


def has_name(name: str, words: frozenset[str]) -> bool:
    """Whether every word of a name is among others; outside Latin script endings may differ."""
    wanted = surface_words(name)
    if set(wanted) <= words:
        return True
    return not _LATIN.search(name) and all(said(word, words) for word in wanted)


def _only_a_word(name: str, text: str, sources: Sequence[_Source]) -> bool:
    """Whether a capitalised word opens a sentence and is a form of a word of the sources."""
    words = words_of(name)
    return (
        len(words) == 1
        and only_opens_sentences(name, text)
        and any(term(words[0]) in content_terms(source.text) for source in sources)
    )


def _numbers_lacking(text: str, sources: Sequence[_Source]) -> list[str]:
    every = [quantity for source in sources for quantity in source.quantities]
    return [
        mine.text
        for mine in quantities(text)
        if not any(mine.is_said_by(other) for other in every)
        and not _follows(mine, every, bool(_AGE.search(text.lower())))
    ]


def _follows(mine: Quantity, given: Sequence[Quantity], is_age: bool) -> bool:
    """Whether a number of years is the span of two given years, or a year is one plus an age."""
    years = [quantity.value for quantity in given if quantity.is_year]
    if mine.is_year:
        spans = [q.value for q in given if 0 < q.value <= _OLDEST and not q.is_year]
        return any(mine.value - year in spans for year in years)
    if not (is_age or (mine.dimension == "months" and mine.factor == 12)):
        return False
    off = (0, 1) if is_age else (0,)
    return any(
        later - earlier - less == mine.value > 0
        for earlier, later in product(years, years)
        for less in off
    )


def _placed_words(text: str, sources: Sequence[_Source]) -> list[str]:
    """In a text without capitals, words behind a preposition that no quote has: its names."""
    if text != text.lower() or not _LATIN.search(text):
        return []
    have = frozenset().union(*(frozenset(words_of(source.text)) for source in sources))
    found = (folded for word in _PLACED.findall(text) for folded in words_of(word))
    return [w for w in found if w not in COMMON_WORDS and not said(w, have)]
