"""Values of variables by rules: the name, or the date, that a quote has beside a relation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hoptrail.agents.roles.common import content_words, variables
from hoptrail.agents.roles.searching.bindings import FOLLOWED, values_of
from hoptrail.agents.roles.searching.question_triples import ANSWER
from hoptrail.agents.types import Binding, Evidence, TriplePattern
from hoptrail.rag.entities.surface import (
    casefolded,
    only_opens_sentences,
    proper_names,
    surface_words,
)
from hoptrail.rag.text.sentences import sentences

_KINDS = content_words("film movie song album book novel band series city town country date place")
"""What a relation says of the kind of a thing; a sentence need not repeat it."""
_SAID = {"birth": "born", "death": "died", "die": "died"}
"""How sentences say what questions ask for."""
_DATED = frozenset({"born", "died"})
"""Relations to a date, unless a place is asked for."""
_DATE = re.compile(
    r"\b(?:\d{1,2} )?(?:January|February|March|April|May|June|July|August|September|October|"
    r"November|December)(?: \d{1,2},?)?(?: \d{4})?\b|\b\d{4}\b"
)
_NUMBER = re.compile(r"\b\d+(?:[.,]\d+)*\b")


def found_by_rules(
    triples: Sequence[TriplePattern],
    bindings: Sequence[Binding],
    pool: Sequence[Evidence],
    *,
    question: str,
    asks: str,
) -> tuple[tuple[str, str], ...]:
    """Variables and values that the quotes state, the best quotes first, each pair once.

    Args:
        triples: each after those whose variables it needs.
        bindings: what is known; values found here are used for the triples that follow.
        pool: the quotes, best first.
        question: its own names are no values.
        asks: the kind of the answer; a `date` or a `number` is looked for as such.
    """
    values = values_of(bindings, pool)
    known = casefolded(question)
    found: dict[tuple[str, str], None] = {}
    for triple in triples:
        names = variables(triple.subject)
        subjects = values.get(names[0], [])[:FOLLOWED] if names else [triple.subject]
        kind = asks if triple.object == ANSWER else "thing"
        if asks != "place" and _stems(triple.relation) <= _DATED:
            kind = "date"
        for subject in subjects:
            for value in _values(triple.relation, subject, pool, kind):
                if casefolded(value) not in known:
                    found[triple.object, value] = None
                    values.setdefault(triple.object, []).append(value)
    return tuple(found)


def _values(relation: str, subject: str, pool: Sequence[Evidence], kind: str) -> Iterator[str]:
    """One value of each quote about a subject: the nearest to the words of the relation."""
    stems = _stems(relation)
    about = set(surface_words(subject))
    for item in pool:
        if not about <= set(surface_words(f"{item.title} {item.quote}")):
            continue
        for start, end in sentences(item.quote):
            sentence = item.quote[start:end]
            if stems <= content_words(sentence) and (
                value := _nearest(sentence, stems, about, kind)
            ):
                yield value
                break


def _stems(relation: str) -> set[str]:
    """The words of a relation that a sentence has to repeat."""
    stems = content_words(relation) - _KINDS or content_words(relation)
    return {_SAID.get(stem, stem) for stem in stems}


def _nearest(sentence: str, stems: set[str], about: set[str], kind: str) -> str:
    """The name that follows the words of a relation most closely; of dates, the nearest."""
    places = [
        match.end()
        for match in re.finditer(r"\w+", sentence)
        if content_words(match.group()) & stems
    ]
    last = max(places, default=0)
    near = sorted(
        (place < last, abs(place - last), text)
        for text, place in _candidates(sentence, kind)
        if not set(surface_words(text)) <= about and (place >= last or kind == "date")
    )
    return near[0][-1] if near else ""


def _candidates(sentence: str, kind: str) -> Iterator[tuple[str, int]]:
    """The names, dates or numbers of a sentence, each with its place."""
    if kind in ("date", "number"):
        form = _DATE if kind == "date" else _NUMBER
        yield from ((match.group(), match.start()) for match in form.finditer(sentence))
        return
    for name in proper_names(sentence):
        place = sentence.find(name)
        if place >= 0 and not only_opens_sentences(name, sentence):
            yield name, place
