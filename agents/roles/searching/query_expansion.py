"""Query expansion: the served query writers that add a model's words to what is missing.

Each asks for one to three texts in one call, by a prompt of its own:

- `keywords`: sets of keywords, appended to one query (GenQREnsemble, arXiv 2404.03746).
- `keywords_fused`: the same, each set a query of its own (GenQRFusion, arXiv 2405.17658).
- `thought`: a passage that would answer, searched together with what is missing (after O1 Embedder,
  arXiv 2502.07555, which averages the embeddings of question and thought in place of fusing).
- `intent`: a description of what is looked for (Q2ID, arXiv 2008.10889).

All but the first are searched beside the plain query, and their rankings are fused by reciprocal
rank. Calls of a model: 1 a round; searches: 1 for `keywords`, else at most 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.roles.base import RoleInput, RoleResult, Roles
from hoptrail.agents.roles.common import GAP_WEIGHT, Reply
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.roles.reading.grounding import Shown, wrapped
from hoptrail.agents.types import Query
from hoptrail.prompts.loader import load


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """What a model is asked to write, and what is made of it."""

    prompt: str
    fused: bool = True
    """Whether each text is searched by itself and the rankings fused; else all are one query."""


EXPANSIONS: Mapping[str, Expansion] = MappingProxyType(
    {
        "keywords": Expansion(prompt="expand/keywords", fused=False),
        "keywords_fused": Expansion(prompt="expand/keywords"),
        "thought": Expansion(prompt="expand/thought"),
        "intent": Expansion(prompt="expand/intent"),
    }
)
"""By their names in the setting `query_writer`."""


class ExpandingQueryWriter:
    """Queries made of what is missing and of texts that a model writes for it."""

    def __init__(
        self, client: LLMClient, delimiters: Delimiters, fallback: Roles, expansion: Expansion
    ) -> None:
        self._client = client
        self._delimiters = delimiters
        self._fallback = fallback
        self._expansion = expansion

    async def next_queries(self, situation: RoleInput) -> RoleResult[tuple[Query, ...]]:
        """The plain query and the expanded ones, to be fused; or one with all that was written."""
        prompt = self._expansion.prompt
        missing = "; ".join(situation.assessment.missing) if situation.assessment else ""
        call = RoleCall(
            role="next_query",
            prompt=prompt,
            form=ExpansionForm,
            max_tokens=320,
            render=lambda blocks: load(prompt).render(
                missing=self._delimiters.wrap("missing", missing),
                passages=wrapped(self._delimiters, blocks),
                question=situation.question,
            ),
            blocks=Shown.of(situation).blocks(),
        )

        def use(form: ExpansionForm, _: Sequence[int]) -> tuple[Query, ...]:
            return expanded(missing or situation.question, form.texts, fused=self._expansion.fused)

        return await ask_or_fall_back(
            self._client, call, use, lambda: self._fallback.query_writer.next_queries(situation)
        )


def expanded(plain: str, texts: Iterable[str], *, fused: bool) -> tuple[Query, ...]:
    """The queries of a plain text and what a model wrote for it, blanks and repetitions dropped.

    Args:
        plain: what is looked for, in the words that it was asked in.
        texts: what is added to them.
        fused: whether each is added by itself, to be searched beside the plain text.
    """
    written = [text for text in dict.fromkeys(" ".join(one.split()) for one in texts) if text]
    if not fused or not written:
        return (Query(text=" ".join((plain, *written)), purpose="gap", weight=GAP_WEIGHT),)
    return tuple(
        Query(text=text, purpose="gap", weight=GAP_WEIGHT, fused=True)
        for text in (plain, *(f"{plain} {one}" for one in written))
    )


class ExpansionForm(Reply):
    """What a model writes to be searched for."""

    texts: Annotated[list[Annotated[str, Field(max_length=240)]], Field(min_length=1, max_length=3)]
