"""Retries of one request to a model server, with backoff, out of a run's budget.

In a model call this comes after `llm.client` and before `runs.intercepted` and `llm.http`. Each
HTTP attempt is reserved in the ledger before it is made and settled after. Where a failed attempt
may have kept the model busy, its whole reservation counts.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from hoptrail.agents.budget.ledger import Ledger, OutOfBudget, Share, Usage
from hoptrail.agents.llm.reply_schema import ReplySchema
from hoptrail.agents.llm.types import (
    AttemptFailed,
    ChatReply,
    ChatRequest,
    Endpoint,
    Message,
    ServerInfo,
    bound_tokens,
    utf8_len,
)

T = TypeVar("T")

DeltaListener = Callable[[str | None], None]
"""Gets a reply's text as it comes; None: discard all text so far."""

_COUNT_TIMEOUT = 5.0
_COUNT_SAFETY = 8
"""Tokens added to a server's own count: versions differ in the special tokens they count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The sampling of a reply; greedy by default."""

    temperature: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSpec(Generic[T]):
    """The parameters of one `LLMClient.ask`, the same for all its attempts."""

    node: str
    form: ReplySchema[T]
    max_tokens: int
    min_tokens: int
    sampling: Sampling = Sampling()
    share: Share | None = None
    on_delta: DeltaListener | None = None


@dataclass(slots=True)
class CallStats:
    """The counters of one `LLMClient.ask` so far: attempts, re-asks, usage, problems."""

    attempts: int = 0
    re_asks: int = 0
    usage: Usage = field(default_factory=Usage)
    problems: list[str] = field(default_factory=list)
    streamed: bool = False
    """Whether text was streamed that may have to be discarded."""
    without: tuple[str, ...] = ()
    """Request fields that the server refused and the latest reply was made without."""


class RetryingEndpoint:
    """An endpoint with retries, out of one budget.

    Args:
        endpoint: the server.
        ledger: the run's budget.
        sleep: waits between attempts.
        rng: draws the jitter of the waits.
        retries: attempts after the first, for each question put to the model.
        timeout: seconds an attempt may take, cut to what is left of the run.
        max_wait: the longest wait a server may ask of us, in seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ledger: Ledger,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
        retries: int = 3,
        timeout: float = 60.0,
        max_wait: float = 30.0,
    ) -> None:
        self.endpoint = endpoint
        self.ledger = ledger
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._retries = retries
        self._timeout = timeout
        self._max_wait = max_wait

    async def reply(
        self, call: CallSpec[T], messages: tuple[Message, ...], server: ServerInfo, stats: CallStats
    ) -> ChatReply:
        """The reply to a request, after retries; it may be cut off or unreadable.

        Raises:
            AttemptFailed: the last failure, when a retry is useless or would wait too long.
            OutOfBudget: nothing is left of a limit.
        """
        prompt_tokens, exact = await self.count(messages, call.form, server)
        max_tokens = _window(call, prompt_tokens, exact, server)
        for number in itertools.count():
            announce_discard(call, stats)
            try:
                request = _request(call, messages, max_tokens, server)
                return await self._attempt(call, request, prompt_tokens, stats)
            except AttemptFailed as failed:
                stats.problems.append(str(failed))
                delay = self._delay(failed, number)
                if delay is None:
                    raise
            if delay > 0:
                await self._sleep(delay)
        raise AssertionError("unreachable")

    async def count(
        self, messages: Sequence[Message], form: ReplySchema[T], server: ServerInfo
    ) -> tuple[int, bool]:
        """Upper bound on the tokens of a prompt, and whether the server itself counted them."""
        if server.tokenizes:
            limit = min(_COUNT_TIMEOUT, self.ledger.seconds_left())
            count = await self.endpoint.count_tokens(messages, timeout=limit)
            if count is not None:
                return count + _COUNT_SAFETY, True
        bound = bound_tokens(messages)
        if form.schema is not None and server.enforces_schema:
            # Servers without a tokenizer endpoint may also put the schema into the prompt.
            bound += utf8_len(json.dumps(form.schema))
        return bound, False

    async def _attempt(
        self, call: CallSpec[T], request: ChatRequest, prompt_tokens: int, stats: CallStats
    ) -> ChatReply:
        """One attempt, reserved before and settled after."""
        reservation = self.ledger.reserve_call(
            node=call.node,
            prompt_tokens=prompt_tokens,
            completion_tokens=request.max_tokens,
            least=min(call.min_tokens, request.max_tokens),
            share=call.share,
            timeout=self._timeout,
        )
        request = replace(request, max_tokens=reservation.completion_tokens)
        stats.attempts += 1
        limit = min(self._timeout, self.ledger.seconds_left())
        on_delta = _noting(call, stats)
        try:
            reply = await self.endpoint.attempt(request, timeout=limit, on_delta=on_delta)
        except AttemptFailed as failed:
            stats.usage += (
                self.ledger.forfeit(reservation)
                if failed.spent
                else self.ledger.release(reservation)
            )
            if failed.kind == "timeout" and limit < self._timeout:
                raise OutOfBudget("out_of_time") from failed
            raise
        except BaseException:  # cancelled: the tokens that the model made until then are not known
            self.ledger.forfeit(reservation)
            raise
        stats.usage += self.ledger.settle(reservation, reply.usage, replied=bool(reply.text))
        stats.without = reply.without
        if on_delta is not None and not stats.streamed:
            on_delta(reply.text)  # a reply from a recording comes whole
        return reply

    def _delay(self, failed: AttemptFailed, number: int) -> float | None:
        """Seconds to wait before the next attempt; None: no further attempt."""
        if not failed.retryable or number >= self._retries:
            return None
        if failed.retry_after is not None:
            delay = failed.retry_after
        elif number == 0 and failed.kind in ("connection", "bad_request"):
            delay = 0.0  # a kept-alive connection had gone, or a field was dropped
        else:
            delay = min(8.0, 0.5 * 2**number) * (0.5 + self._rng.random() / 2)
        too_long = delay > self._max_wait or delay >= self.ledger.seconds_left()
        return None if too_long else delay


def announce_discard(call: CallSpec[T], stats: CallStats) -> None:
    """Tells the listener to discard the text streamed so far, if there was any."""
    if stats.streamed and call.on_delta is not None:
        stats.streamed = False
        call.on_delta(None)


def _request(
    call: CallSpec[T], messages: tuple[Message, ...], max_tokens: int, server: ServerInfo
) -> ChatRequest:
    return ChatRequest(
        messages=messages,
        schema=call.form.schema if server.enforces_schema else None,
        schema_name=call.form.name,
        max_tokens=max_tokens,
        temperature=call.sampling.temperature,
        seed=call.sampling.seed,
        stream=call.on_delta is not None,
    )


def _window(call: CallSpec[T], prompt_tokens: int, exact: bool, server: ServerInfo) -> int:
    """The tokens of the reply that the server's window has room for.

    Raises:
        AttemptFailed: the prompt is known not to fit; nothing was sent.
    """
    if server.max_model_len is None:
        return call.max_tokens
    window = server.max_model_len
    room = window - prompt_tokens
    if exact and room < call.min_tokens:
        raise AttemptFailed(
            "overlong",
            f"{prompt_tokens} tokens leave {room} of the server's {server.max_model_len}",
        )
    # A bound in bytes is a few times the true count: only the server knows if it is too long.
    return min(call.max_tokens, max(call.min_tokens, room))


def _noting(call: CallSpec[T], stats: CallStats) -> Callable[[str], None] | None:
    """The listener of a call, wrapped to note in `stats` that text was streamed."""
    listener = call.on_delta
    if listener is None:
        return None

    def on_delta(text: str) -> None:
        stats.streamed = True
        listener(text)

    return on_delta
