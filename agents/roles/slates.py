"""Who scores the slates of a tree search: a served model, or words and the embedder.

A prompt is laid out so that all questions that open a node share its beginning: instructions, what
relevance means, children, anchors, the best so far, question (LATTICE, arXiv 2510.13217, scores
like this; the order is ours). Nobody plays for a model whose scores cannot be used: two scales in
one search would be worse than a node that is opened later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from hoptrail.agents.budget.ledger import OutOfBudget, Share, Usage
from hoptrail.agents.budget.limits import together
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.llm.client import Asker
from hoptrail.agents.llm.delimiters import Fence
from hoptrail.agents.roles import Played
from hoptrail.agents.roles.play import STOPS, unasked, used
from hoptrail.agents.roles.scores import reply_tokens, scores_form
from hoptrail.prompts import Rendered, load
from hoptrail.rag.tree.search.local_scorer import likely
from hoptrail.rag.tree.search.types import Graded, Item, Slate

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

    async def score(self, question: str, slates: Sequence[Slate]) -> Sequence[Played[Graded]]:
        """One answer a slate."""
        grade = likely(question, await self._corpus.language())
        return [Played(value=graded) for graded in grade(slates)]


class ServedScorer:
    """Has a model score, all slates side by side, by the prompts `slate` and `slate_leaves`."""

    def __init__(self, asker: Asker, fence: Fence) -> None:
        self._asker = asker
        self._fence = fence

    async def score(self, question: str, slates: Sequence[Slate]) -> Sequence[Played[Graded]]:
        """One answer a slate; one that cannot be had has failed and says why."""
        if not slates:
            return []
        # Divided beforehand, so that it does not depend on who answers first what fits the budget.
        shares = self._asker.shares(len(slates), _kept(self._asker))
        return await together(
            self._one(question, slate, share) for slate, share in zip(slates, shares, strict=True)
        )

    async def _one(self, question: str, slate: Slate, share: Share) -> Played[Graded]:
        asker, prompt = self._asker, load("slate_leaves" if slate.leaves else "slate")
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
            return Played(value=Graded(scores={}, failed=True), use=note, stop=error.stop)
        use = used(_ROLE, asked)
        if asked.value is None:
            stop = STOPS.get(asked.failure or "")
            return Played(value=Graded(scores={}, failed=True), use=use, stop=stop)
        scores = {number - 1: score for number, score in asked.value.items()}
        return Played(value=Graded(scores=scores), use=use)


def asked_for(slate: Slate) -> tuple[int, ...]:
    """The numbers that a slate asks for, from 1."""
    missing = set(slate.missing)
    return tuple(
        number
        for number, item in enumerate(slate.shown, start=1)
        if not missing or item.ref in missing
    )


def renderings(slate: Slate, question: str, fence: Fence) -> Iterator[Rendered]:
    """The prompt of a slate, each time with less of the texts."""
    prompt = load("slate_leaves" if slate.leaves else "slate")
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


def _kept(asker: Asker) -> Usage:
    budget = asker.budget
    return Usage(
        calls=min(KEPT.calls, math.ceil(budget.calls / 4)),
        prompt_tokens=min(KEPT.tokens, math.ceil(budget.tokens / 4)),
    )


def _failed(asker: Asker, prompt_hash: str, failure: str) -> Played[Graded]:
    return Played(
        value=Graded(scores={}, failed=True),
        use=unasked(_ROLE, prompt_hash, asker, Usage(), 0, failure),
        stop=STOPS.get(failure),
    )
