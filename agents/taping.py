"""The served model as a run sees it: each attempt and each pause passes the run's tape."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from hoptrail.agents.llm.delimiters import Fence
from hoptrail.agents.llm.types import (
    AttemptFailed,
    ChatReply,
    ChatRequest,
    Endpoint,
    Message,
    ServerInfo,
)
from hoptrail.agents.outside import Absent
from hoptrail.agents.tape import Call, Cancelled, Tape

_REPLY = TypeAdapter(ChatReply)
_INFO = TypeAdapter(ServerInfo)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A request as a recording shows it: the fence's word hidden."""

    fence: Fence

    def messages(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        """Each message as a record of role and content."""
        return [{"role": m.role, "content": self.fence.hide(m.content)} for m in messages]

    def request(self, request: ChatRequest) -> dict[str, object]:
        """Everything that decides the reply."""
        return {
            "messages": self.messages(request.messages),
            "schema": request.schema,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }


wait = asyncio.sleep
"""What a pause waits by; tests put a clock of their own here."""


async def pause(tape: Tape, seconds: float) -> None:
    """Waits between two attempts; a replay does not, and a cancellation ends it.

    Raises:
        AttemptFailed: the run was cancelled.
    """
    call: Call[None] = Call(
        kind="clock.pause",
        arguments=dict,
        live=lambda: wait(seconds),
        encode=lambda _: None,
        decode=lambda _: None,
    )
    try:
        await tape.through(call)
    except Cancelled:
        raise AttemptFailed("cancelled", "the run was cancelled") from None


class TapedEndpoint:
    """An endpoint whose every call passes a tape; a cancelled attempt is a failed one."""

    def __init__(self, endpoint: Endpoint, tape: Tape, fence: Fence) -> None:
        self._endpoint = endpoint
        self._tape = tape
        self._shown = _Shown(fence=fence)
        self._learnt: ServerInfo | None = None

    async def attempt(
        self,
        request: ChatRequest,
        *,
        timeout: float,
        on_delta: Callable[[str], None] | None = None,
    ) -> ChatReply:
        """Sends the request once."""
        call = Call(
            kind="endpoint.attempt",
            arguments=lambda: self._shown.request(request),
            live=lambda: self._hidden(request, timeout, on_delta),
            encode=lambda reply: _REPLY.dump_python(reply, mode="json"),
            decode=_REPLY.validate_python,
        )
        try:
            return await self._tape.through(call)
        except Cancelled:
            raise AttemptFailed("cancelled", "the run was cancelled", spent=True) from None

    async def _hidden(
        self, request: ChatRequest, timeout: float, on_delta: Callable[[str], None] | None
    ) -> ChatReply:
        """The live reply or failure; a fence's word that the server repeats goes no further."""
        hide = self._shown.fence.hide
        try:
            reply = await self._endpoint.attempt(request, timeout=timeout, on_delta=on_delta)
        except AttemptFailed as failed:
            raise AttemptFailed(
                failed.kind,
                hide(failed.detail),
                retryable=failed.retryable,
                retry_after=failed.retry_after,
                spent=failed.spent,
            ) from None
        return replace(reply, text=hide(reply.text))

    async def count_tokens(self, messages: Sequence[Message], *, timeout: float) -> int | None:
        """Tokens of the messages, as the server counts them."""
        call = Call(
            kind="endpoint.count_tokens",
            arguments=lambda: {"messages": self._shown.messages(messages)},
            live=lambda: self._endpoint.count_tokens(messages, timeout=timeout),
            encode=lambda count: count,
            decode=lambda count: None if count is None else int(count),
        )
        try:
            return await self._tape.through(call)
        except Cancelled:
            return None

    async def info(self) -> ServerInfo:
        """What is known of the server."""
        if self._learnt is None:
            self._learnt = await self._tape.through(
                Call(
                    kind="endpoint.info",
                    arguments=dict,
                    live=self._endpoint.info,
                    encode=lambda info: _INFO.dump_python(info, mode="json"),
                    decode=_INFO.validate_python,
                )
            )
        return self._learnt

    def learn(self, info: ServerInfo) -> None:
        """Remembers what a probe has shown, here and where later runs will ask."""
        self._learnt = info
        if not isinstance(self._endpoint, Absent):
            self._endpoint.learn(info)

    async def aclose(self) -> None:
        """Leaves the endpoint open: it is its owner's to close."""
