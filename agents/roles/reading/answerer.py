"""The answerer: passages → claims that cite them and a short answer, streamed as it is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Annotated

from pydantic import Field
from pydantic_core import from_json

from hoptrail.agents.events import AnswerDelta, StreamedAnswer
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.reply_text import end_of_thoughts
from hoptrail.agents.roles.base import (
    DeltaListener,
    Draft,
    Quote,
    RoleInput,
    RoleResult,
    Roles,
)
from hoptrail.agents.roles.claim_rules.answer_check import is_yes_or_no
from hoptrail.agents.roles.common import Reply, subjects_of
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.roles.reading.grounding import (
    MOST_GROUNDS,
    Shown,
    grounds,
    quote_of,
    quotes_of,
    verbatim,
    wrapped,
)
from hoptrail.agents.types import Answer, Claim, ClaimsBy, Evidence, evidence_id
from hoptrail.prompts.control_tokens import restored
from hoptrail.prompts.loader import load
from hoptrail.rag.entities.surface import proper_names, surface_words
from hoptrail.rag.types import Passage

SHOWN = 5
"""Quotes in an answer that no model wrote."""


class LocalAnswerer:
    """Extractive answering: the best quotes; abstains where they name nothing of the question."""

    async def answer(self, situation: RoleInput, on_delta: DeltaListener) -> RoleResult[Draft]:
        """One claim a quote, in the quote's words."""
        if not is_relevant(situation, passages=False):
            return RoleResult(value=Draft(answer=_ABSTENTION))
        answer = extractive_answer(situation.pool)
        on_delta(AnswerDelta(text=answer.text))
        return RoleResult(value=Draft(answer=answer))


def extractive_answer(pool: Sequence[Evidence]) -> Answer:
    """The best quotes of a pool as claims, each in its own words."""
    shown = pool[:SHOWN]
    claims = tuple(Claim(text=item.quote, evidence=(item.id,)) for item in shown)
    return Answer(text="\n".join(item.quote for item in shown), claims=claims, extractive=True)


def is_relevant(situation: RoleInput, *, passages: bool) -> bool:
    """Whether there is something to read, and a name of the question in it where it has names.

    Args:
        situation: the question, and what was read.
        passages: look in the passages as well as in the quotes.
    """
    subjects = subjects_of(situation) or proper_names(situation.question)
    texts = [f"{item.title} {item.quote}" for item in situation.pool]
    if passages:
        texts += [f"{one.title} {one.text}" for one in situation.passages]
    if not subjects:
        return bool(texts)
    said = [set(surface_words(text)) for text in texts]
    return any(set(surface_words(name)) <= spoken for name in subjects for spoken in said)


_ABSTENTION = Answer(text="", claims=(), extractive=True, abstains=True)
_NO_ANSWER = re.compile(
    r"(?:(?:the )?(?:answer|question|passages?) |it )?(?:(?:is|was|are|were|do|does|did|can) ?)?"
    r"(?:(?:unknown|unclear|unanswerable|none|n/?a)(?: (?:from|in|by|to) .*)?"
    r"|not (?:be )?(?:stated?|given|mention(?:ed)?|known|specif(?:y|ied)|sa(?:y|id)|found"
    r"|provided?|available|determined|answer(?:ed)?|enough)\b.*|no (?:answer|information)\b.*"
    r"|i (?:do not|don['’]t|cannot|can['’]t) (?:know|tell|say|answer|determine)\b.*)",
    re.IGNORECASE,
)
"""What models write where the passages do not answer."""


def says_no_answer(text: str) -> bool:
    """Whether a short answer is none: empty, or "not stated", "unknown" and their like."""
    return not text.strip() or bool(_NO_ANSWER.fullmatch(text.strip().rstrip(".")))


class ServedAnswerer:
    """Abstractive answering from what was read, by prompt `ask/answer` or `ask/answer_briefly`."""

    def __init__(self, client: LLMClient, delimiters: Delimiters, fallback: Roles) -> None:
        self._client = client
        self._delimiters = delimiters
        self._fallback = fallback

    async def answer(self, situation: RoleInput, on_delta: DeltaListener) -> RoleResult[Draft]:
        """The short answer, streamed, and claims with the sentences that they stand on.

        The claims are the model's, or, where it answers alone, sentences that contain the answer.
        Where nothing that was read has a name of the question, the model is not asked: a small one
        answers whatever it is shown.
        """
        if not is_relevant(situation, passages=True):
            return RoleResult(value=Draft(answer=_ABSTENTION))
        shown = Shown.of(situation)
        stream = AnswerStream(self._delimiters, on_delta)
        prompt, form = _FORMS[situation.claims_by]
        call = RoleCall(
            role="answer",
            prompt=prompt,
            form=form,
            max_tokens=800,
            render=lambda blocks: load(prompt).render(
                passages=wrapped(self._delimiters, blocks), question=situation.question
            ),
            blocks=shown.blocks(),
            on_delta=stream.feed,
        )

        def use(form: AnswerForm | BriefForm, seen: Sequence[int]) -> Draft:
            if says_no_answer(form.answer):
                return Draft(answer=replace(_ABSTENTION, extractive=False))
            if isinstance(form, AnswerForm):
                return _draft(form, shown, seen)
            return _cited_by_code(form.answer.strip(), situation.question, shown.passages(seen))

        result = await ask_or_fall_back(
            self._client, call, use, lambda: self._fallback.answerer.answer(situation, _mute)
        )
        stream.advance_to(result.value.answer.text)
        return result


def _draft(form: AnswerForm, shown: Shown, seen: Sequence[int]) -> Draft:
    """The answer of a reply, each claim with the sentences of the passages that it cites."""
    claims, quotes = list[Claim](), list[Quote]()
    for claim in form.claims:
        said = claim.text.strip()
        sources = shown.cited(claim.evidence, seen)
        ids = [one.id for one in sources if isinstance(one, Evidence)]
        passages = [one for one in sources if isinstance(one, Passage)]
        for quote, passage in quotes_of(said, passages, shown.passages(seen)):
            quotes.append(quote)
            ids.append(evidence_id(passage.document_id, quote.start, quote.end))
        claims.append(Claim(text=said, evidence=tuple(dict.fromkeys(ids))))
    answer = Answer(text=form.answer.strip(), claims=tuple(claims), extractive=False)
    return Draft(answer=answer, quotes=tuple(quotes))


def _cited_by_code(text: str, question: str, passages: Sequence[Passage]) -> Draft:
    """A short answer, with the sentences that contain it as claims.

    Yes and no are in no sentence: those nearest to the question, of two passages, stand for them.
    """
    by_id = {one.id: one for one in passages}
    quotes = grounds(text, question, passages)
    if is_yes_or_no(text):
        near = (quote_of(question, one) for one in passages)
        quotes = tuple(islice((quote for quote in near if quote is not None), MOST_GROUNDS))
    claims = tuple(verbatim(quote, by_id[quote.passage_id]) for quote in quotes)
    return Draft(answer=Answer(text=text, claims=claims, extractive=False), quotes=quotes)


def _mute(delta: AnswerDelta) -> None:
    """Drops the fallback's deltas: `AnswerStream` streams its text in place of the reply's."""


class ClaimForm(Reply):
    """One sentence of the answer."""

    text: Annotated[str, Field(max_length=160)]
    evidence: Annotated[
        list[Annotated[int, Field(ge=1, le=400)]], Field(min_length=1, max_length=4)
    ]


class AnswerForm(Reply):
    """The answerer's reply. Abstaining is a matter of code: small models' flags say nothing."""

    claims: Annotated[list[ClaimForm], Field(min_length=1, max_length=4)]
    answer: Annotated[str, Field(max_length=120)]


class BriefForm(Reply):
    """A short answer and nothing else."""

    answer: Annotated[str, Field(max_length=120)]


_FORMS: dict[ClaimsBy, tuple[str, type[AnswerForm | BriefForm]]] = {
    "model": ("ask/answer", AnswerForm),
    "code": ("ask/answer_briefly", BriefForm),
}

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
        self._reply = ""
        self._streamed = StreamedAnswer()

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
        delta = self._streamed.delta_to(text)
        if delta is not None:
            self._streamed.hear(delta)
            self._on_delta(delta)

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
                if word.end() > len(self._streamed.text):
                    self.advance_to(text[: word.end()])
