"""The check of a short answer: it is said by the claims that hold, or computed from them.

Yes and no need a claim that does not say otherwise; a number that no claim states needs a
computation, which is written out; any other text is made of the words of claims and quotes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from hoptrail.agents.roles.claim_rules.claim_check import has_name
from hoptrail.agents.roles.claim_rules.coverage import (
    claimed_names,
    content_terms,
    foreign_words,
    said,
    term,
    words_of,
)
from hoptrail.agents.roles.claim_rules.negation import is_negated, reversed_clause
from hoptrail.agents.roles.claim_rules.quantities import MONTHS, Quantity, quantities
from hoptrail.agents.roles.claim_rules.relations import moved_year, swapped_name
from hoptrail.agents.types import Claim, Computation, Evidence
from hoptrail.rag.entities.surface import surface_words

_LONGEST = 18
"""Most digits of a number used in sums; a longer one is a code."""
_MOST_FOREIGN = 0.25
"""Share of an answer's content words that claims and quotes may lack."""
_YES = frozenset("yes oui ja si sí da да نعم हाँ 是 はい".split())  # noqa: SIM905
_NO = frozenset("no non nein nee нет لا नहीं 否 不是 いいえ".split())  # noqa: SIM905


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """Whether a short answer follows from the claims, and the computation that it needs."""

    follows: bool
    computation: Computation | None = None


def support(text: str, held: Sequence[Claim], quotes: Sequence[Evidence], question: str) -> Support:
    """Whether a short answer follows from the claims that hold and their quotes.

    Args:
        text: the answer.
        held: the claims that hold.
        quotes: the evidence that they cite.
        question: what was asked; empty where it is not known.
    """
    if not text.strip() or not held:
        return Support(follows=False)
    words = _folded_words(text)
    if is_yes_or_no(text):
        agrees = _agrees(words[0] in _YES, _with_titles(held, quotes), question)
        rest = text.strip()[len(words[0]) :].lstrip(" ,.:;")
        if not agrees or not rest:
            return Support(follows=agrees)
        text = rest
    computation = None
    given = [q for claim in held for q in quantities(claim.text)]
    given += [q for quote in quotes for q in quantities(f"{quote.title}\n{quote.quote}")]
    for number in quantities(text):
        if any(number.is_said_by(other) for other in given):
            continue
        computation = computed(number, given, held)
        if computation is None:
            return Support(follows=False)
    sources = [claim.text for claim in held]
    sources += [f"{quote.title}\n{quote.quote}" for quote in quotes]
    if _lacks_words(text, sources) or _turns_round(text, held, quotes):
        return Support(follows=False)
    return Support(follows=True, computation=computation)


def is_yes_or_no(text: str) -> bool:
    """Whether a short answer begins with yes or no, in one of the languages known here."""
    return bool(_folded_words(text)[:1]) and _folded_words(text)[0] in _YES | _NO


def _folded_words(text: str) -> list[str]:
    return text.lower().replace(",", " ").replace(".", " ").split()


def computed(
    number: Quantity, given: Sequence[Quantity], held: Sequence[Claim]
) -> Computation | None:
    """The computation that a number is the result of: a difference, a sum, or a count of claims."""
    evidence = tuple(dict.fromkeys(one for claim in held for one in claim.evidence))
    result = number.value
    whole = list(
        dict.fromkeys(
            (other.value, other.text)
            for other in given
            if other.value == int(other.value) and len(other.text) <= _LONGEST
        )
    )
    for (one, one_text), (other, other_text) in combinations(whole, 2):
        operands = (one_text, other_text) if one >= other else (other_text, one_text)
        if abs(one - other) == result:
            return Computation(
                operator="difference", operands=operands, result=number.text, evidence=evidence
            )
        if one + other == result:
            return Computation(
                operator="sum", operands=operands, result=number.text, evidence=evidence
            )
    if result in (len(held), len(evidence)):
        items = evidence if result == len(evidence) else tuple(claim.text for claim in held)
        return Computation(operator="count", operands=items, result=number.text, evidence=evidence)
    return None


def _with_titles(held: Sequence[Claim], quotes: Sequence[Evidence]) -> list[str]:
    """Each claim after the titles of its documents, for "she" is whom the title names."""
    titles = {quote.id: quote.title for quote in quotes}
    return [
        "\n".join([*(titles.get(one, "") for one in claim.evidence), claim.text]) for claim in held
    ]


def _agrees(affirms: bool, held: Sequence[str], question: str) -> bool:
    """Whether a claim supports yes or no: none says the other, as far as words show.

    A claim that has all words of the question restates it, so "no" needs it negated. Where none
    does, as when two things are compared, "no" may follow from claims that affirm; without the
    question it may not.
    """
    asked = content_terms(question)
    denied = is_negated(question)
    votes = [
        is_negated(claim) == denied
        for claim in held
        if all(said(word, content_terms(claim)) for word in asked)
    ]
    if asked and votes:
        return affirms in votes
    if asked:
        return True if not affirms else any(not is_negated(claim) for claim in held)
    return any(is_negated(claim) != affirms for claim in held)


def _lacks_words(text: str, sources: Sequence[str]) -> bool:
    """Whether names, months or too many content words of a text are in none of the sources."""
    every = "\n".join(sources)
    have = frozenset(surface_words(every))
    names = claimed_names(text)
    stated = surface_words(text)
    if any(not has_name(name, have) for name in names):
        return True
    if any(month in stated and month not in have for month in MONTHS):
        return True
    named = {term(word) for name in names for word in words_of(name)}
    mine = content_terms(text) - named
    if not any(word[0].isascii() for word in words_of(text)):
        return bool(foreign_words(text, names, sources))
    lacking = [word for word in mine if not said(word, content_terms(every))]
    return len(lacking) > _MOST_FOREIGN * len(mine)


def _turns_round(text: str, held: Sequence[Claim], quotes: Sequence[Evidence]) -> bool:
    """Whether a text reverses its sources or moves their names and years."""
    pairs = [("", claim.text) for claim in held]
    pairs += [(quote.title, quote.quote) for quote in quotes]
    names = claimed_names(text)
    return bool(
        reversed_clause(text, names, [quote for _, quote in pairs])
        or swapped_name(text, pairs)
        or moved_year(text, pairs)
    )
