"""The form of a scored slate: an object with one score a number, read as far as it can be.

Every number that is asked for is a property of its own, so a server that enforces the schema can
neither leave one out nor name it twice. Of others each score is judged by itself: what is no
number, lies outside 0..100 or was said twice with different values counts as not said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from hoptrail.agents.budget.ledger import OutOfBudget, Share, Usage
from hoptrail.agents.budget.limits import gather_or_cancel
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.reply_schema import ParseProblem, ReplySchema, find_object
from hoptrail.agents.roles.base import RoleResult
from hoptrail.agents.roles.fallback import STOPS, unasked, used
from hoptrail.prompts.loader import Prompt, Rendered, load
from hoptrail.rag.tree.search.local_scorer import local_scorer
from hoptrail.rag.tree.search.types import Item, Slate, SlateScores

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
def scores_form(numbers: tuple[int, ...], *, least: int = 1) -> ReplySchema[Scores]:
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

    return ReplySchema(name="ScoresForm", schema=_closed(properties), parse=parse)


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


KEPT = Usage(calls=4, prompt_tokens=8_000)
"""What a search leaves for reading and answering, though at most a quarter of the budget."""
LENGTHS = (1500, 1000, 500, 250, 120, 60)
"""Characters shown of a text: the first of these with which the slate fits into the window."""
ANCHOR_LENGTH = 500
"""Characters shown of an anchor at most: it was read before and serves as a measure."""
LEADS, LEAD_LENGTH = 3, 300
"""Best leaves so far that are shown unnumbered, and their characters."""
_ROLE = "slate"


class LocalScorer:
    """Scores by words in common and the embedder's likeness."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    async def score(
        self, question: str, slates: Sequence[Slate]
    ) -> Sequence[RoleResult[SlateScores]]:
        """One answer a slate."""
        grade = local_scorer(question, await self._corpus.language())
        return [RoleResult(value=graded) for graded in grade(slates)]


class ServedScorer:
    """Has a model score, all slates side by side, by the prompts `slate` and `slate_leaves`."""

    def __init__(self, asker: LLMClient, fence: Delimiters) -> None:
        self._asker = asker
        self._fence = fence

    async def score(
        self, question: str, slates: Sequence[Slate]
    ) -> Sequence[RoleResult[SlateScores]]:
        """One answer a slate; one that cannot be had has failed and says why."""
        if not slates:
            return []
        # Divided beforehand, so that it does not depend on who answers first what fits the budget.
        shares = self._asker.shares(len(slates), _kept(self._asker))
        return await gather_or_cancel(
            self._one(question, slate, share) for slate, share in zip(slates, shares, strict=True)
        )

    async def _one(self, question: str, slate: Slate, share: Share) -> RoleResult[SlateScores]:
        asker, prompt = (
            self._asker,
            _prompt_for(slate),
        )
        if asker.lost is not None:
            return _failed(asker, prompt.hash, asker.lost)
        wanted = asked_for(slate)
        # What was missing is asked for once: of that reply nothing is no reason to ask again.
        form = scores_form(wanted, least=0 if slate.missing else 1)
        most = reply_tokens(len(wanted))
        try:
            fitting = await asker.longest(
                renderings(slate, question, self._fence), form=form, max_tokens=most
            )
            asked = await asker.ask(
                node=_ROLE, prompt=fitting, form=form, max_tokens=most, min_tokens=most, share=share
            )
        except OutOfBudget as error:
            note = unasked(_ROLE, prompt.hash, asker, error.usage, 0, error.stop)
            return RoleResult(value=SlateScores(scores={}, failed=True), use=note, stop=error.stop)
        use = used(_ROLE, asked)
        if asked.value is None:
            stop = STOPS.get(asked.failure or "")
            return RoleResult(value=SlateScores(scores={}, failed=True), use=use, stop=stop)
        scores = {number - 1: score for number, score in asked.value.items()}
        return RoleResult(value=SlateScores(scores=scores), use=use)


def asked_for(slate: Slate) -> tuple[int, ...]:
    """The numbers that a slate asks for, from 1."""
    missing = set(slate.missing)
    return tuple(
        number
        for number, item in enumerate(slate.shown, start=1)
        if not missing or item.ref in missing
    )


def renderings(slate: Slate, question: str, fence: Delimiters) -> Iterator[Rendered]:
    """The prompt of a slate, each time with less of the texts."""
    prompt = _prompt_for(slate)
    label = "passages" if slate.leaves else "topics"
    count = len(slate.items)
    wanted = "every number"
    if slate.missing:
        wanted = "only " + ", ".join(map(str, asked_for(slate)))
    lines = [
        (f"[{number}] {_counted(item)}", _flat(item))
        for number, item in enumerate(slate.shown, start=1)
    ]
    for length in LENGTHS:
        children = [head + _cut(text, length) for head, text in lines[:count]]
        anchors = [head + _cut(text, min(length, ANCHOR_LENGTH)) for head, text in lines[count:]]
        leads = [_cut(_flat(lead.item), min(length, LEAD_LENGTH)) for lead in slate.leads[:LEADS]]
        yield prompt.render(
            children=fence.wrap(label, "\n".join(children)),
            anchors=fence.wrap(label, "\n".join(anchors)) if anchors else "none",
            found=fence.wrap("passages", "\n".join(leads)) if leads else "none",
            question=question,
            wanted=wanted,
        )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + "…"


def _counted(item: Item) -> str:
    if item.ref.leaf:
        return ""
    return f"({item.count} text{'s' if item.count > 1 else ''}) "


def _flat(item: Item) -> str:
    """A text on one line, so that none can look like another number's."""
    title, line_break, text = item.text.partition("\n")
    joined = f"{title}: {text}" if line_break and title.strip() and item.ref.leaf else item.text
    return " ".join(joined.split())


def _kept(asker: LLMClient) -> Usage:
    budget = asker.budget
    return Usage(
        calls=min(KEPT.calls, math.ceil(budget.calls / 4)),
        prompt_tokens=min(KEPT.tokens, math.ceil(budget.tokens / 4)),
    )


def _prompt_for(slate: Slate) -> Prompt:
    return load("tree/score_passages" if slate.leaves else "tree/score_nodes")


def _failed(asker: LLMClient, prompt_hash: str, failure: str) -> RoleResult[SlateScores]:
    return RoleResult(
        value=SlateScores(scores={}, failed=True),
        use=unasked(_ROLE, prompt_hash, asker, Usage(), 0, failure),
        stop=STOPS.get(failure),
    )
