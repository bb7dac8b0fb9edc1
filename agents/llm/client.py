"""The client of a served model: fits a prompt, asks, reads the reply, re-asks once.

A model call passes `roles` → `roles.fallback` → `llm.client` (here) → `llm.retry` (attempts out of
a budget) → `runs.intercepted` (cuts, records, replays) → `llm.http` (one HTTP attempt) →
`llm.openai_format` (bytes). Its failure is an `LLMResult` without a value; `OutOfBudget` is raised.
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
    announce_discard,
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
    """The result of one question to a model: a value, or the failure; attempts, usage, problems."""

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
    """The problems of all attempts, oldest first, for people."""
    without: tuple[str, ...] = ()
    """Fields of the request that the server refuses, `cache_salt` perhaps among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedPrompt:
    """A prompt cut to the window and the budget, with the positions of its blocks, in order."""

    prompt: Rendered
    kept: tuple[int, ...]
    left_out: tuple[int, ...]
    by_budget: bool
    """Whether the budget left too little room for the rest; False: the server's window did."""


class LLMClient:
    """The client of one server for one run. Call `prepare` before anything else.

    Args:
        endpoint: attempts each request on the server, out of the run's budget.
    """

    def __init__(self, endpoint: RetryingEndpoint) -> None:
        self._retrying = endpoint
        self._endpoint = endpoint.endpoint
        self._ledger = endpoint.ledger
        self._server: ServerInfo | None = None
        self.lost: Failure | None = None
        """Why further questions are useless in this run: the server is gone, or refuses us."""

    @property
    def server(self) -> ServerInfo:
        """The properties of the server, once prepared."""
        assert self._server is not None, "prepare() comes first"
        return self._server

    @property
    def budget(self) -> Budget:
        """The budget of the whole run."""
        return self._ledger.budget

    async def prepare(self) -> ServerInfo:
        """Probes whether the server enforces schemas; the first run that asks pays for the probe.

        The only reply that the probe's schema allows is a word that no model would write by itself:
        some servers ignore schemas that they do not understand, with HTTP 200. Where the budget
        is too small for the probe, or the schema is not enforced, prompts carry it as text.

        Raises:
            ModelError: the server cannot be used; the message says what to do.
        """
        info = await self._endpoint.info()
        if info.enforces_schema is None and self._ledger.left().calls > 1:
            try:
                info = replace(info, enforces_schema=await self._probe(info))
                self._endpoint.learn(info)
            except OutOfBudget:
                pass  # too little budget is left for a probe: `enforces_schema` stays open
            except AttemptFailed as failed:
                if failed.kind != "cancelled":  # if it is, the next external call raises it
                    raise ModelError(
                        f"The model server does not answer: {failed}. Look at its log, check "
                        "address, key and model name, or ask without a model."
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
            node: the node that asks, for the ledger.
            prompt: the messages.
            form: the schema and the reader of the reply.
            max_tokens: the most the reply may have; cut to what the budget and the server's
                window leave, but not below `min_tokens`.
            min_tokens: the fewest tokens that make asking worthwhile.
            sampling: temperature and seed; None: greedy.
            share: the part of the budget this is taken from.
            on_delta: gets the text as it comes, and None when all of it so far is discarded (a
                retry, a re-ask, no value in the end). The request is streamed when it is given.

        Raises:
            OutOfBudget: nothing is left of a limit; its `usage` is the spending of this call.
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
        stats = CallStats()
        began = self._ledger.elapsed()
        try:
            read = await self._until_read(call, self._messages(prompt, form), stats)
        except OutOfBudget as stop:
            announce_discard(call, stats)
            raise OutOfBudget(stop.stop, stats.usage) from stop
        value, failure = read
        if failure is not None:
            announce_discard(call, stats)
        if failure in _LOST:
            self.lost = failure
        return LLMResult(
            value=value,
            failure=failure,
            attempts=stats.attempts,
            re_asks=stats.re_asks,
            usage=replace(stats.usage, seconds=self._ledger.elapsed() - began),
            model=self.server.model,
            prompt_hash=prompt.hash,
            problems=tuple(stats.problems),
            without=stats.without,
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
        """The prompt with the blocks that the server's window and the budget have room for.

        Args:
            render: makes the prompt from the blocks chosen.
            blocks: best first; one that does not fit is left out and later ones are tried.
            form: the reply schema of the question to come.
            max_tokens: tokens kept free for the reply.
            share: the part of the budget that the question will be taken from.
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
        """The first of several prompts that fits the server's window together with its reply.

        The last one where none is known to fit: the bound in bytes is high, so it may fit.

        Args:
            prompts: longest first, at least one.
            form: the reply schema of the question to come.
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
        """The remaining budget less `keep`, divided among `n` parallel questions."""
        return less(self._ledger.divide(n), keep)

    async def _until_read(
        self, call: CallSpec[T], messages: tuple[Message, ...], stats: CallStats
    ) -> tuple[T | None, Failure | None]:
        """Requests and reads a reply, and requests once more when the reply cannot be read."""
        failure: Failure | None = None
        for stats.re_asks in (0, 1):
            try:
                reply = await self._retrying.reply(call, messages, self.server, stats)
            except AttemptFailed as failed:
                # A re-ask is longer: where it alone does not fit, the first failure is reported.
                repeated = failure if failed.kind == "overlong" else None
                return None, repeated or _FAILURES[failed.kind]
            read = _read(call.form, reply)
            if not isinstance(read, ParseProblem):
                return read, None
            stats.problems.append(read.reason)
            failure = "length" if reply.finish_reason == "length" else "parse"
            messages = (*messages, *_re_ask(reply, read))
        return None, failure

    def _messages(self, prompt: Rendered, form: ReplySchema[Any]) -> tuple[Message, ...]:
        """The messages of a prompt, with the schema as text where the server enforces none."""
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
        """Whether a prompt has at most `room` tokens, by its bytes or by the server's count."""
        messages = self._messages(prompt, form)
        by_bytes = replace(self.server, tokenizes=False)
        for server in (by_bytes, self.server):
            count, _ = await self._retrying.count(messages, form, server)
            if count <= room:
                return True
        return False

    async def _probe(self, info: ServerInfo) -> bool:
        """Whether the server enforces a schema on its replies."""
        call = CallSpec(node="prepare", form=_PROBE_FORM, max_tokens=64, min_tokens=64)
        binding = replace(info, enforces_schema=True)
        try:
            reply = await self._retrying.reply(call, _PROBE_MESSAGES, binding, CallStats())
        except AttemptFailed as failed:
            if failed.kind != "bad_request":
                raise
            # It may refuse schemas, or all our requests: one without a schema decides.
            free = replace(info, enforces_schema=False)
            await self._retrying.reply(call, _PROBE_MESSAGES, free, CallStats())
            return False
        found = find_object(reply.text)
        return reply.finish_reason != "length" and found == {"word": _PROBE_WORD}


def _read(form: ReplySchema[T], reply: ChatReply) -> T | ParseProblem:
    """The value of a reply; a reply that was cut off is never read."""
    if reply.finish_reason == "length":
        return ParseProblem(reason="the reply was cut off before its end: be much briefer")
    return form.parse(reply.text)


def _re_ask(reply: ChatReply, problem: ParseProblem) -> tuple[Message, Message]:
    """The messages of a re-ask: the bad reply, and the problem with it."""
    return (
        Message(role="assistant", content=reply.text[:_QUOTED] or "(nothing)"),
        Message(
            role="user",
            content=f"That reply cannot be used: {problem.reason}. "
            "Reply again, in the form that was asked for and with nothing else.",
        ),
    )
