"""Polarity: whether a claim denies what its quotes state, or states what they deny."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from hoptrail.agents.roles.claim_rules.coverage import content_terms, said, words_of
from hoptrail.rag.entities.surface import casefolded

_NEGATIONS = frozenset(
    casefolded(
        """not never no nobody none nothing neither nor without cannot hardly
        nicht kein keine keinen keiner nie niemals niemand ne pas jamais aucun aucune rien personne
        nunca jamas nadie ningun ninguna nada non mai nessuno nessuna niente nao nunca ninguem
        не нет ни без никогда никто ничего δεν μη μην ποτε κανεις χωρις
        لم لن لا ليس ليست غير बिना नहीं नही न ना मत कभी"""
    ).split()
)
_UNSPACED_NEGATION = re.compile(
    r"没有|沒有|未曾|从未|從未|不是|不曾|并未|並未|ません|なかった|ない|ไม่|않|없"
)
_CLAUSE = re.compile(
    r"[,;:()\[\]\"“”—!?。、，；：]+|\.(?=\s|$)"
    r"|\s(?=(?:and|but|which|who|whom|whose|where|when|while|because|although|though|that)\s)"
)


@lru_cache(maxsize=4096)
def clauses(text: str) -> tuple[str, ...]:
    """The clauses of a text, cut at punctuation, conjunctions and relative words."""
    return tuple(part for part in map(str.strip, _CLAUSE.split(text)) if part)


def is_negated(clause: str) -> bool:
    """Whether a clause has a word of negation."""
    spelt = re.sub(r"n['’]t\b", " not", clause.lower())
    return bool(_UNSPACED_NEGATION.search(clause) or _NEGATIONS & set(words_of(spelt)))


def reversed_clause(claim: str, names: Sequence[str], quotes: Sequence[str]) -> str:
    """The clause of the quotes whose opposite the claim says; empty where none is found.

    The claim's words are looked for in the clause that has most of them; where as good a clause
    agrees with the claim, nothing is reversed.
    """
    named = frozenset(word for name in names for word in content_terms(name))
    every = [part for quote in quotes for part in clauses(quote)]
    stated = clauses(claim)
    for mine in stated:
        negated = is_negated(mine)
        words = content_terms(mine) - named
        if not words and len(stated) == 1:
            words = named
        found = [
            (sum(said(word, content_terms(part)) for word in words), is_negated(part), part)
            for part in every
        ]
        best = max((count for count, _, _ in found), default=0)
        if not best:
            continue
        closest = [(denies, part) for count, denies, part in found if count == best]
        if all(denies != negated for denies, _ in closest) and (negated or 2 * best >= len(words)):
            return closest[0][1]
    return ""
