"""Claim verification against the cited quotes, by rules: no model judges a model.

A claim holds when every name, number and date it states stands in a quote it cites (or in the
title of the quoted document, since prose calls the subject of its own article "he"). The check
cannot see a wrong relation between right names; a name or number without a source it always sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from hoptrail.agents.types import Answer, Claim, Evidence
from hoptrail.rag.entities.surface import numbers, proper_names, surface_words

_YEAR = "january february march april may june july august september october november december"
_LONGEST = 18
"""Most digits of a number used in sums; a longer one is a code."""
MONTHS = tuple(_YEAR.split())


def verify(answer: Answer, pool: Sequence[Evidence]) -> Answer:
    """The answer with a verdict on each claim; its text says no more than the claims that hold.

    Evidence ids that are not in the pool are removed from the claims. A text that states a name or
    number that the quotes lack is replaced by the claims that hold.
    """
    known = {item.id: item for item in pool}
    claims = tuple(check(claim, known) for claim in answer.claims)
    held = [claim for claim in claims if claim.verdict == "holds"]
    said = "\n".join(claim.text for claim in held)
    if answer.extractive or answer.replaced:
        return replace(answer, claims=claims, text=said)
    quotes = [known[e] for claim in held for e in claim.evidence]
    if quotes and answer.text.strip() and not unsupported_answer(answer.text, quotes):
        return replace(answer, claims=claims)
    return replace(answer, claims=claims, text=said, replaced=True)


def check(claim: Claim, known: Mapping[str, Evidence]) -> Claim:
    """A claim with its verdict, and the reason where it is dropped."""
    cited = tuple(dict.fromkeys(e for e in claim.evidence if e in known))
    if not cited:
        return replace(claim, evidence=(), verdict="dropped", reason="cites no known evidence")
    if not claim.text.strip():
        return replace(claim, evidence=cited, verdict="dropped", reason="says nothing")
    missing = unsupported(claim.text, [known[e] for e in cited])
    if missing:
        reason = "not in its quotes: " + ", ".join(missing)
        return replace(claim, evidence=cited, verdict="dropped", reason=reason)
    return replace(claim, evidence=cited, verdict="holds", reason="")


def unsupported(text: str, quotes: Sequence[Evidence]) -> tuple[str, ...]:
    """The names, numbers and months of a text that are in none of the quotes or their titles."""
    sources = [
        (set(surface_words(f"{q.title} {q.quote}")), set(numbers(f"{q.title} {q.quote}")))
        for q in quotes
    ]
    parts = [
        n
        for n in proper_names(text)
        if not any(set(surface_words(n)) <= have for have, _ in sources)
    ]
    parts += [n for n in numbers(text) if not any(n in have for _, have in sources)]
    stated = surface_words(text)
    parts += [m for m in MONTHS if m in stated and not any(m in have for have, _ in sources)]
    return tuple(dict.fromkeys(parts))


def unsupported_answer(text: str, quotes: Sequence[Evidence]) -> tuple[str, ...]:
    """The names and numbers of a short answer that the quotes of all its claims lack.

    Unlike a claim it may join quotes, and may state a number that follows from theirs: a count of
    them, or the sum or difference of two.
    """
    every = " ".join(f"{q.title} {q.quote}" for q in quotes)
    have, given = set(surface_words(every)), set(numbers(every))
    lacking = [n for n in proper_names(text) if not set(surface_words(n)) <= have]
    derived = derivable(given, len(quotes))
    lacking += [n for n in numbers(text) if n not in given and n not in derived]
    return tuple(lacking)


def derivable(given: set[str], count: int) -> set[str]:
    """Counts up to `count`, and sums and differences of two of the given whole numbers."""
    whole = [int(n) for n in given if n.isdecimal() and len(n) <= _LONGEST]
    pairs = combinations(whole, 2)
    made = {value for a, b in pairs for value in (a + b, abs(a - b))}
    return {str(value) for value in made | set(range(count + 1))}
