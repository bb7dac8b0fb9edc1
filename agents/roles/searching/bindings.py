"""Bindings: values of a question's variables, their contradictions, and what is still open.

After RFM-RAG (arXiv 2508.17862); the rules are ours. Nothing found is dropped: a variable may have
several values, each with its support, and a search follows the best two of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from hoptrail.agents.roles.common import filled, folded_answer, variables
from hoptrail.agents.types import Binding, Contradiction, Evidence, TriplePattern

FOLLOWED = 2
"""Most values of one variable that searches follow."""


def merge_bindings(old: Iterable[Binding], new: Iterable[Binding]) -> tuple[Binding, ...]:
    """Reducer: all bindings, those of one value as one with the support of both.

    Sorted by variable and value; whatever the order of merging, the result is the same.
    """
    merged: dict[tuple[str, str], Binding] = {}
    for one in (*old, *new):
        key = _key(one)
        known = merged.get(key, one)
        merged[key] = Binding(
            variable=one.variable,
            value=min(known.value, one.value),  # capitals come first
            evidence=tuple(sorted({*known.evidence, *one.evidence})),
            round=min(known.round, one.round),
        )
    return tuple(merged[key] for key in sorted(merged))


def supported_by(bindings: Iterable[Binding], ids: Iterable[str]) -> tuple[Binding, ...]:
    """Bindings with the support that is among some evidence; one without any goes."""
    known = set(ids)
    kept = (replace(b, evidence=tuple(e for e in b.evidence if e in known)) for b in bindings)
    return tuple(one for one in kept if one.evidence)


def best_first(bindings: Iterable[Binding], pool: Sequence[Evidence]) -> tuple[Binding, ...]:
    """Bindings by variable, then by the score of their best quote, and by how many they have."""
    scores = {item.id: item.score for item in pool}
    return tuple(
        sorted(
            bindings,
            key=lambda b: (
                b.variable,
                -max((scores.get(one, 0.0) for one in b.evidence), default=0.0),
                -len(b.evidence),
                _key(b),
            ),
        )
    )


def values_of(bindings: Iterable[Binding], pool: Sequence[Evidence]) -> dict[str, list[str]]:
    """The values of each variable, the best supported first."""
    ordered = groupby(best_first(bindings, pool), key=lambda one: one.variable)
    return {name: [one.value for one in some] for name, some in ordered}


def contradictions(
    bindings: Iterable[Binding], pool: Sequence[Evidence]
) -> tuple[Contradiction, ...]:
    """The variables that have values of which none is part of another, such as two names."""
    found = []
    for name, some in groupby(best_first(bindings, pool), key=lambda one: one.variable):
        apart: list[Binding] = []
        for one in some:
            if not any(_same(one.value, other.value) for other in apart):
                apart.append(one)
        if len(apart) > 1:
            found.append(Contradiction(variable=name, bindings=tuple(apart)))
    return tuple(found)


def open_triples(
    triples: Iterable[TriplePattern], bindings: Iterable[Binding]
) -> tuple[TriplePattern, ...]:
    """The triples whose object has no value yet."""
    bound = {one.variable for one in bindings}
    return tuple(triple for triple in triples if triple.object not in bound)


def gap_queries(
    triples: Iterable[TriplePattern], bindings: Sequence[Binding], pool: Sequence[Evidence]
) -> tuple[str, ...]:
    """Queries for the open triples whose subject has a value: that value, and the relation.

    Of a variable with several values the best `FOLLOWED` are followed.
    """
    values = values_of(bindings, pool)
    return tuple(
        f"{value} {triple.relation}"
        for triple in open_triples(triples, bindings)
        for name in variables(triple.subject)
        for value in values.get(name, ())[:FOLLOWED]
    )


def facts(
    triples: Iterable[TriplePattern], values: Mapping[str, str], *, keep: bool = False
) -> tuple[str, ...]:
    """What triples ask, in words, with values in the place of variables, as `filled` does."""
    return tuple(filled(f"{one.subject} {one.relation}", values, keep=keep) for one in triples)


def _key(binding: Binding) -> tuple[str, str]:
    return binding.variable, folded_answer(binding.value) or binding.value


def _same(one: str, other: str) -> bool:
    """Whether the words of one value are all in the other: "Corrin" and "Ilsa Corrin"."""
    mine, theirs = set(folded_answer(one).split()), set(folded_answer(other).split())
    return mine <= theirs or theirs <= mine
