"""The client of a served model: fits a prompt, asks, reads the reply, re-asks once.

A model call passes `roles` → `roles.fallback` → `llm.client` (here) → `llm.retry` (attempts out of
a budget) → `runs.intercepted` (cuts, records, replays) → `llm.http` (one HTTP attempt) →
`llm.openai_format` (bytes). Its failure is an `LLMResult` without a value; `OutOfBudget` is raised.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from hoptrail.agents.budget.ledger import Budget, OutOfBudget, Share, Usage
from hoptrail.agents.budget.limits import less
from hoptrail.agents.llm.probe import probed
from hoptrail.agents.llm.prompt_fit import FittedPrompt, Fitter
from hoptrail.agents.llm.reply_schema import ParseProblem, ReplySchema, has_thoughts, read_reply
from hoptrail.agents.llm.reply_text import without_thoughts
from hoptrail.agents.llm.retry import (
    CallSpec,
    CallStats,
    DeltaListener,
    RetryingEndpoint,
    Sampling,
    announce_discard,
    bound_of,
)
from hoptrail.agents.llm.types import (
    AttemptFailed,
    ChatReply,
    Failure,
    FailureKind,
    Message,
    ModelUnavailable,
    ScoredToken,
    ServerInfo,
    Thinking,
)
from hoptrail.prompts.control_tokens import broken_up
from hoptrail.prompts.loader import Rendered
from hoptrail.rag.errors import ModelError

T = TypeVar("T")

_FAILURES: dict[FailureKind, Failure] = {
    "connection": "unavailable",
    "timeout": "too_slow",
    "rate_limited": "unavailable",
    "server_error": "unavailable",
    "cancelled": "cancelled",
    "bad_request": "refused_by_server",
    "unauthorised": "refused_by_server",
    "unknown_model": "refused_by_server",
    "not_openai": "refused_by_server",
    "overlong": "overlong",
    "oversized": "length",
    "content_filter": "content_filter",
    "endpoint_error": "endpoint_error",
}

_QUOTED = 2_000
"""Characters of a bad reply that the re-ask quotes."""


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
    tokens: tuple[ScoredToken, ...] = ()
    """Of the reply that was read, where they were asked for and the server gives them."""


class LLMClient:
    """The client of one server for one role, or several, of a run. Call `prepare` first.

    Args:
        endpoint: attempts each request on the server, out of the run's budget. The clients of
            several roles may share it, and then what it knows of the server.
        thinking: whether the model may think before it replies, and how long.
    """

    def __init__(self, endpoint: RetryingEndpoint, *, thinking: Thinking | None = None) -> None:
        self._retrying = endpoint
        self._endpoint = endpoint.endpoint
        self._ledger = endpoint.ledger
        self._thinking = thinking or Thinking()

    @property
    def server(self) -> ServerInfo:
        """The properties of the server, once prepared."""
        assert self._retrying.server is not None, "prepare() comes first"
        return self._retrying.server

    @property
    def lost(self) -> Failure | None:
        """Why further questions are useless in this run: the server is gone, or refuses us."""
        return self._retrying.lost

    @property
    def budget(self) -> Budget:
        """The budget of the whole run."""
        return self._ledger.budget

    async def prepare(self, *, seconds: float = math.inf) -> ServerInfo:
        """Probes whether the server enforces schemas; the first run that asks pays for the probe.

        The only reply that the probe's schema allows is a word that no model would write by itself:
        some servers ignore schemas that they do not understand, with HTTP 200. Where the budget
        is too small for the probe, or the schema is not enforced, prompts carry it as text.

        Args:
            seconds: the longest that the probe may take.

        Raises:
            ModelError: the server cannot be used; the message says what to do.
            ModelUnavailable: it does not answer in time.
        """
        until = self._ledger.elapsed() + seconds
        info = await self._endpoint.info()
        if info.enforces_schema is None and self._ledger.left().calls > 1:
            try:
                info = await probed(self._retrying, info, self._thinking, until)
                self._endpoint.learn(info)
            except OutOfBudget:
                pass  # too little budget is left for a probe: `enforces_schema` stays open
            except AttemptFailed as failed:
                if failed.kind != "cancelled":  # if it is, the next external call raises it
                    late = failed.kind in ("timeout", "endpoint_error")
                    raise (ModelUnavailable if late else ModelError)(
                        f"The model server does not answer: {failed}. Look at its log, check "
                        "address, key and model name, or ask without a model."
                    ) from failed
        self._retrying.server = info
        return info

    async def ask(
        self,
        *,
        node: str,
        prompt: Rendered | FittedPrompt,
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
            prompt: the messages; what `fit` made of them is not counted again.
            form: the schema and the reader of the reply.
            max_tokens: the most the reply may have, thoughts aside; cut to what the budget and
                the server's window leave, but not below `min_tokens`.
            min_tokens: the fewest tokens that make asking worthwhile.
            sampling: temperature and seed, and log probabilities; None: greedy, without these.
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
            thinking=self._thinking,
        )
        fitted = prompt if isinstance(prompt, FittedPrompt) else FittedPrompt(prompt=prompt)
        stats, began = CallStats(), self._ledger.elapsed()
        try:
            read = await self._until_read(call, fitted, stats)
        except OutOfBudget as stop:
            announce_discard(call, stats)
            raise OutOfBudget(stop.stop, stats.usage) from stop
        value, failure = read
        if failure is not None:
            announce_discard(call, stats)
        self._retrying.note(failure)
        return LLMResult(
            value=value,
            failure=failure,
            attempts=stats.attempts,
            re_asks=stats.re_asks,
            usage=replace(stats.usage, seconds=self._ledger.elapsed() - began),
            model=self.server.model,
            prompt_hash=fitted.prompt.hash,
            problems=tuple(stats.problems),
            without=stats.without,
            tokens=stats.tokens,
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
        window = self.server.max_model_len
        if window is not None:
            room = min(room, window)
        fitted = await self._fitter(form, room - max_tokens).blocks(render, blocks)
        return replace(fitted, by_budget=window is None or left < window)

    async def longest(
        self, prompts: Iterable[Rendered], *, form: ReplySchema[T], max_tokens: int
    ) -> FittedPrompt:
        """The first of several prompts that fits the server's window together with its reply.

        The last one where none is known to fit: the bound in bytes is high, so it may fit.

        Args:
            prompts: longest first, at least one.
            form: the reply schema of the question to come.
            max_tokens: tokens kept free for the reply.
        """
        window = self.server.max_model_len
        if window is None:
            return FittedPrompt(prompt=next(iter(prompts)))
        return await self._fitter(form, window - max_tokens).first(prompts)

    def shares(self, n: int, keep: Usage) -> tuple[Share, ...]:
        """The remaining budget less `keep`, divided among `n` parallel questions."""
        return less(self._ledger.divide(n), keep)

    async def _until_read(
        self, call: CallSpec[T], prompt: FittedPrompt, stats: CallStats
    ) -> tuple[T | None, Failure | None]:
        """Requests and reads a reply, and requests once more when the reply cannot be read."""
        failure: Failure | None = None
        server = self.server
        messages, counted = self._messages(prompt.prompt, call.form), prompt.tokens
        for stats.re_asks in (0, 1):
            try:
                reply = await self._retrying.reply(call, messages, server, stats, counted=counted)
            except AttemptFailed as failed:
                # A re-ask is longer: where it alone does not fit, the first failure is reported.
                repeated = failure if failed.kind == "overlong" else None
                return None, repeated or _FAILURES[failed.kind]
            read = read_reply(call.form, reply, thinking=stats.thinking)
            if not isinstance(read, ParseProblem):
                return read, None
            stats.problems.append(read.reason)
            failure = "length" if reply.finish_reason == "length" else "parse"
            messages, counted = (*messages, *_re_ask(reply, read)), None
            if failure == "length" and has_thoughts(call.form, reply):
                # Again without thoughts; if they cannot be switched off, with room for them.
                call = replace(call, thinking=replace(call.thinking, on=False))
                server = replace(server, thinks=True)
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

    def _fitter(self, form: ReplySchema[Any], room: int) -> Fitter:
        """What cuts prompts to a room, of which thoughts take no more than a quarter."""
        server = self.server
        thinks = self._thinking.on or server.thinks
        thoughts = min(self._thinking.tokens, max(0, room) // 4) if thinks else 0
        return Fitter(
            room=room - thoughts,
            bound=lambda prompt: bound_of(self._messages(prompt, form), form, server),
            count=lambda prompt: self._retrying.server_count(self._messages(prompt, form), server),
        )


def _re_ask(reply: ChatReply, problem: ParseProblem) -> tuple[Message, Message]:
    """The messages of a re-ask: the bad reply, and the problem with it."""
    briefer = "Be much briefer. " if reply.finish_reason == "length" else ""
    said = without_thoughts(reply.text) or reply.text.strip()
    return (
        Message(role="assistant", content=broken_up(said[:_QUOTED]) or "(nothing)"),
        Message(
            role="user",
            content=f"That reply cannot be used: {problem.reason}. {briefer}"
            "Reply again, in the form that was asked for and with nothing else.",
        ),
    )
