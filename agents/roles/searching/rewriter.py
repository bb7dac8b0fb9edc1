"""The rewriter: a question that leans on a conversation → one that stands alone.

Conversational question rewriting, as in QReCC (arXiv 2010.04898), so that it can be searched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.roles.base import RoleResult, Roles
from hoptrail.agents.roles.common import Reply
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.types import Turn
from hoptrail.prompts.loader import load
from hoptrail.rag.entities.surface import casefolded, proper_names, surface_words

PRONOUNS = frozenset(
    [
        "he",
        "she",
        "it",
        "they",
        "him",
        "her",
        "them",
        "his",
        "hers",
        "its",
        "their",
        "theirs",
        "this",
        "these",
        "those",
        "there",
        "then",
    ]
)
"""Words that may stand for what an earlier turn named."""
_OPENER = re.compile(r"\s*(and|but|what about|how about|or)\b", re.IGNORECASE)
SHORT = 2
"""A question of at most so many words ("Why?", "Since when?") leans on the one before it."""
LONGEST_TURN = 1_000
"""Characters of a turn's question, and of its answer, that a model is shown."""


class LocalRewriter:
    """Rewriting by rule: names of the latest turns are added to a question that leans on them."""

    async def rewrite(self, question: str, history: Sequence[Turn]) -> RoleResult[str]:
        """The question as it is where it has no pronoun for a name and is no fragment."""
        if not leans(question):
            return RoleResult(value=question)
        known = casefolded(question)
        for turn in reversed(history):
            for text in (turn.answer, turn.question):
                names = [name for name in proper_names(text) if casefolded(name) not in known]
                if names:
                    return RoleResult(value=f"{question} ({', '.join(dict.fromkeys(names))})")
        return RoleResult(value=question)


def leans(question: str) -> bool:
    """Whether a question seems to need the turns before it: a pronoun, or a fragment."""
    words = surface_words(question)
    return len(words) <= SHORT or bool(_OPENER.match(question) or PRONOUNS & set(words))


class ServedRewriter:
    """Rewriting by a model, by prompt `ask/rewrite`."""

    def __init__(self, client: LLMClient, delimiters: Delimiters, fallback: Roles) -> None:
        self._client = client
        self._delimiters = delimiters
        self._fallback = fallback

    async def rewrite(self, question: str, history: Sequence[Turn]) -> RoleResult[str]:
        """The question that stands alone; of a long conversation, the latest turns that fit."""
        call = RoleCall(
            role="rewrite",
            prompt="ask/rewrite",
            form=RewriteForm,
            max_tokens=160,
            render=lambda blocks: load("ask/rewrite").render(
                question=question, conversation="\n".join(reversed(blocks))
            ),
            blocks=[self._shown(turn) for turn in reversed(history)],
        )

        def use(form: RewriteForm, _: Sequence[int]) -> str:
            return " ".join(form.question.split()) or question

        return await ask_or_fall_back(
            self._client, call, use, lambda: self._fallback.rewriter.rewrite(question, history)
        )

    def _shown(self, turn: Turn) -> str:
        asked, answered = turn.question[:LONGEST_TURN], turn.answer[:LONGEST_TURN]
        return self._delimiters.wrap("turn", f"Question: {asked}\nAnswer: {answered}")


class RewriteForm(Reply):
    """The rewriter's reply."""

    question: Annotated[str, Field(max_length=300)]
