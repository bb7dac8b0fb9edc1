"""The reply to a question in OpenAI's form: whole, or as server-sent events."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from hoptrail.agents.events import Event
from hoptrail.app.server.api_errors import shown_error
from hoptrail.app.server.chat.openai_types import (
    ChatRequest,
    Completion,
    CompletionChoice,
    CompletionMessage,
    CompletionUsage,
)
from hoptrail.app.server.chat.progress_lines import Progress
from hoptrail.app.server.chat.question import Answered, Question
from hoptrail.app.server.chat.sources import CitedAnswer, cited_answer
from hoptrail.app.text import json_text, plural
from hoptrail.rag.text.tokens import count_tokens

Finish = Literal["stop", "length"]

_PIECE = 48
"""Characters of a piece of streamed text."""
_KEEP_ALIVE = 15.0
"""Seconds without an event after which a comment keeps the connection open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a client wants its answers."""

    listed: bool
    """Whether a list of sources ends them."""
    events: bool
    """Whether Open WebUI's events are streamed; else progress comes as `reasoning_content`."""
    drafts: bool
    """Whether a model's answer is shown while it is written, as `reasoning_content`: it is not
    checked yet."""
    beginnings: tuple[str, ...]
    """Of addresses that they may link to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer as far as it is sent: cut at a stop text or a number of tokens."""

    answer: CitedAnswer
    finish: Finish = "stop"
    usage: CompletionUsage
    extension: dict[str, Any] | None = None
    """The field `hoptrail`: the receipt's id, the outcome, why it stopped."""


def reply_to(answered: Answered, body: ChatRequest, style: Style) -> Reply:
    """The reply that a receipt is."""
    receipt = answered.receipt
    whole = cited_answer(receipt, answered.links, style.beginnings, listed=style.listed)
    answer, finish = limited(whole, body)
    prompt, completion = tokens_of(body, answer.text)
    if receipt.usage.calls:
        prompt = max(prompt, receipt.usage.prompt_tokens)
        completion = max(completion, receipt.usage.completion_tokens)
    return Reply(
        answer=answer,
        finish=finish,
        usage=_usage(prompt, completion),
        extension={
            "receipt_id": answered.receipt_id,
            "outcome": receipt.outcome.kind,
            "reason": receipt.outcome.reason,
            "stop": receipt.stop,
            "standalone_question": receipt.standalone or receipt.question,
        },
    )


def plain_reply(text: str, body: ChatRequest) -> Reply:
    """The reply that a text without sources is."""
    answer, finish = limited(CitedAnswer(text=text, marks=(), sources=()), body)
    return Reply(answer=answer, finish=finish, usage=_usage(*tokens_of(body, answer.text)))


def limited(answer: CitedAnswer, body: ChatRequest) -> tuple[CitedAnswer, Finish]:
    """The answer up to the first stop text and within its tokens, and why it ends there."""
    found = [at for at in (answer.text.find(stop) for stop in body.stops) if at >= 0]
    answer = answer.cut(min(found)) if found else answer
    if body.most_tokens is None or count_tokens(answer.text) <= body.most_tokens:
        return answer, "stop"
    low, high = 0, len(answer.text)  # the longest beginning that fits, by halving
    while high - low > 1:
        middle = (low + high) // 2
        if count_tokens(answer.text[:middle]) <= body.most_tokens:
            low = middle
        else:
            high = middle
    return answer.cut(low), "length"


def tokens_of(body: ChatRequest, text: str) -> tuple[int, int]:
    """Tokens of the conversation and of an answer, as cl100k_base counts them."""
    return sum(count_tokens(one.text) for one in body.messages), count_tokens(text)


def _usage(prompt: int, completion: int) -> CompletionUsage:
    total = prompt + completion
    return CompletionUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completions:
    """Writes one completion: as an object, or as the chunks of a stream."""

    body: ChatRequest
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, reply: Reply) -> Completion:
        """The completion that is not streamed."""
        message = CompletionMessage(
            content=reply.answer.text,
            annotations=[mark.annotation() for mark in reply.answer.marks],
        )
        return Completion(
            id=self.id,
            created=self.created,
            model=self.body.model,
            choices=[CompletionChoice(message=message, finish_reason=reply.finish)],
            usage=reply.usage,
            hoptrail=reply.extension,
        )

    async def streamed(self, question: Question, style: Style) -> AsyncIterator[str]:
        """The events of a question and then its answer; the question ends with the stream."""
        progress = Progress()
        try:
            yield self._delta({"role": "assistant", "content": ""})
            async for event in question.events(_KEEP_ALIVE):
                if told := self._told(event, progress, style):
                    yield told
            reply = reply_to(await question.answered(), self.body, style)
            if style.events:
                for chunk in self._source_events(reply.answer):
                    yield chunk
            for chunk in self._chunks(reply):
                yield chunk
        except Exception as error:  # the status line is out: the error is an event
            yield _data(shown_error(error).body())
            yield "data: [DONE]\n\n"
        finally:
            question.close()

    async def replayed(self, reply: Reply) -> AsyncIterator[str]:
        """A reply that is there already, as a stream."""
        yield self._delta({"role": "assistant", "content": ""})
        for chunk in self._chunks(reply):
            yield chunk

    def _chunks(self, reply: Reply) -> Iterator[str]:
        """The text of an answer, its annotations, and the end of the stream."""
        text = reply.answer.text
        for start in range(0, len(text), _PIECE):
            yield self._delta({"content": text[start : start + _PIECE]})
        if reply.answer.marks:
            marks = [mark.annotation() for mark in reply.answer.marks]
            yield self._delta({"annotations": marks})
        yield self._delta({}, finish=reply.finish, extension=reply.extension)
        if self.body.wants_usage:
            yield _data(self._chunk([]) | {"usage": reply.usage.model_dump()})
        yield "data: [DONE]\n\n"

    def _told(self, event: Event | None, progress: Progress, style: Style) -> str:
        """What a stream says of an event, or of its absence; empty: nothing."""
        if event is None:
            return ": keep-alive\n\n"
        if line := progress.line(event):
            if style.events:
                return _event("status", {"description": line, "done": False})
            return self._delta({"reasoning_content": f"{line}\n"})
        draft = progress.draft(event) if style.drafts else ""
        return self._delta({"reasoning_content": draft}) if draft else ""

    def _source_events(self, answer: CitedAnswer) -> Iterator[str]:
        """Open WebUI's events: the search is over, and each source in the order of citation."""
        documents = {source.evidence.document_id for source in answer.sources}
        quotes = plural(len(answer.sources), "quote")
        found = f"{quotes} from {plural(len(documents), 'document')}"
        yield _event("status", {"description": found, "done": True})
        for source in answer.sources:
            item = source.evidence
            place = {"source": source.url, "name": source.title, "url": source.url}
            yield _event(
                "source",
                {
                    "source": {"id": source.url, "name": source.title, "url": source.url},
                    "document": [source.quote],
                    "metadata": [{**place, "start": item.start, "end": item.end}],
                },
            )

    def _delta(
        self,
        delta: dict[str, Any],
        *,
        finish: Finish | None = None,
        extension: dict[str, Any] | None = None,
    ) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        more = {} if extension is None else {"hoptrail": extension}
        usage = {"usage": None} if self.body.wants_usage else {}
        return _data(self._chunk([choice]) | usage | more)

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.body.model,
            "choices": choices,
        }


def _event(kind: str, data: dict[str, Any]) -> str:
    return _data({"event": {"type": kind, "data": data}})


def _data(record: dict[str, Any]) -> str:
    return f"data: {json_text(record)}\n\n"
