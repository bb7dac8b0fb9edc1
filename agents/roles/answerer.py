"""The answerer: evidence → claims that cite it and a short answer, streamed while it is written."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from typing import Annotated

from pydantic import Field
from pydantic_core import from_json

from hoptrail.agents.events import AnswerDelta
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.roles.base import DeltaListener, RoleInput, RoleResult, Roles
from hoptrail.agents.roles.common import Reply, numbered_quotes, subjects_of
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.types import Answer, Claim
from hoptrail.prompts.loader import load
from hoptrail.rag.entities.surface import surface_words

SHOWN = 5
"""Quotes an answer shows."""


class LocalAnswerer:
    """The best quotes as they stand; nothing where none of the question's names is in them."""

    async def answer(self, situation: RoleInput, on_delta: DeltaListener) -> RoleResult[Answer]:
        """One claim a quote, word for word."""
        if not _bears(situation):
            return RoleResult(value=Answer(text="", claims=(), extractive=True, abstains=True))
        shown = situation.pool[:SHOWN]
        claims = tuple(Claim(text=item.quote, evidence=(item.id,)) for item in shown)
        text = "\n".join(item.quote for item in shown)
        on_delta(AnswerDelta(text=text))
        return RoleResult(value=Answer(text=text, claims=claims, extractive=True))


def _bears(situation: RoleInput) -> bool:
    """Is there evidence, and does it speak of anything that the question names?"""
    subjects = subjects_of(situation)
    said = [set(surface_words(f"{item.title} {item.quote}")) for item in situation.pool]
    if not subjects:
        return bool(said)
    return any(set(surface_words(name)) <= spoken for name in subjects for spoken in said)


class ServedAnswerer:
    """Answers from the pool, by prompt `answer`."""

    def __init__(self, asker: LLMClient, fence: Delimiters, fallback: Roles) -> None:
        self._asker = asker
        self._fence = fence
        self._fallback = fallback

    async def answer(self, situation: RoleInput, on_delta: DeltaListener) -> RoleResult[Answer]:
        """Claims with evidence ids, and the short answer, told while it is written."""
        teller = AnswerStream(self._fence, on_delta)
        task = RoleCall(
            role="answer",
            prompt="ask/answer",
            form=AnswerForm,
            max_tokens=800,
            render=lambda blocks: load("ask/answer").render(
                question=situation.question, evidence="\n".join(blocks)
            ),
            blocks=numbered_quotes(self._fence, situation.pool),
            hear=teller.hear,
        )

        def use(form: AnswerForm, seen: Sequence[int]) -> Answer:
            return _answer(form, {situation.pool[place].id for place in seen})

        played = await ask_or_fall_back(
            self._asker, task, use, lambda: self._fallback.answerer.answer(situation, _mute)
        )
        teller.tell(played.value.text)
        return played


def _answer(form: AnswerForm, seen: Set[str]) -> Answer:
    """The reply as an answer; evidence that the model was not shown cannot be cited."""
    if not form.answered:
        return Answer(text="", claims=(), extractive=False, abstains=True)
    claims = tuple(
        Claim(text=claim.text.strip(), evidence=_cited(claim.evidence, seen))
        for claim in form.claims
    )
    return Answer(text=form.answer.strip(), claims=claims, extractive=False)


def _cited(numbers: Sequence[int], seen: Set[str]) -> tuple[str, ...]:
    return tuple(e for e in (f"e{n}" for n in dict.fromkeys(numbers)) if e in seen)


def _mute(delta: AnswerDelta) -> None:
    """Swallows the fallback's deltas: its text is told here, in the place of what is void."""


class ClaimForm(Reply):
    """One sentence of the answer."""

    text: Annotated[str, Field(max_length=160)]
    evidence: Annotated[list[Annotated[int, Field(ge=1, le=400)]], Field(max_length=4)]


class AnswerForm(Reply):
    """The answerer's reply."""

    claims: Annotated[list[ClaimForm], Field(max_length=4)]
    answer: Annotated[str, Field(max_length=120)]
    answered: bool


_LONGEST = 20_000
"""Characters of a reply after which nothing more is told of it before its end: each piece has the
whole reply so far parsed again, and no reply that fits `AnswerForm` is near that."""


class AnswerStream:
    """Tells a listener what stands in a reply's field "answer" so far; a reply may turn out void.

    Words are told whole and one by one: so the fence's word is hidden before any of it is out, and
    a replay, which has each reply at once, tells the same pieces.

    Args:
        fence: whose word is not to be told.
        on_delta: the listener.
    """

    def __init__(self, fence: Delimiters, on_delta: DeltaListener) -> None:
        self._fence = fence
        self._on_delta = on_delta
        self._reply = self._told = ""

    def hear(self, piece: str | None) -> None:
        """Takes in a further piece of the reply's JSON; None: all of it so far is void."""
        if piece is None:
            self._reply = ""
            self.tell("")
        elif len(self._reply) < _LONGEST:
            self._reply += piece
            self._tell_words()

    def tell(self, text: str) -> None:
        """Brings the listener to this text, by what it lacks or from the beginning."""
        restart = not text.startswith(self._told)
        rest = text if restart else text[len(self._told) :]
        self._told = text
        if rest or restart:
            self._on_delta(AnswerDelta(text=rest, restart=restart))

    def _tell_words(self) -> None:
        # As bytes: of a str with lone surrogates it says that it is none.
        written = self._reply.encode("utf-8", "surrogatepass")
        try:
            found = from_json(written, allow_partial="trailing-strings")
        except ValueError:
            return  # no JSON, or not yet: the answer is told when the reply has been read
        answer = found.get("answer") if isinstance(found, dict) else None
        if isinstance(answer, str):
            text = self._fence.hide(answer).lstrip()
            for word in re.finditer(r"\S+(?=\s)", text):
                if word.end() > len(self._told):
                    self.tell(text[: word.end()])
