"""The query writer: missing facts → the queries of the next round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.roles.base import RoleInput, RoleResult, Roles
from hoptrail.agents.roles.common import (
    EMPTY_WORDS,
    GAP_WEIGHT,
    Reply,
    Short,
    best_values,
    filled,
    subjects_of,
    too_alike,
)
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.roles.reading.grounding import Shown, wrapped
from hoptrail.agents.types import Evidence, Query
from hoptrail.prompts.loader import load
from hoptrail.rag.entities.surface import (
    casefolded,
    only_opens_sentences,
    proper_names,
    surface_words,
)

BRIDGE = 0.97
"""Part of the score of the passage a hop starts from that the hop keeps."""

FOLLOWED = 4
"""Most queries of a round that join a name from the evidence with the rest of the question."""
FOLLOWED_WEIGHT = 0.4
"""Score of the best hit of such a query, relative to the passage that the name was read in."""


class LocalQueryWriter:
    """Bridge queries: the names that the evidence mentions and the question does not."""

    async def next_queries(self, situation: RoleInput) -> RoleResult[tuple[Query, ...]]:
        """One query a name, those of the best evidence first."""
        known = casefolded(situation.question)
        queries: dict[str, Query] = {}
        for item in situation.pool:
            for name in _mentioned(item):
                key = casefolded(name)
                if key in known or key in queries or too_alike(name, situation.asked):
                    continue
                queries[key] = Query(
                    text=name,
                    purpose="bridge",
                    mode="lexical",
                    weight=round(BRIDGE * item.score, 6),
                )
        return RoleResult(value=tuple(queries.values()))


class GraphQueryWriter:
    """Bridge queries of a name from the evidence and the rest of the question.

    For searches of the passage graph, which follow names by themselves but cannot put a name in
    the place of the words that stand for it ("the director of ..."), two documents further on.
    After Iter-RetGen's query of question and generation (arXiv 2305.15294), with a name as what
    was generated.
    """

    async def next_queries(self, situation: RoleInput) -> RoleResult[tuple[Query, ...]]:
        """Up to `FOLLOWED` queries, for the names in the best evidence."""
        known = casefolded(situation.question)
        subjects = {word for name in subjects_of(situation) for word in surface_words(name)}
        rest = " ".join(
            word
            for word in dict.fromkeys(surface_words(situation.question))
            if word not in EMPTY_WORDS and word not in subjects
        )
        queries: dict[str, Query] = {}
        for item in situation.pool:
            for name in _mentioned(item):
                text = f"{name} {rest}".strip()
                if casefolded(name) in known or too_alike(text, (*situation.asked, *queries)):
                    continue
                queries[text] = Query(
                    text=text, purpose="gap", weight=round(FOLLOWED_WEIGHT * item.score, 6)
                )
                if len(queries) == FOLLOWED:
                    return RoleResult(value=tuple(queries.values()))
        return RoleResult(value=tuple(queries.values()))


def _mentioned(item: Evidence) -> Iterator[str]:
    """The names in a quote other than its title; a sentence's first word alone is no name."""
    for name in proper_names(item.quote):
        if casefolded(name) != casefolded(item.title) and not only_opens_sentences(
            name, item.quote
        ):
            yield name


class ServedQueryWriter:
    """Queries by a model, by prompt `ask/write_queries`."""

    def __init__(self, client: LLMClient, delimiters: Delimiters, fallback: Roles) -> None:
        self._client = client
        self._delimiters = delimiters
        self._fallback = fallback

    async def next_queries(self, situation: RoleInput) -> RoleResult[tuple[Query, ...]]:
        """Queries for what is missing; their hits count nearly as much as the question's own."""
        assessed = situation.assessment
        call = RoleCall(
            role="next_query",
            prompt="ask/write_queries",
            form=QueriesForm,
            max_tokens=320,
            render=lambda blocks: load("ask/write_queries").render(
                missing=self._delimiters.wrap(
                    "missing", "; ".join(assessed.missing) if assessed else ""
                ),
                # Between delimiters too: names that the fallback follows are the documents' words.
                asked=self._delimiters.wrap("queries", "; ".join(situation.asked[-12:])),
                passages=wrapped(self._delimiters, blocks),
                question=situation.question,
            ),
            blocks=Shown.of(situation).blocks(),
        )

        def use(form: QueriesForm, _: Sequence[int]) -> tuple[Query, ...]:
            known = best_values(situation)
            texts = (filled(text, known) for text in form.queries)
            return tuple(Query(text=t, purpose="gap", weight=GAP_WEIGHT) for t in texts if t)

        return await ask_or_fall_back(
            self._client, call, use, lambda: self._fallback.query_writer.next_queries(situation)
        )


class QueriesForm(Reply):
    """The query writer's reply."""

    queries: Annotated[list[Short], Field(min_length=1, max_length=3)]
