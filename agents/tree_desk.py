"""Where the questions of one build of a tree are put to its model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hoptrail.agents.budget.ledger import Budget, Ledger
from hoptrail.agents.llm.client import Asked, Asker
from hoptrail.agents.llm.delimiters import Fence
from hoptrail.agents.llm.retry import Exchange
from hoptrail.agents.llm.types import Endpoint
from hoptrail.agents.pump import RETRIES, TIMEOUT
from hoptrail.agents.tree_asks import LEAST_ROOM, ROOM, Question, question
from hoptrail.rag.tree.builders.requests import Ask, Reply


class Drafts(Protocol):
    """Where replies are kept until the tree is whole; `rag.tree.keep.TreeFile` is one."""

    def drafts(self, keys: Iterable[str]) -> Mapping[str, str]:
        """What was kept under those of some keys that anything was kept under."""

    def keep_drafts(self, replies: Mapping[str, str]) -> None:
        """Keeps replies by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What a builder asks at once; equal questions are one."""

    keys: tuple[str, ...]
    """Of each ask, in order: what its reply is kept under."""
    questions: Mapping[str, Question[Any]]
    """By key."""

    @classmethod
    def of(cls, asks: Iterable[Ask], fence: Fence, model: str) -> Sheet:
        """The questions that asks are, for one model."""
        found = [question(ask, fence) for ask in asks]
        keys = tuple(one.key(model) for one in found)
        return cls(keys=keys, questions=dict(zip(keys, found, strict=True)))

    def recalled(self, drafts: Drafts) -> dict[str, Reply]:
        """The replies that an earlier build left, by key; those that can be read."""
        kept = drafts.drafts(self.questions)
        found = {key: self.questions[key].read(draft) for key, draft in kept.items()}
        return {key: reply for key, reply in found.items() if reply is not None}

    def replies(self, found: Mapping[str, Reply]) -> tuple[Reply, ...]:
        """The reply to each ask, in order; None where none was found."""
        return tuple(found.get(key) for key in self.keys)


@dataclass(slots=True)
class Counts:
    """What the questions of a build have come to so far."""

    answered: int = 0
    kept: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    without_salt: bool = False
    room: int = ROOM
    """Characters of data for which the server's window has had room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of asking a question."""

    reply: Reply = None
    draft: str = ""
    """The reply as it is to be kept."""
    failure: str = ""
    detail: str = ""


@dataclass(slots=True)
class Desk:
    """Puts questions to a model, out of one budget."""

    asker: Asker
    ledger: Ledger
    fence: Fence
    counts: Counts = field(default_factory=Counts)

    @classmethod
    async def open(cls, endpoint: Endpoint, secret: bytes, budget: Budget) -> Desk:
        """Finds out what the server can do.

        Raises:
            ModelError: it cannot be used.
        """
        ledger = Ledger.open(None, budget)
        asker = Asker(Exchange(endpoint, ledger, retries=RETRIES, timeout=TIMEOUT))
        await asker.prepare()
        return cls(asker=asker, ledger=ledger, fence=Fence.of(secret))

    @property
    def model(self) -> str:
        """Who answers."""
        return self.asker.server.model

    async def ask(self, one: Question[Any]) -> Tried:
        """Asks, with less and less data where the server's window has no room for it.

        Raises:
            OutOfBudget: nothing is left for it.
        """
        while True:
            room = self.counts.room
            asked = await self.asker.ask(
                node=one.prompt,
                prompt=one.render(room),
                form=one.form,
                max_tokens=one.most,
                # Half is enough for most; with less the reply would be cut and paid in vain.
                min_tokens=one.most // 2,
            )
            self.counts.without_salt |= "cache_salt" in asked.without
            if asked.failure != "overlong" or room <= LEAST_ROOM:
                return self._read(one, asked)
            self.counts.room = min(self.counts.room, room // 2)

    def _read(self, one: Question[Any], asked: Asked[Any]) -> Tried:
        if asked.value is None:
            detail = self.fence.hide(asked.problems[-1]) if asked.problems else ""
            return Tried(failure=asked.failure or "parse", detail=detail)
        # The model may have repeated the fence: what is kept and used has a placeholder instead.
        draft = self.fence.hide(asked.value.model_dump_json())
        return Tried(reply=one.read(draft), draft=draft)
