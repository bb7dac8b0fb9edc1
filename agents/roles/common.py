"""Helpers of several roles: content words, names of a question, variables, needs in a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated

from pydantic import BaseModel, Field

from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.roles.base import RoleInput
from hoptrail.agents.types import Turn
from hoptrail.rag.entities.surface import proper_names, surface_words
from hoptrail.rag.text.sentences import Span, sentences

GAP_WEIGHT = 0.95
"""Score of the best hit of a query for what is missing, relative to the question's best hit."""


def too_alike(query: str, asked: Iterable[str], *, limit: float = 0.8) -> bool:
    """Whether a query repeats an earlier one: Jaccard overlap of words above `limit`, 0..1."""
    mine = set(surface_words(query))
    return not mine or any(
        len(mine & theirs) / len(mine | theirs) > limit
        for theirs in map(set, map(surface_words, asked))
    )


@lru_cache(maxsize=1024)
def sentences_of(passage: str) -> tuple[Span, ...]:
    """The sentences of a passage's text; cached, since several roles read the same passages."""
    return tuple(sentences(passage))


EMPTY_WORDS = frozenset(
    """a an and are as at be been between both by did do does for from had has have her his how in
    is it its many much of on one or other out she that the their them they this to was were what
    when where which who whom whose why with""".split()  # noqa: SIM905 - readable so
)


def content_words(text: str) -> set[str]:
    """The words of a text that carry content, cut to their first six letters."""
    return {word[:6] for word in surface_words(text) if word not in EMPTY_WORDS}


def folded_answer(text: str) -> str:
    """A short answer as it is compared with another: folded words, without articles."""
    return " ".join(word for word in surface_words(text) if word not in ("a", "an", "the"))


def subjects_of(situation: RoleInput) -> tuple[str, ...]:
    """The names that the plan lists, or those in the question where there is no plan."""
    planned = (need.subject for need in situation.plan.needs if need.subject)
    return (
        tuple(dict.fromkeys(planned)) if situation.plan.needs else proper_names(situation.question)
    )


_VARIABLE = re.compile(r"\?x\d+\b|\?ans\b", re.IGNORECASE)


def variables(text: str) -> tuple[str, ...]:
    """The variables of a plan's triples in a text, in order, each once."""
    return tuple(dict.fromkeys(one.lower() for one in _VARIABLE.findall(text)))


def filled(text: str, values: Mapping[str, str], *, keep: bool = False) -> str:
    """A text with values in the place of variables; one without stays if `keep`, or else goes."""
    words = _VARIABLE.sub(
        lambda match: values.get(match.group().lower(), match.group() if keep else ""), text
    )
    return " ".join(words.split())


def best_values(situation: RoleInput) -> dict[str, str]:
    """The best supported value of each variable that has one."""
    return {one.variable: one.value for one in reversed(situation.bindings)}


def notes_text(delimiters: Delimiters, notes: Iterable[Turn]) -> str:
    """What a loop has found out, a line each, between delimiters: a model wrote it."""
    lines = (f"{note.question} {note.answer}".strip() for note in notes)
    return delimiters.wrap("notes", "\n".join(lines) or "none")


def needs_text(delimiters: Delimiters, situation: RoleInput) -> str:
    """The needs of a plan, with the values found, between delimiters.

    A model wrote them, and a question may steer it.
    """
    values = best_values(situation)
    needs = (filled(need.text, values, keep=True) for need in situation.plan.needs)
    return delimiters.wrap("needs", "; ".join(needs))


Short = Annotated[str, Field(max_length=80)]


class Reply(BaseModel):
    """Base of the replies that a served model may give: an unknown key is dropped."""
