"""Questions of one step of a tree build: asked once each, recalled from drafts where answered.

A builder's requests become questions to a model. A reply is kept as a draft under the question's
key, so a build that is run again asks only what is still open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hoptrail.agents.indexing.model_build import ModelSession
from hoptrail.agents.indexing.tree_prompts import LEAST_ROOM, ROOM, Question, question
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.rag.tree.builders.requests import Reply, Request


class Drafts(Protocol):
    """Storage of replies until the tree is whole; `rag.tree.storage.TreeFile` is one."""

    def drafts(self, keys: Iterable[str]) -> Mapping[str, str]:
        """Drafts by key, for those keys that have one."""

    def keep_drafts(self, replies: Mapping[str, str]) -> None:
        """Stores drafts by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionBatch:
    """Questions for all requests that a builder makes at once; equal requests share one."""

    keys: tuple[str, ...]
    """The draft key of each request, in order."""
    questions: Mapping[str, Question[Any]]
    """By key."""

    @classmethod
    def of(cls, requests: Iterable[Request], delimiters: Delimiters, model: str) -> QuestionBatch:
        """The questions of some requests to one model."""
        found = [question(request, delimiters) for request in requests]
        keys = tuple(one.key(model) for one in found)
        return cls(keys=keys, questions=dict(zip(keys, found, strict=True)))

    def recalled(self, drafts: Drafts) -> dict[str, Reply]:
        """Replies by key, of those questions that have a draft that can be read."""
        kept = drafts.drafts(self.questions)
        found = {key: self.questions[key].read(draft) for key, draft in kept.items()}
        return {key: reply for key, reply in found.items() if reply is not None}

    def replies(self, found: Mapping[str, Reply]) -> tuple[Reply, ...]:
        """The reply to each request, in order; None where `found` has none."""
        return tuple(found.get(key) for key in self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionResult:
    """Reply to one question, or why there is none."""

    reply: Reply = None
    draft: str = ""
    """The reply as it is kept."""
    failure: str = ""
    """Why there is no reply to use; empty: there is one."""
    detail: str = ""
    """What went wrong, for people."""


@dataclass(slots=True)
class TreeModel:
    """The model of a tree build, with the room for data in its server's window."""

    session: ModelSession
    room: int = ROOM
    """Characters of data for which the server's window has had room."""

    async def ask(self, one: Question[Any]) -> QuestionResult:
        """The model's reply to a question; its data is halved until the server's window has room.

        Raises:
            OutOfBudget: nothing is left for the question; it counts as not tried.
        """
        while True:
            room = self.room
            asked = await self.session.ask(one.prompt, one.render(room), one.form, one.most)
            if asked.failure != "overlong" or room <= LEAST_ROOM:
                break
            # Another question may have found less room meanwhile.
            self.room = min(self.room, room // 2)
        if asked.value is None:
            failure, detail = self.session.failure(asked)
            return QuestionResult(failure=failure, detail=detail)
        # The model may have repeated the delimiter: a placeholder is kept and used in its place.
        draft = self.session.delimiters.hide(asked.value.model_dump_json())
        return QuestionResult(reply=one.read(draft), draft=draft)
