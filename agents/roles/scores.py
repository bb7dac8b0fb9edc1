"""The form of a scored slate: an object with one score a number, read as far as it can be.

Every number that is asked for is a property of its own, so a server that enforces the schema can
neither leave one out nor name it twice. Of others each score is judged by itself: what is no
number, lies outside 0..100 or was said twice with different values counts as not said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from hoptrail.agents.llm.reply_schema import Form, ParseProblem, find_object

TOP = 100
"""The best score."""
_REASONING = 240
_REPLY_BASE = 320
_REPLY_EACH = 12
"""Tokens of a reply: for its reasoning, and for each score; small vocabularies need so many."""

Scores = Mapping[int, float]
"""0..1 by number."""


def reply_tokens(count: int) -> int:
    """The most tokens that a reply with so many scores may have."""
    return _REPLY_BASE + _REPLY_EACH * count


@lru_cache(maxsize=512)
def scores_form(numbers: tuple[int, ...], *, least: int = 1) -> Form[Scores]:
    """The form that scores these numbers; the same for equal numbers, since servers compile it.

    A reply with fewer than `least` usable scores is a problem.
    """
    score = {"type": "integer", "minimum": 0, "maximum": TOP}
    properties = {
        "reasoning": {"type": "string", "maxLength": _REASONING},
        "scores": _closed({str(number): score for number in numbers}),
    }

    def parse(text: str) -> Scores | ParseProblem:
        found = find_object(text, _unambiguous)
        if isinstance(found, ParseProblem):
            return found
        scores = found.get("scores")
        if not isinstance(scores, dict):
            return ParseProblem(reason='"scores" is no object with one score a number')
        usable = {number: _score(scores.get(str(number))) for number in numbers}
        kept = {number: score for number, score in usable.items() if score is not None}
        if len(kept) < least:
            return ParseProblem(reason=f"none of the numbers has a score from 0 to {TOP}")
        return kept

    return Form(name="ScoresForm", schema=_closed(properties), parse=parse)


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _score(said: object) -> float | None:
    """A score as 0..1; None: it says nothing."""
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    return said / TOP if math.isfinite(said) and 0 <= said <= TOP else None


def _unambiguous(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a name that comes twice with different values says nothing."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name] = value if found.get(name, value) == value else None
    return found
