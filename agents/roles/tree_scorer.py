"""The tree scorer: slates of a tree search → relevance scores of their nodes or passages.

A model replies with an object of one score a number. Every number that is asked for is a property
of its own, so a server that enforces the schema can neither leave one out nor name it twice. With
other servers each score is judged by itself: one that is no number, lies outside 0..100 or comes
twice with different values counts as missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from hoptrail.agents.budget.branches import gather_or_cancel
from hoptrail.agents.budget.ledger import OutOfBudget, Share, Usage
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.reply_schema import ParseProblem, ReplySchema, read_object
from hoptrail.agents.roles.base import RoleResult
from hoptrail.agents.roles.fallback import STOPS, failed, used
from hoptrail.prompts.loader import Prompt, Rendered, load
from hoptrail.rag.tree.search.local_scorer import local_scorer
from hoptrail.rag.tree.search.types import Item, Slate, SlateScores

TOP = 100
"""The best score that a model can give."""
_REASONING = 240
_REPLY_BASE = 320
_REPLY_EACH = 12
"""Tokens of a reply: for its reasoning and for each score, as small vocabularies need them."""

Scores = Mapping[int, float]
"""Scores, 0..1, by the number of the item on the slate, from 1."""


def reply_tokens(count: int) -> int:
    """The most tokens that a reply with `count` scores may have."""
    return _REPLY_BASE + _REPLY_EACH * count


@lru_cache(maxsize=512)
def scores_form(numbers: tuple[int, ...], *, least: int = 1) -> ReplySchema[Scores]:
    """The reply schema that scores these numbers; cached, since servers compile it.

    A reply with fewer than `least` usable scores is a problem.
    """
    score = {"type": "integer", "minimum": 0, "maximum": TOP}
    properties = {
        "reasoning": {"type": "string", "maxLength": _REASONING},
        "scores": _closed({str(number): score for number in numbers}),
    }

    def accept(found: Mapping[str, Any]) -> Scores | ParseProblem:
        scores = found.get("scores")
        if not isinstance(scores, dict):
            return ParseProblem(reason='"scores" is no object with one score a number')
        usable = {number: _score(scores.get(str(number))) for number in numbers}
        kept = {number: score for number, score in usable.items() if score is not None}
        if len(kept) < least:
            return ParseProblem(reason=f"none of the numbers has a score from 0 to {TOP}")
        return kept

    def parse(text: str) -> Scores | ParseProblem:
        return read_object(text, accept, _unambiguous)

    return ReplySchema(name="ScoresForm", schema=_closed(properties), parse=parse)


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _score(value: object) -> float | None:
    """A score as 0..1; None: `value` is no score."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value / TOP if math.isfinite(value) and 0 <= value <= TOP else None


def _unambiguous(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a name that comes twice with different values becomes None."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name] = value if found.get(name, value) == value else None
    return found


KEPT = Usage(calls=4, prompt_tokens=8_000)
"""Budget kept for reading and answering after the search, though at most a quarter of it."""
LENGTHS = (1500, 1000, 500, 250, 120, 60)
"""Characters shown of a text: the first of these with which the slate fits into the window."""
ANCHOR_LENGTH = 500
"""Most characters shown of an anchor, an item scored before that calibrates the scores."""
LEADS, LEAD_LENGTH = 3, 300
"""Number of the best leaves so far that are shown unnumbered, and their most characters."""
_ROLE = "slate"


class LocalScorer:
    """Scoring by shared words and the embedder's similarity."""

    def __init__(self, corpus: Corpus, seconds_left: Callable[[], float]) -> None:
        self._corpus = corpus
        self._seconds_left = seconds_left

    async def score(
        self, question: str, slates: Sequence[Slate]
    ) -> Sequence[RoleResult[SlateScores]]:
        """One result a slate."""
        try:
            language = await self._corpus.language(timeout=self._seconds_left())
        except TimeoutError:
            nothing = SlateScores(scores={}, failed=True)
            return [RoleResult(value=nothing, stop="out_of_time") for _ in slates]
        score = local_scorer(question, language)
        return [RoleResult(value=scores) for scores in score(slates)]


class ServedScorer:
    """Scoring by a model, all slates in parallel.

    Prompts: `tree/score_nodes` and `tree/score_passages`.
    """

    def __init__(self, client: LLMClient, delimiters: Delimiters) -> None:
        self._client = client
        self._delimiters = delimiters

    async def score(
        self, question: str, slates: Sequence[Slate]
    ) -> Sequence[RoleResult[SlateScores]]:
        """One result a slate; a failed one says why in its `use`."""
        if not slates:
            return []
        # Divided beforehand: what fits the budget must not depend on which is answered first.
        shares = self._client.shares(len(slates), kept_for_answer(self._client))
        return await gather_or_cancel(
            self._one(question, slate, share) for slate, share in zip(slates, shares, strict=True)
        )

    async def _one(self, question: str, slate: Slate, share: Share) -> RoleResult[SlateScores]:
        client, prompt = self._client, _prompt_for(slate)
        if client.lost is not None:
            return _failed(client, prompt.hash, client.lost)
        wanted = asked_for(slate)
        # Missing scores are asked for once: a reply without any is no reason to ask again.
        form = scores_form(wanted, least=0 if slate.missing else 1)
        most = reply_tokens(len(wanted))
        try:
            fitting = await client.longest(
                renderings(slate, question, self._delimiters), form=form, max_tokens=most
            )
            asked = await client.ask(
                node=_ROLE,
                prompt=fitting,
                form=form,
                max_tokens=most,
                min_tokens=most,
                share=share,
            )
        except OutOfBudget as error:
            note = failed(_ROLE, prompt.hash, client, error.usage, 0, error.stop)
            return RoleResult(value=SlateScores(scores={}, failed=True), use=note, stop=error.stop)
        use = used(_ROLE, asked)
        if asked.value is None:
            stop = STOPS.get(asked.failure or "")
            return RoleResult(value=SlateScores(scores={}, failed=True), use=use, stop=stop)
        scores = {number - 1: score for number, score in asked.value.items()}
        return RoleResult(value=SlateScores(scores=scores), use=use)


def asked_for(slate: Slate) -> tuple[int, ...]:
    """The numbers of the items that a slate asks scores for, from 1."""
    missing = set(slate.missing)
    return tuple(
        number
        for number, item in enumerate(slate.shown, start=1)
        if not missing or item.ref in missing
    )


def renderings(slate: Slate, question: str, delimiters: Delimiters) -> Iterator[Rendered]:
    """The prompts of a slate, each with less of the texts than the one before."""
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
            children=delimiters.wrap(label, "\n".join(children)),
            anchors=delimiters.wrap(label, "\n".join(anchors)) if anchors else "none",
            found=delimiters.wrap("passages", "\n".join(leads)) if leads else "none",
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
    """An item's text on one line, so that no part of it looks like another numbered item."""
    title, line_break, text = item.text.partition("\n")
    joined = f"{title}: {text}" if line_break and title.strip() and item.ref.leaf else item.text
    return " ".join(joined.split())


def kept_for_answer(client: LLMClient) -> Usage:
    """The part of the budget that a search leaves for reading and answering after it."""
    budget = client.budget
    return Usage(
        calls=min(KEPT.calls, math.ceil(budget.calls / 4)),
        prompt_tokens=min(KEPT.tokens, math.ceil(budget.tokens / 4)),
    )


def _prompt_for(slate: Slate) -> Prompt:
    return load("tree/score_passages" if slate.leaves else "tree/score_nodes")


def _failed(client: LLMClient, prompt_hash: str, failure: str) -> RoleResult[SlateScores]:
    return RoleResult(
        value=SlateScores(scores={}, failed=True),
        use=failed(_ROLE, prompt_hash, client, Usage(), 0, failure),
        stop=STOPS.get(failure),
    )
