"""The graph of a plan's steps: references to earlier answers, its checks, its order."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from hoptrail.agents.types import SourceName, Step

MOST_STEPS = 8
"""Most steps of a plan."""
LONGEST_ANSWER = 120
"""Most characters of an answer in the place of a reference."""
_REFERENCE = re.compile(r"\{{1,2}\s*(s\d+)(?:\.\w+)?\s*\}{1,2}", re.IGNORECASE)
"""As prompts ask for it, `{{s1.answer}}`, and as models write it."""


def reference(step: str) -> str:
    """The words that stand for the answer of a step."""
    return f"{{{{{step}.answer}}}}"


def references(*texts: str) -> tuple[str, ...]:
    """Ids of the steps that texts refer to, in order, each once."""
    found = (match.group(1).lower() for text in texts for match in _REFERENCE.finditer(text))
    return tuple(dict.fromkeys(found))


def filled(text: str, answers: Mapping[str, str]) -> str:
    """A text with answers in the place of references; a step without one leaves nothing."""
    words = _REFERENCE.sub(lambda match: answers.get(match.group(1).lower(), ""), text)
    return " ".join(words.split())


def linked(steps: Sequence[tuple[str, SourceName, str]]) -> tuple[Step, ...]:
    """Steps `s1`, `s2`, … of questions, sources and queries; each depends on what it refers to."""
    return tuple(
        Step(
            id=f"s{number}",
            question=question,
            depends_on=references(question, query),
            source=source,
            query=query,
        )
        for number, (question, source, query) in enumerate(steps, start=1)
    )


def problem_of(steps: Sequence[Step], sources: Collection[SourceName]) -> str:
    """What is wrong with a plan's steps, in words for whoever made them; empty: nothing."""
    ids = [step.id for step in steps]
    if not steps:
        return "the plan has no step"
    if len(steps) > MOST_STEPS:
        return f"the plan has {len(steps)} steps, at most {MOST_STEPS} are allowed"
    if len(set(ids)) < len(ids):
        return "two steps have the same id"
    own = (f"step {step.id}: {found}" for step in steps if (found := _problem(step, ids, sources)))
    if problem := next(own, ""):
        return problem
    return "" if _sorted(steps) is not None else "the steps refer to each other in a circle"


def _problem(step: Step, ids: Collection[str], sources: Collection[SourceName]) -> str:
    referred = set(references(step.question, step.query))
    needed = referred.union(step.depends_on)
    unknown = next(iter(sorted(needed - set(ids))), "")[:8]
    problems = (
        (not step.question.strip(), "its question is empty"),
        (step.source not in sources, f"its source is none of {', '.join(sources)}"),
        (step.id in needed, "it refers to itself"),
        (bool(unknown), f"it refers to {unknown}, which is no step of the plan"),
        (not referred <= set(step.depends_on), "it does not depend on all that it refers to"),
        (step.source == "none" and not needed, "it neither searches nor refers to a step"),
    )
    return next((problem for found, problem in problems if found), "")


def in_order(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Steps without a circle, each after those it depends on; else in their order."""
    found = _sorted(steps)
    assert found is not None, "problem_of() comes first"
    return found


def _sorted(steps: Sequence[Step]) -> tuple[Step, ...] | None:
    placed: dict[str, Step] = {}
    while len(placed) < len(steps):
        free = [s for s in steps if s.id not in placed and placed.keys() >= set(s.depends_on)]
        if not free:
            return None
        placed[free[0].id] = free[0]
    return tuple(placed.values())


def numbered_from(steps: Sequence[Step], first: int) -> tuple[Step, ...]:
    """The steps `s1`, `s2`, … with ids that begin at another number, references changed alike."""
    new = {step.id: f"s{number}" for number, step in enumerate(steps, start=first)}

    def renamed(text: str) -> str:
        return _REFERENCE.sub(lambda match: reference(new[match.group(1).lower()]), text)

    return tuple(
        replace(
            step,
            id=new[step.id],
            question=renamed(step.question),
            query=renamed(step.query),
            depends_on=tuple(new[one] for one in step.depends_on),
        )
        for step in steps
    )
