"""The answerer: evidence → claims that cite it and a short answer, streamed while it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from pydantic_core import from_json

from hoptrail.agents.events import AnswerDelta
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.reply_text import end_of_thoughts
from hoptrail.agents.roles.base import DeltaListener, RoleInput, RoleResult, Roles
from hoptrail.agents.roles.common import Reply, numbered_quotes, subjects_of
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.types import Answer, Claim
from hoptrail.prompts.control_tokens import restored
from hoptrail.prompts.loader import load
from hoptrail.rag.entities.surface import surface_words

SHOWN = 5
"""Quotes in an answer that no model wrote."""


class LocalAnswerer:
    """Extractive answering: the best quotes; abstains where they name nothing of the question."""

    async def answer(self, situation: RoleInput, on_delta: DeltaListener) -> RoleResult[Answer]:
        """One claim a quote, in the quote's words."""
        if not _is_relevant(situation):
            return RoleResult(value=Answer(text="", claims=(), extractive=True, abstains=True))
        shown = situation.pool[:SHOWN]
        claims = tuple(Claim(text=item.quote, evidence=(item.id,)) for item in shown)
        text = "\n".join(item.quote for item in shown)
        on_delta(AnswerDelta(text=text))
        return RoleResult(value=Answer(text=text, claims=claims, extractive=True))


def _is_relevant(situation: RoleInput) -> bool:
    """Whether the pool holds evidence, and a name of the question where it has names."""
    subjects = subjects_of(situation)
    said = [set(surface_words(f"{item.title} {item.quote}")) for item in situation.pool]
    if not subjects:
        return bool(said)
    return any(set(surface_words(name)) <= spoken for name in subjects for spoken in said)


class ServedAnswerer:
    """Abstractive answering from the evidence pool, by prompt `ask/answer`."""

    def __init__(self, client: LLMClient, delimiters: Delimiters, fallback: Roles) -> None:
        self._client = client
        self._delimiters = delimiters
        self._fallback = fallback

    async def answer(self, situation: RoleInput, on_delta: DeltaListener) -> RoleResult[Answer]:
        """Claims with evidence ids, and the short answer, streamed while it is written."""
        stream = AnswerStream(self._delimiters, on_delta)
        call = RoleCall(
            role="answer",
            prompt="ask/answer",
            form=AnswerForm,
            max_tokens=800,
            render=lambda blocks: load("ask/answer").render(
                question=situation.question, evidence="\n".join(blocks)
            ),
            blocks=numbered_quotes(self._delimiters, situation.pool),
            on_delta=stream.feed,
        )

        def use(form: AnswerForm, seen: Sequence[int]) -> Answer:
            return _answer(form, {place + 1: situation.pool[place].id for place in seen})

        result = await ask_or_fall_back(
            self._client, call, use, lambda: self._fallback.answerer.answer(situation, _mute)
        )
        stream.advance_to(result.value.text)
        return result


def _answer(form: AnswerForm, seen: Mapping[int, str]) -> Answer:
    """The answer of a reply; evidence that the model was not shown cannot be cited."""
    if not form.answered:
        return Answer(text="", claims=(), extractive=False, abstains=True)
    claims = tuple(
        Claim(text=claim.text.strip(), evidence=_cited(claim.evidence, seen))
        for claim in form.claims
    )
    return Answer(text=form.answer.strip(), claims=claims, extractive=False)


def _cited(numbers: Sequence[int], seen: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(seen[number] for number in dict.fromkeys(numbers) if number in seen)


def _mute(delta: AnswerDelta) -> None:
    """Drops the fallback's deltas: `AnswerStream` streams its text in place of the reply's."""


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
"""Characters of a reply after which its further pieces are not streamed: each piece has the whole
reply so far parsed again, and no reply that fits `AnswerForm` is near that."""


class AnswerStream:
    """Streams the field "answer" of a reply that is still being written; it may be discarded.

    Thoughts before the reply are not streamed.

    Words are streamed whole and one by one: so the delimiter word is hidden before any of it is
    out, and a replay, which has each reply at once, streams the same pieces.

    Args:
        delimiters: their word is hidden.
        on_delta: the listener.
    """

    def __init__(self, delimiters: Delimiters, on_delta: DeltaListener) -> None:
        self._delimiters = delimiters
        self._on_delta = on_delta
        self._reply = self._streamed = ""

    def feed(self, piece: str | None) -> None:
        """Takes in a further piece of the reply's JSON; None: all of it so far is discarded."""
        if piece is None:
            self._reply = ""
            self.advance_to("")
        elif len(self._reply) < _LONGEST:
            self._reply += piece
            self._reply = self._reply[end_of_thoughts(self._reply) :]
            self._stream_words()

    def advance_to(self, text: str) -> None:
        """Streams what the listener lacks of `text`, or `text` anew where it has other words."""
        restart = not text.startswith(self._streamed)
        rest = text if restart else text[len(self._streamed) :]
        self._streamed = text
        if rest or restart:
            self._on_delta(AnswerDelta(text=rest, restart=restart))

    def _stream_words(self) -> None:
        # As bytes: the parser refuses a str with lone surrogates.
        written = self._reply.encode("utf-8", "surrogatepass")
        try:
            found = from_json(written, allow_partial="trailing-strings")
        except ValueError:
            return  # no JSON, or not yet: the answer is streamed when the reply has been read
        answer = found.get("answer") if isinstance(found, dict) else None
        if isinstance(answer, str):
            text = restored(self._delimiters.hide(answer)).lstrip()
            for word in re.finditer(r"\S+(?=\s)", text):
                if word.end() > len(self._streamed):
                    self.advance_to(text[: word.end()])
