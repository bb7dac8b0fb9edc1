"""Asking a model for one thing: budget, retries, one re-ask, and a typed end.

Whatever the server or the model does comes back as an `Asked`; what to do without a value is the
business of the role that asked. Only `OutOfBudget` passes through, for the node to stop on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

from hoptrail.agents.budget.ledger import Budget, OutOfBudget, Share, Usage
from hoptrail.agents.budget.limits import less
from hoptrail.agents.llm.reply_schema import ParseProblem, ReplySchema, find_object
from hoptrail.agents.llm.retry import (
    CallSpec,
    CallStats,
    DeltaListener,
    RetryingEndpoint,
    Sampling,
    announce_void,
)
from hoptrail.agents.llm.types import AttemptFailed, ChatReply, FailureKind, Message, ServerInfo
from hoptrail.prompts.loader import Rendered
from hoptrail.rag.errors import ModelError

T = TypeVar("T")

Failure = Literal["parse", "length", "overlong", "refused_by_server", "unavailable", "cancelled"]

_FAILURES: dict[FailureKind, Failure] = {
    "connection": "unavailable",
    "timeout": "unavailable",
    "rate_limited": "unavailable",
    "server_error": "unavailable",
    "cancelled": "cancelled",
    "bad_request": "refused_by_server",
    "unauthorised": "refused_by_server",
    "unknown_model": "refused_by_server",
    "not_openai": "refused_by_server",
    "overlong": "overlong",
}

_LOST: frozenset[Failure | None] = frozenset({"unavailable", "refused_by_server", "cancelled"})

_QUOTED = 2_000
"""Characters of a bad reply that the re-ask quotes."""

_PROBE_WORD = "qzv7kx"
_PROBE_FORM: ReplySchema[str] = ReplySchema(
    name="probe",
    schema={
        "type": "object",
        "properties": {"word": {"type": "string", "enum": [_PROBE_WORD]}},
        "required": ["word"],
        "additionalProperties": False,
    },
    parse=str,
)
_PROBE_MESSAGES = (
    Message(role="user", content="What colour is a clear sky? Answer in one English sentence."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMResult(Generic[T]):
    """What came of asking."""

    value: T | None
    failure: Failure | None
    """Why there is no value; None when there is one."""
    attempts: int
    """HTTP attempts, retries and re-asks included."""
    re_asks: int
    """0 or 1."""
    usage: Usage
    model: str
    prompt_hash: str
    problems: tuple[str, ...]
    """What went wrong on the way, oldest first, for people."""
    without: tuple[str, ...] = ()
    """Fields of the request that the server refuses, `cache_salt` perhaps among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedPrompt:
    """A prompt that fits, and which blocks are in it (positions, in order)."""

    prompt: Rendered
    kept: tuple[int, ...]
    left_out: tuple[int, ...]
    by_budget: bool
    """What is left out found no room in the budget; False: in the server's window."""


class LLMClient:
    """Asks one server on behalf of one run. Call `prepare` before anything else.

    Args:
        exchange: attempts each request on the server, out of the run's budget.
    """

    def __init__(self, exchange: RetryingEndpoint) -> None:
        self._exchange = exchange
        self._endpoint = exchange.endpoint
        self._ledger = exchange.ledger
        self._server: ServerInfo | None = None
        self.lost: Failure | None = None
        """Why asking again is no use in this run: the server is gone, or refuses us."""

    @property
    def server(self) -> ServerInfo:
        """What is known of the server, once prepared."""
        assert self._server is not None, "prepare() comes first"
        return self._server

    @property
    def budget(self) -> Budget:
        """What all of the run may spend."""
        return self._ledger.budget

    async def prepare(self) -> ServerInfo:
        """Finds out what the server can do; the first run that asks pays for the probe.

        The probe proves that a schema binds: its only legal reply is a word no model would say by
        itself. Servers are known to ignore schemas they do not understand with HTTP 200. Where
        it cannot be afforded, or does not bind, prompts carry their schema as text.

        Raises:
            ModelError: the server cannot be used; the message says what to do.
        """
        info = await self._endpoint.info()
        if info.enforces_schema is None and self._ledger.left().calls > 1:
            try:
                info = replace(info, enforces_schema=await self._probe(info))
                self._endpoint.learn(info)
            except OutOfBudget:
                pass  # what is left is too little for a probe: the verdict stays open
            except AttemptFailed as failed:
                if failed.kind != "cancelled":  # then the next call to the outside says so
                    raise ModelError(
                        f"the model server does not answer: {failed}. Look at its log, check "
                        "address, key and model name, or ask without a model"
                    ) from failed
        self._server = info
        return info

    async def ask(
        self,
        *,
        node: str,
        prompt: Rendered,
        form: ReplySchema[T],
        max_tokens: int,
        min_tokens: int = 16,
        sampling: Sampling | None = None,
        share: Share | None = None,
        on_delta: DeltaListener | None = None,
    ) -> LLMResult[T]:
        """Asks until there is a value, a final failure, or no budget.

        Args:
            node: who asks, for the ledger.
            prompt: the messages.
            form: what the reply must look like.
            max_tokens: the most the reply may have; cut to what the budget and the server's
                window leave, but not below `min_tokens`.
            min_tokens: the fewest tokens that make asking worthwhile.
            sampling: how the reply is drawn; None: the likeliest.
            share: the part of the budget this is taken from.
            on_delta: gets the text as it comes, and None when all of it so far is void (a retry,
                a re-ask, no value in the end). The request is streamed when it is given.

        Raises:
            OutOfBudget: nothing is left of a limit; its `usage` is what this call had spent.
        """
        call = CallSpec(
            node=node,
            form=form,
            max_tokens=max_tokens,
            min_tokens=min(min_tokens, max_tokens),
            sampling=sampling or Sampling(),
            share=share,
            on_delta=on_delta,
        )
        tally = CallStats()
        began = self._ledger.elapsed()
        try:
            read = await self._until_read(call, self._messages(prompt, form), tally)
        except OutOfBudget as stop:
            announce_void(call, tally)
            raise OutOfBudget(stop.stop, tally.usage) from stop
        value, failure = read
        if failure is not None:
            announce_void(call, tally)
        if failure in _LOST:
            self.lost = failure
        return LLMResult(
            value=value,
            failure=failure,
            attempts=tally.attempts,
            re_asks=tally.re_asks,
            usage=replace(tally.usage, seconds=self._ledger.elapsed() - began),
            model=self.server.model,
            prompt_hash=prompt.hash,
            problems=tuple(tally.problems),
            without=tally.without,
        )

    async def fit(
        self,
        render: Callable[[Sequence[str]], Rendered],
        blocks: Sequence[str],
        *,
        form: ReplySchema[T],
        max_tokens: int,
        share: Share | None = None,
    ) -> FittedPrompt:
        """Puts into a prompt the blocks that the server's window and the budget have room for.

        Args:
            render: makes the prompt from the blocks chosen.
            blocks: best first; one that does not fit is left out and later ones are tried.
            form: what will be asked for.
            max_tokens: tokens kept free for the reply.
            share: the part of the budget that will be asked from.
        """
        room = left = self._ledger.left(share).tokens
        if self.server.max_model_len is not None:
            room = min(room, self.server.max_model_len)
        room -= max_tokens
        kept: list[int] = []
        if await self._fits(render(blocks), form, room):
            kept = list(range(len(blocks)))
        else:
            for position in range(len(blocks)):
                tried = render([blocks[i] for i in (*kept, position)])
                if await self._fits(tried, form, room):
                    kept.append(position)
        return FittedPrompt(
            prompt=render([blocks[i] for i in kept]),
            kept=tuple(kept),
            left_out=tuple(sorted(set(range(len(blocks))) - set(kept))),
            by_budget=self.server.max_model_len is None or left < self.server.max_model_len,
        )

    async def longest(
        self, prompts: Iterable[Rendered], *, form: ReplySchema[T], max_tokens: int
    ) -> Rendered:
        """The first of some prompts that the server's window has room for, beside the reply.

        The last one where none is known to fit: a server that does not count may yet take it.

        Args:
            prompts: longest first, at least one.
            form: what will be asked for.
            max_tokens: tokens kept free for the reply.
        """
        window = self.server.max_model_len
        prompt: Rendered | None = None
        for prompt in prompts:
            if window is None or await self._fits(prompt, form, window - max_tokens):
                break
        assert prompt is not None, "no prompt"
        return prompt

    def shares(self, n: int, keep: Usage) -> tuple[Share, ...]:
        """What is left, less what is kept for later, divided among `n` that ask side by side."""
        return less(self._ledger.divide(n), keep)

    async def _until_read(
        self, call: CallSpec[T], messages: tuple[Message, ...], tally: CallStats
    ) -> tuple[T | None, Failure | None]:
        """Exchanges and reads, and exchanges once more when a reply cannot be read."""
        failure: Failure | None = None
        for tally.re_asks in (0, 1):
            try:
                reply = await self._exchange.reply(call, messages, self.server, tally)
            except AttemptFailed as failed:
                # A re-ask is longer than what it repeats; that it no longer fits is no news.
                repeated = failure if failed.kind == "overlong" else None
                return None, repeated or _FAILURES[failed.kind]
            read = _read(call.form, reply)
            if not isinstance(read, ParseProblem):
                return read, None
            tally.problems.append(read.reason)
            failure = "length" if reply.finish_reason == "length" else "parse"
            messages = (*messages, *_re_ask(reply, read))
        return None, failure

    def _messages(self, prompt: Rendered, form: ReplySchema[Any]) -> tuple[Message, ...]:
        """The messages to send; with the schema as text where the server does not enforce it."""
        messages = [Message(role=role, content=content) for role, content in prompt.messages]
        if form.schema is not None and not self.server.enforces_schema:
            schema = json.dumps(form.schema, ensure_ascii=False, separators=(",", ":"))
            messages[-1] = replace(
                messages[-1],
                content=f"{messages[-1].content}\n\nReply with one JSON object that fits this "
                f"JSON Schema, and with nothing else:\n{schema}",
            )
        return tuple(messages)

    async def _fits(self, prompt: Rendered, form: ReplySchema[Any], room: int) -> bool:
        """Whether a prompt has at most `room` tokens; the server counts if bytes prove nothing."""
        messages = self._messages(prompt, form)
        unasked = replace(self.server, tokenizes=False)
        for server in (unasked, self.server):
            count, _ = await self._exchange.count(messages, form, server)
            if count <= room:
                return True
        return False

    async def _probe(self, info: ServerInfo) -> bool:
        """Whether the server forces replies into a schema."""
        call = CallSpec(node="prepare", form=_PROBE_FORM, max_tokens=64, min_tokens=64)
        binding = replace(info, enforces_schema=True)
        try:
            reply = await self._exchange.reply(call, _PROBE_MESSAGES, binding, CallStats())
        except AttemptFailed as failed:
            if failed.kind != "bad_request":
                raise
            # It may refuse schemas, or all that we send: without a schema it has to answer.
            free = replace(info, enforces_schema=False)
            await self._exchange.reply(call, _PROBE_MESSAGES, free, CallStats())
            return False
        found = find_object(reply.text)
        return reply.finish_reason != "length" and found == {"word": _PROBE_WORD}


def _read(form: ReplySchema[T], reply: ChatReply) -> T | ParseProblem:
    """The value of a reply; one that was cut off is never read."""
    if reply.finish_reason == "length":
        return ParseProblem(reason="the reply was cut off before its end: be much briefer")
    return form.parse(reply.text)


def _re_ask(reply: ChatReply, problem: ParseProblem) -> tuple[Message, Message]:
    """The bad reply and what was wrong with it."""
    return (
        Message(role="assistant", content=reply.text[:_QUOTED] or "(nothing)"),
        Message(
            role="user",
            content=f"That reply cannot be used: {problem.reason}. "
            "Reply again, in the form that was asked for and with nothing else.",
        ),
    )
