"""Retries of one request to a model server, with backoff, out of a run's budget.

In a model call this comes after `llm.client` and before `runs.intercepted` and `llm.http`. Each
HTTP attempt is reserved in the ledger before it is made and settled after. Where a failed attempt
may have kept the model busy, its whole reservation counts.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
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
    Failure,
    Message,
    ScoredToken,
    ServerInfo,
    Thinking,
    bound_tokens,
    utf8_len,
)

T = TypeVar("T")

DeltaListener = Callable[[str | None], None]
"""Gets a reply's text as it comes; None: discard all text so far."""

_COUNT_TIMEOUT = 5.0
_PROMPT_SHARE = 1 / 16
"""Work of a prompt's token beside that of a token written: servers read faster than they write."""
_FIRST_PACE = 5.0
"""Tokens written a second that a server is given credit for before it has shown its pace."""
_PATIENCE = 3.0
"""A call may take this many times as long as the server's pace says."""
_LEAST_TIMEOUT = 30.0
_LOST: frozenset[Failure | None] = frozenset({"unavailable", "refused_by_server", "cancelled"})
_MOST_SLOW = 2
"""Calls in a row without a reply in time after which a server counts as lost."""
_COUNT_SAFETY = 8
"""Tokens added to a server's own count: versions differ in the special tokens they count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The sampling of a reply; greedy by default."""

    temperature: float = 0.0
    seed: int | None = None
    logprobs: int = 0
    """As in `ChatRequest`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSpec(Generic[T]):
    """The parameters of one `LLMClient.ask`, the same for all its attempts."""

    node: str
    form: ReplySchema[T]
    max_tokens: int
    """Most tokens of the reply itself; thoughts have their own limit."""
    min_tokens: int
    sampling: Sampling = Sampling()
    share: Share | None = None
    on_delta: DeltaListener | None = None
    thinking: Thinking = field(default_factory=Thinking)
    until: float = math.inf
    """Second of the run after which no attempt goes on."""

    def most_tokens(self, server: ServerInfo) -> int:
        """Most tokens of thoughts and reply together; thoughts that cannot be off count too."""
        thinks = self.thinking.on or server.thinks
        return self.max_tokens + (self.thinking.tokens if thinks else 0)


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
    tokens: tuple[ScoredToken, ...] = ()
    """Of the latest reply, where they were asked for."""
    thinking: bool = False
    """Whether the latest request asked for thoughts."""


class RetryingEndpoint:
    """An endpoint with retries, out of one budget.

    Args:
        endpoint: the server.
        ledger: the run's budget.
        sleep: waits between attempts.
        rng: draws the jitter of the waits.
        retries: attempts after the first, for each question put to the model.
        timeout: seconds an attempt may take, cut to what is left of the run; None: by the length
            of prompt and reply, and the pace that the server has shown.
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
        timeout: float | None = None,
        max_wait: float = 30.0,
    ) -> None:
        self.endpoint = endpoint
        self.ledger = ledger
        self.server: ServerInfo | None = None
        """The properties of the server, once a client has prepared it."""
        self.lost: Failure | None = None
        """Why further questions are useless in this run: the server is gone, or refuses us."""
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._retries = retries
        self._timeout = timeout
        self._max_wait = max_wait
        self._work, self._seconds, self._slow = 0.0, 0.0, 0

    def timeout(self, prompt_tokens: int, max_tokens: int) -> float:
        """Seconds that an attempt may take: three times what the server's pace makes likely."""
        if self._timeout is not None:
            return self._timeout
        pace = self._work / self._seconds if self._work and self._seconds > 0 else _FIRST_PACE
        work = prompt_tokens * _PROMPT_SHARE + max_tokens
        return max(_LEAST_TIMEOUT, _PATIENCE * work / pace)

    def note(self, failure: Failure | None) -> None:
        """Notes how a question ended; with some failures the server counts as lost."""
        if failure in _LOST:
            self.lost = failure
        elif failure == "too_slow":
            self._slow += 1
            if self._slow >= _MOST_SLOW:
                self.lost = "unavailable"

    async def reply(
        self,
        call: CallSpec[T],
        messages: tuple[Message, ...],
        server: ServerInfo,
        stats: CallStats,
        *,
        counted: int | None = None,
    ) -> ChatReply:
        """The reply to a request, after retries; it may be cut off or unreadable.

        Args:
            call: what is asked for.
            messages: the prompt.
            server: the properties of the server.
            stats: counts the attempts.
            counted: tokens of the messages by the server's count, if it was asked before.

        Raises:
            AttemptFailed: the last failure, when a retry is useless or would wait too long.
            OutOfBudget: nothing is left of a limit.
        """
        if counted is None:
            prompt_tokens, exact = await self.count(messages, call.form, server)
        else:
            prompt_tokens, exact = counted, True
        max_tokens = _window(call, prompt_tokens, exact, server)
        for number in itertools.count():
            announce_discard(call, stats)
            try:
                request = _request(call, messages, max_tokens, server)
                return await self._attempt(call, request, prompt_tokens, stats)
            except AttemptFailed as failed:
                stats.problems.append(str(failed))
                delay = self._delay(failed, number, call.until)
                if delay is None:
                    raise
            if delay > 0:
                await self._sleep(delay)
        raise AssertionError("unreachable")

    async def count(
        self, messages: Sequence[Message], form: ReplySchema[T], server: ServerInfo
    ) -> tuple[int, bool]:
        """Upper bound on the tokens of a prompt, and whether the server itself counted them."""
        count = await self.server_count(messages, server)
        if count is not None:
            return count, True
        return bound_of(messages, form, server), False

    async def server_count(self, messages: Sequence[Message], server: ServerInfo) -> int | None:
        """Upper bound on the tokens of a prompt by the server's count; None: it does not count."""
        if not server.tokenizes:
            return None
        limit = min(_COUNT_TIMEOUT, self.ledger.seconds_left())
        count = await self.endpoint.count_tokens(messages, timeout=limit)
        return None if count is None else count + _COUNT_SAFETY

    async def _attempt(
        self, call: CallSpec[T], request: ChatRequest, prompt_tokens: int, stats: CallStats
    ) -> ChatReply:
        """One attempt, reserved before and settled after."""
        timeout = self.timeout(prompt_tokens, request.max_tokens)
        reservation = self.ledger.reserve_call(
            node=call.node,
            prompt_tokens=prompt_tokens,
            completion_tokens=request.max_tokens,
            least=call.min_tokens,
            share=call.share,
            timeout=timeout,
        )
        granted = reservation.completion_tokens
        # With little more than a reply's tokens left, thoughts would use them up.
        thinking = call.thinking.on and granted > call.max_tokens + call.thinking.tokens // 4
        request = replace(request, max_tokens=granted, thinking=thinking)
        stats.attempts += 1
        stats.thinking = thinking
        left = self.ledger.seconds_left()
        limit = max(0.0, min(timeout, left, call.until - self.ledger.elapsed()))
        on_delta = _noting(call, stats)
        try:
            reply = await self.endpoint.attempt(request, timeout=limit, on_delta=on_delta)
        except AttemptFailed as failed:
            settle = self.ledger.forfeit if failed.spent else self.ledger.release
            stats.usage += settle(reservation)
            if failed.kind == "timeout" and limit == left:
                raise OutOfBudget("out_of_time") from failed
            raise
        except BaseException:  # cancelled: the tokens that the model made until then are not known
            self.ledger.forfeit(reservation)
            raise
        replied = bool(reply.text or reply.reasoning)
        stats.usage += self.ledger.settle(reservation, reply.usage, replied=replied)
        stats.without, stats.tokens = reply.without, reply.tokens
        self._slow = 0
        if reply.usage is not None:
            self._work += prompt_tokens * _PROMPT_SHARE + reply.usage.completion_tokens
            self._seconds += self.ledger.elapsed() - reservation.began
        if on_delta is not None and not stats.streamed:
            on_delta(reply.text)  # a reply from a recording comes whole
        return reply

    def _delay(self, failed: AttemptFailed, number: int, until: float) -> float | None:
        """Seconds to wait before the next attempt; None: no further attempt."""
        if not failed.retryable or number >= self._retries or failed.kind == "timeout":
            return None  # a server that was too slow would be so again, and do the work twice
        if failed.retry_after is not None:
            delay = failed.retry_after
        elif failed.kind == "bad_request" or (number == 0 and failed.kind == "connection"):
            delay = 0.0  # a field was dropped, or a kept-alive connection had gone
        else:
            delay = min(8.0, 0.5 * 2**number) * (0.5 + self._rng.random() / 2)
        left = min(self.ledger.seconds_left(), until - self.ledger.elapsed())
        too_long = delay > self._max_wait or delay >= left
        return None if too_long else delay


def bound_of(messages: Sequence[Message], form: ReplySchema[T], server: ServerInfo) -> int:
    """Upper bound on the tokens of a prompt, by its bytes."""
    bound = bound_tokens(messages)
    if form.schema is not None and server.enforces_schema:
        # Servers without a tokenizer endpoint may also put the schema into the prompt.
        bound += utf8_len(json.dumps(form.schema))
    return bound


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
        logprobs=call.sampling.logprobs,
    )


def _window(call: CallSpec[T], prompt_tokens: int, exact: bool, server: ServerInfo) -> int:
    """The tokens of the reply that the server's window has room for.

    Raises:
        AttemptFailed: the prompt is known not to fit; nothing was sent.
    """
    most = call.most_tokens(server)
    if server.max_model_len is None:
        return most
    window = server.max_model_len
    room = window - prompt_tokens
    if exact and room < call.min_tokens:
        raise AttemptFailed(
            "overlong",
            f"{prompt_tokens} tokens leave {room} of the server's {server.max_model_len}",
        )
    # A bound in bytes is a few times the true count: only the server knows if it is too long.
    return min(most, max(call.min_tokens, room))


def _noting(call: CallSpec[T], stats: CallStats) -> Callable[[str], None] | None:
    """The listener of a call, wrapped to note in `stats` that text was streamed."""
    listener = call.on_delta
    if listener is None:
        return None

    def on_delta(text: str) -> None:
        stats.streamed = True
        listener(text)

    return on_delta
