"""An endpoint that draws on a quota which many runs share."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from hoptrail.agents.budget.limits import Reservation
from hoptrail.agents.budget.quota import Quota
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


class QuotaEndpoint:
    """An endpoint whose attempts wait until a quota has room for them.

    The wait is part of the attempt, within its timeout: so it is in the recording of a run and in
    its seconds, and a replay needs no quota.
    """

    def __init__(self, endpoint: Endpoint, quota: Quota) -> None:
        self._endpoint = endpoint
        self._quota = quota

    async def attempt(
        self,
        request: ChatRequest,
        *,
        timeout: float,
        on_delta: Callable[[str], None] | None = None,
    ) -> ChatReply:
        """Waits for the quota, and sends the request once.

        Raises:
            AttemptFailed: there was no room within `timeout`, and nothing was sent; or as the
                endpoint itself.
        """
        began, most = time.monotonic(), _most(request)
        tokens = most.whole().tokens
        draw = await self._quota.draw(tokens, timeout=timeout)
        left = timeout - (time.monotonic() - began)
        late = AttemptFailed(
            "timeout", f"the quota had no room for it within {timeout:.1f} s", retryable=True
        )
        if draw is None:
            raise late
        try:
            if left <= 0:
                raise late
            reply = await self._endpoint.attempt(request, timeout=left, on_delta=on_delta)
            tokens = most.cost(reply.usage, replied=bool(reply.text))[0].tokens
        except AttemptFailed as failed:
            tokens = tokens if failed.spent else 0
            raise
        finally:
            self._quota.settle(draw, tokens)
        return reply

    async def count_tokens(self, messages: Sequence[Message], *, timeout: float) -> int | None:
        """As the endpoint: it runs no model."""
        return await self._endpoint.count_tokens(messages, timeout=timeout)

    async def info(self) -> ServerInfo:
        """As the endpoint."""
        return await self._endpoint.info()

    def learn(self, info: ServerInfo) -> None:
        """As the endpoint."""
        self._endpoint.learn(info)

    async def aclose(self) -> None:
        """As the endpoint."""
        await self._endpoint.aclose()


async def place_in(
    stack: AsyncExitStack, quota: Quota | None, seconds: float, cancel: asyncio.Event | None
) -> None:
    """Waits for the place of one question among those in flight.

    Where no place is free in time the question goes on without one: its time is over, so it ends at
    its first search with that as the reason. So does one that was cancelled meanwhile.

    Args:
        stack: gives the place back.
        quota: what is drawn on; None: nothing is.
        seconds: the longest wait.
        cancel: ends the wait.
    """
    if quota is None:
        return
    place = asyncio.ensure_future(stack.enter_async_context(quota.question(timeout=seconds)))
    wish = asyncio.ensure_future((cancel or asyncio.Event()).wait())
    try:
        await asyncio.wait({place, wish}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        wish.cancel()
        if not place.done():
            place.cancel()
            await asyncio.gather(place, return_exceptions=True)
    if not place.cancelled():
        place.result()


def _most(request: ChatRequest) -> Reservation:
    """The most that an attempt can cost."""
    schema = 0 if request.schema is None else utf8_len(json.dumps(dict(request.schema)))
    return Reservation(
        id=0,
        node="quota",
        kind="call",
        share=None,
        prompt_tokens=bound_tokens(request.messages) + schema,
        completion_tokens=request.max_tokens,
    )
