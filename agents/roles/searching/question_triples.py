"""The question as triples with variables: made of a plan's steps by rules, or of a model's needs.

After RFM-RAG (arXiv 2508.17862), whose queries are built from relational triples of the question.
Only its abstract is public; the rules here are ours. A triple is asked from its known side, so the
unknown is always its object, and a triple stands after those whose variables it needs: no circle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from hoptrail.agents.roles.common import EMPTY_WORDS, variables
from hoptrail.agents.roles.searching.decomposition import compared, decompose
from hoptrail.agents.roles.searching.step_graph import references
from hoptrail.agents.types import Step, TriplePattern
from hoptrail.rag.entities.surface import casefolded, proper_names, surface_words

ANSWER = "?ans"
"""The variable of the answer."""
_BRACKET = r"\s*\([^)]*\)"
"""What tells titles apart: "Heat (1995 film)"."""
_POLAR = frozenset({"is", "are", "was", "were", "do", "does", "did", "has", "have", "had", "can"})
"""First words of a question whose answer, yes or no, stands in no document."""


def variable(number: int) -> str:
    """The variable of the triple with a number, from 1."""
    return f"?x{number}"


def triples_of(question: str) -> tuple[TriplePattern, ...]:
    """The triples of a question by the rules of `decomposition`; () where it names nothing.

    Nor has one that itself looks as if it had variables, or references to steps. The steps of a
    comparison end in variables of their own, for it asks which of them holds; two constraints on
    one thing share the variable of the answer.
    """
    if variables(question) or references(question):
        return ()
    steps = [step for step in decompose(question) if step.source != "none"]
    compares = compared(question) is not None
    needed = {one for step in steps for one in step.depends_on}
    ends = [step.id for step in steps if step.id not in needed]
    objects = {
        step.id: ANSWER if step.id in ends and not compares else variable(number)
        for number, step in enumerate(steps, start=1)
    }
    made = [_of_step(step, objects) for step in steps]
    return tuple(made) if all(made) else ()  # type: ignore[arg-type]


def _of_step(step: Step, objects: Mapping[str, str]) -> TriplePattern | None:
    """The triple of a step: what it says of an earlier answer, or else of the first name in it."""
    text = step.text
    for one in references(text):
        text = re.sub(rf"\{{\{{{one}\.answer\}}\}}", f" {objects[one]} ", text)
    known = variables(text) or proper_names(text)
    return _pattern(text, _titled(known[0], text), objects[step.id]) if known else None


def _titled(name: str, text: str) -> str:
    """A name with the brackets that follow it."""
    found = re.search(re.escape(name) + _BRACKET, text)
    return found.group() if found else name


def triples_of_needs(needs: Sequence[tuple[str, str]], asks: str) -> tuple[TriplePattern, ...]:
    """The triples of a model's needs: of the n-th, `?xn` is what it finds, of the last, `?ans`.

    () unless every need says what it is about, a name of the question or what an earlier need
    finds, and can be answered by words that a document has. The last one need not, where the
    question asks for a choice: it compares what the others find.

    Args:
        needs: text and subject of each, in the order in which they can be found out.
        asks: the kind of answer that the question asks for.
    """
    compares = asks == "choice" and len(needs) > 1 and not needs[-1][1]
    asked = needs[:-1] if compares else needs
    last = variable(len(asked)) if compares else ANSWER
    made: list[TriplePattern] = []
    for number, (text, subject) in enumerate(asked, start=1):
        known = {variable(one) for one in range(1, number)}
        used = set(variables(f"{text} {subject}"))
        first = next(iter(surface_words(text)), "")
        found = last if number == len(asked) else variable(number)
        triple = _pattern(text, subject, found) if subject else None
        if triple is None or not used <= known or first in _POLAR:
            return ()
        made.append(triple)
    return tuple(made)


def _pattern(text: str, subject: str, found: str) -> TriplePattern | None:
    """The triple of words about a subject; None where they say nothing of it."""
    known = {*surface_words(subject), *surface_words(found)}
    words = (
        word
        for word in surface_words(text)
        if word not in EMPTY_WORDS and word not in known and (len(word) > 1 or word.isdigit())
    )
    relation = " ".join(dict.fromkeys(words))
    return TriplePattern(subject=subject, relation=relation, object=found) if relation else None


def subject_of(text: str, question: str) -> str:
    """What a model says that a need is about: a name of the question, a variable, or nothing."""
    found = variables(text)
    if found:
        return found[0]
    plain = text.strip()
    return plain if casefolded(plain) in casefolded(question) else ""


def named(triples: Iterable[TriplePattern]) -> tuple[str, ...]:
    """The variables that triples find, in order, each once."""
    return tuple(dict.fromkeys(triple.object for triple in triples))
