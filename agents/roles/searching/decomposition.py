"""Decomposition of a question by rules: comparisons, chains of relations, shared constraints.

The kinds of steps are those of Break's QDMR (arXiv 2001.11770) as far as they are searches: a
*select* with the *project* after it is one step ("the director of Heat"), *comparative* and
*boolean* need no search.
"""

from __future__ import annotations

import re

from hoptrail.agents.roles.common import EMPTY_WORDS
from hoptrail.agents.roles.searching.step_graph import linked, reference
from hoptrail.agents.types import SourceName, Step
from hoptrail.rag.entities.surface import proper_names, surface_words

MOST_HOPS = 4
"""Most steps of a chain."""

_BRACKET = r"(?:\s*\([^)]*\))?"
_RELATIONS = (
    r"directors?|performers?|composers?|authors?|writers?|founders?|producers?|creators?|singers?|"
    r"(?:grand)?(?:father|mother|parent)s?(?:-in-law)?|spouse|husband|wife|child|son|daughter|"
    r"brother|sister|siblings?|owner|publisher|editor|architect|designer|inventor|president|"
    r"leader|capital|birthplace|screenwriter|star|actor|cast|developer|manufacturer|city|country|"
    r"state|county|nationality|employer|label|band|team|club"
)
_KIND = r"(?:(?:the )?(?:film|movie|song|album|book|novel|play|band|magazine|city|town|series) )?"
_POLAR = re.compile(r"^(?:are|were|is|was|do|does|did|have|has|had|can|could)\b", re.IGNORECASE)
_COMPARES = re.compile(
    r"\b(?:first|earlier|later|older|younger|elder|larger|bigger|smaller|longer|shorter|taller|"
    r"higher|lower|more|less|most|least|same|different|both|closer|newer|before|after|between|"
    r"which|who|whose)\b",
    re.IGNORECASE,
)
_OF_ONE = re.compile(rf"\b({_RELATIONS})s?\s+of\b", re.IGNORECASE)
_HAS_ONE = re.compile(rf"\b(?:has|have|with|whose)\s+the\s+({_RELATIONS})\b", re.IGNORECASE)
_ANY_NOUN = (
    r"the\s+(?:[a-z]+\s+)?(?!(?:place|date|day|year|time|cause|name|number|part|kind|type|end|"
    r"members?|population|one|some|all|most|rest|side|town|village|university|battle|league)\b)[a-z]+"
)
_SIDES = re.compile(rf"\b({_RELATIONS})\s+of\s+(?:the\s+)?(?:films?|movies?|songs?|both)?", re.I)
_NO_NOUN = r"(?!(?:the|a|an|with|of|in|on|by|at|to|from|for|after|is|was|are|and)\b)"
_CLAUSE = re.compile(
    rf"\b(?:the|a|an|this)\s+(?:{_NO_NOUN}[\w'-]+\s+){{0,3}}?{_NO_NOUN}[\w'-]+,?\s+"
    r"(?:who|whose|that|which|where|in which|to which|in whom|with which)\s+",
    re.IGNORECASE,
)
_JOINED = re.compile(r",?\s+and\s+(?=(?:also|which|that|who|whose|is|was|has|had|did|home)\s)")


def decompose(question: str, source: SourceName = "hybrid") -> tuple[Step, ...]:
    """The steps to the answer, at least one; a question that no rule takes apart is one step.

    Args:
        question: as it is asked.
        source: where the steps look that search.
    """
    plain = " ".join(question.split())
    for rule in (_comparison, _shared, _chain):
        if steps := rule(plain, source):
            return linked(steps)
    return linked([(plain, source, "")])


_Draft = tuple[str, SourceName, str]


def _comparison(question: str, source: SourceName) -> list[_Draft]:
    """A step or two for each side of "Which film's director was born later, A or B?"."""
    sides = compared(question)
    if sides is None:
        return []
    head, relation = " ".join(_asked(question, sides)), _relation(question)
    steps: list[_Draft] = []
    last: list[str] = []
    for side in sides:
        if relation:
            steps.append((f"Who or what is the {relation} of {side}?", source, ""))
            query = f"{reference(f's{len(steps)}')} {head}".strip()
            if head:
                steps.append((f"What is said of {query}?", source, query))
        else:
            query = f"{side} {head}".strip()
            steps.append((f"What is said of {query}?", source, query))
        last.append(reference(f"s{len(steps)}"))
    return [*steps, (f"{question} {' or '.join(last)}", "none", "")]


def compared(question: str) -> tuple[str, str] | None:
    """The two things that a question compares, or None."""
    if not (_COMPARES.search(question) or _POLAR.match(question)):
        return None
    text = question.rstrip(" ?.")
    if found := re.search(r"[,:]\s*([^,:]{2,60}?),?\s+or\s+([^,]{2,60})$", text):
        return found.group(1), found.group(2)
    either = " or " in text
    if not (either or _POLAR.match(text) or re.search(r"\b(?:both|between)\b", text, re.I)):
        return None
    for match in re.finditer(r",?\s+or\s+" if either else r",?\s+and\s+", text):
        before, after = proper_names(text[: match.start()]), proper_names(text[match.end() :])
        left = _closing(text[: match.start()], before)
        right = _opening(text[match.end() :], after)
        if left and right:
            return left, right
    return None


def _closing(text: str, names: tuple[str, ...]) -> str:
    """The name that a text ends with, its brackets too; empty: it ends with none."""
    for name in names:
        if found := re.search(rf"({re.escape(name)}{_BRACKET})[\s,\"']*$", text):
            return found.group(1)
    return ""


def _opening(text: str, names: tuple[str, ...]) -> str:
    """The name that a text begins with, but for words such as "the director of film"."""
    if not names:
        return ""
    found = re.match(rf"((?:(?:[a-z]+|A|An|The)\s+){{0,4}})({re.escape(names[0])}{_BRACKET})", text)
    return found.group(2) if found else ""


def _relation(question: str) -> str:
    """The relation by which the things that count belong to those named; empty: none."""
    for pattern in (_HAS_ONE, _SIDES, _OF_ONE):
        if found := pattern.search(question):
            return found.group(1).lower()
    found = re.search(r"\b(?:have|has)\b.*\b(directors?|performers?|composers?)\b", question, re.I)
    return found.group(1).lower() if found else ""


_NO_TOPIC = EMPTY_WORDS.union(
    """film films movie song both same different first earlier later larger
    bigger smaller longer more less most least have has or between either located known""".split()  # noqa: SIM905
)


_AGES = frozenset({"older", "younger", "elder", "oldest", "youngest"})


def _asked(question: str, sides: tuple[str, str]) -> list[str]:
    """The words by which two things are compared."""
    rest = question
    for side in sides:
        rest = rest.replace(side, " ")
    relation = _relation(question)
    words = [word for word in surface_words(rest) if word not in _NO_TOPIC and word != relation]
    return ["born" if word in _AGES else word for word in words]


def _shared(question: str, source: SourceName) -> list[_Draft]:
    """A step for each of two constraints on one thing, each with a name of its own."""
    text = question.rstrip(" ?.")
    kind = re.match(r"(?:in\s+)?(?:what|which)\s+((?:[a-z-]+\s+){1,2}?)", question, re.IGNORECASE)
    for match in _JOINED.finditer(text) if kind else ():
        head, tail = text[: match.start()], text[match.end() :]
        if not proper_names(head) or not proper_names(tail):
            continue
        assert kind is not None
        topic = kind.group(1).strip()
        both = f"Which is the same: {reference('s1')} or {reference('s2')}?"
        return [
            (f"{head}?", source, ""),
            (f"Which {topic} {tail}?", source, ""),
            (both, "none", ""),
        ]
    return []


def _chain(question: str, source: SourceName) -> list[_Draft]:
    """Steps of "X of the Y of Z", "Z's Y" and relative clauses: the innermost first."""
    steps: list[_Draft] = []
    text = question.rstrip(" ?.")
    while len(steps) < MOST_HOPS - 1:
        phrase = _innermost(text)
        if phrase is None:
            break
        rest = text.replace(phrase, f" {reference(f's{len(steps) + 1}')} ", 1)
        if not _says_something(rest):
            break
        steps.append((f"Who or what is {phrase.strip()}?", source, phrase.strip()))
        text = " ".join(rest.split())
    return [*steps, (f"{text}?", source, "")] if steps else []


def _innermost(text: str) -> str | None:
    """The smallest phrase that describes something by a name or an earlier answer."""
    for anchor in (*re.findall(r"\{\{s\d+\.answer\}\}", text), *proper_names(text)):
        thing = rf"(?:[A-Z][\w']*\s+){{0,2}}{re.escape(anchor)}{_BRACKET}"
        a = rf"(?:the\s+)?(?:[a-z]+\s+)?(?:{_RELATIONS})|{_ANY_NOUN}"
        of = rf"(?i:\b(?:{a})\s+of\s+(?:the\s+)?{_KIND}){thing}"
        has = rf"{thing}\s*['’]s?\s+(?:{_RELATIONS})(?:\s+of\s+(?:birth|origin|death))?\b"
        for pattern in (has, of):
            if (found := re.search(pattern, text)) and not re.match(
                r"\s*['’]s?\b", text[found.end() :]
            ):
                return found.group()
    return _clause(text)


def _clause(text: str) -> str | None:
    """The last relative clause that has a name, with its noun."""
    for found in reversed(list(_CLAUSE.finditer(text))):
        clause = re.split(r",\s|\s+\{\{", text[found.end() :])[0]
        names = proper_names(clause)
        if not names or found.start() == 0:
            continue
        phrase = text[found.start() : found.end()] + clause
        if _says_something(text.replace(phrase, " ", 1)):
            return phrase
        # What follows the name belongs to the question: "the country that made X taken by Y".
        end = re.search(rf"{re.escape(names[0])}{_BRACKET}", clause)
        if end is not None and clause[0].islower():
            return text[found.start() : found.end()] + clause[: end.end()]
    return None


def _says_something(rest: str) -> bool:
    """Whether a question, but for references, has words of its own left."""
    words = surface_words(re.sub(r"\{\{s\d+\.answer\}\}", " ", rest))
    return any(word not in EMPTY_WORDS and word not in ("film", "song", "name") for word in words)
