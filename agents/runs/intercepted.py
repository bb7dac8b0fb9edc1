"""Corpus and endpoint behind the interceptor: each call to them is cut, recorded or replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from inspect import Signature, iscoroutinefunction, signature
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter

from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.types import (
    AttemptFailed,
    ChatReply,
    ChatRequest,
    Endpoint,
    Message,
    ServerInfo,
)
from hoptrail.agents.runs.interceptor import Cancelled, ExternalCall, Interceptor

_AFTER_CANCEL = frozenset({"generation", "language", "passages", "slice", "tree_passages"})
"""Reads that are let through after a cancellation: see `ExternalCall.after_cancel`."""
_NOT_RECORDED = frozenset({"stand", "timeout"})
"""Parameters that do not decide the result: a handle of this process, and a deadline."""


class NotInReplay:
    """Stands in for corpus and endpoint during a replay.

    Any call means that the recording lacks one, and raises AssertionError.
    """

    def __getattr__(self, name: str) -> Callable[..., object]:
        """A method that fails when it is called."""

        def reached(*_arguments: object, **_options: object) -> object:
            raise AssertionError(f"A replay called {name!r}, which its recording lacks.")

        return reached


def intercepted_corpus(corpus: Corpus, interceptor: Interceptor) -> Corpus:
    """A corpus whose every call passes an interceptor, under the kind `corpus.METHOD`."""
    return cast(Corpus, _InterceptedCorpus(corpus, interceptor))


class _InterceptedCorpus:
    """The methods of `Corpus`, each made from its signature: nothing is stated a second time."""

    def __init__(self, corpus: Corpus, interceptor: Interceptor) -> None:
        self._corpus = corpus
        self._interceptor = interceptor

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        """The method of that name, intercepted."""
        if name not in _methods():
            raise AttributeError(name)
        method, live = _methods()[name], getattr(self._corpus, name)

        def call(*values: Any, timeout: float, **named: Any) -> Awaitable[Any]:  # noqa: ANN401
            return self._interceptor.call(
                ExternalCall(
                    kind=f"corpus.{name}",
                    arguments=lambda: method.arguments(*values, timeout=timeout, **named),
                    # Cut here as well: a corpus of the user's own may not keep its deadlines.
                    live=lambda: asyncio.wait_for(live(*values, timeout=timeout, **named), timeout),
                    encode=lambda result: method.result.dump_python(result, mode="json"),
                    decode=method.result.validate_python,
                    after_cancel=name in _AFTER_CANCEL,
                )
            )

        return call


@dataclass(frozen=True, slots=True, kw_only=True)
class _Method:
    """A method of `Corpus`: how its parameters are called, and its result as JSON and back."""

    signature: Signature
    result: TypeAdapter[Any]

    def arguments(self, *values: object, **named: object) -> dict[str, object]:
        """What decides the result, by name; lists and objects as JSON has them."""
        given = self.signature.bind(None, *values, **named).arguments.items()
        return {
            name: dict(value) if isinstance(value, Mapping) else _listed(value)
            for name, value in list(given)[1:]
            if name not in _NOT_RECORDED
        }


def _listed(value: object) -> object:
    is_sequence = isinstance(value, Sequence) and not isinstance(value, str)
    return list(value) if is_sequence else value  # type: ignore[call-overload]


@cache
def _methods() -> Mapping[str, _Method]:
    """Every method of the protocol, by name."""
    return {
        name: _Method(
            signature=signature(function), result=TypeAdapter(get_type_hints(function)["return"])
        )
        for name, function in vars(Corpus).items()
        if iscoroutinefunction(function)
    }


_REPLY = TypeAdapter(ChatReply)
_INFO = TypeAdapter(ServerInfo)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A request as a recording shows it: the delimiters' secret word hidden."""

    delimiters: Delimiters

    def messages(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        """Each message as a record of role and content."""
        return [{"role": m.role, "content": self.delimiters.hide(m.content)} for m in messages]

    def request(self, request: ChatRequest) -> dict[str, object]:
        """Everything that decides the reply."""
        return {
            "messages": self.messages(request.messages),
            "schema": request.schema,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            "thinking": request.thinking,
            **({"logprobs": request.logprobs} if request.logprobs else {}),
        }


wait = asyncio.sleep
"""What a pause waits by; tests put a clock of their own here."""


async def pause(interceptor: Interceptor, seconds: float) -> None:
    """Waits between two attempts; a replay does not, and a cancellation ends it.

    Raises:
        AttemptFailed: the run was cancelled.
    """
    call: ExternalCall[None] = ExternalCall(
        kind="clock.pause",
        arguments=dict,
        live=lambda: wait(seconds),
        encode=lambda _: None,
        decode=lambda _: None,
    )
    try:
        await interceptor.call(call)
    except Cancelled:
        raise AttemptFailed("cancelled", "the run was cancelled") from None
    except TimeoutError:
        raise AttemptFailed("timeout", "the run's time was over") from None


class InterceptedEndpoint:
    """An endpoint whose every call passes an interceptor; a cancelled attempt is a failed one.

    Args:
        endpoint: the server.
        interceptor: makes the calls, records or replays them.
        delimiters: their word goes no further.
        server: the run's name for the server, where it has several.
        patience: seconds within which the server must say what it is.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        interceptor: Interceptor,
        delimiters: Delimiters,
        *,
        server: str = "",
        patience: float = 30.0,
    ) -> None:
        self._endpoint = endpoint
        self._server = server
        self._patience = patience
        self._interceptor = interceptor
        self._shown = _Shown(delimiters=delimiters)
        self._learnt: ServerInfo | None = None

    async def attempt(
        self,
        request: ChatRequest,
        *,
        timeout: float,
        on_delta: Callable[[str], None] | None = None,
    ) -> ChatReply:
        """Sends the request once."""
        call = ExternalCall(
            kind="endpoint.attempt",
            arguments=lambda: self._named(self._shown.request(request)),
            live=lambda: self._hidden(request, timeout, on_delta),
            encode=lambda reply: _REPLY.dump_python(reply, mode="json"),
            decode=_REPLY.validate_python,
        )
        try:
            return await self._interceptor.call(call)
        except Cancelled:
            raise AttemptFailed("cancelled", "the run was cancelled", spent=True) from None
        except TimeoutError:
            raise AttemptFailed("timeout", "the run's time was over", spent=True) from None

    async def _hidden(
        self, request: ChatRequest, timeout: float, on_delta: Callable[[str], None] | None
    ) -> ChatReply:
        """The live reply or failure; the delimiters' word that a server repeats goes no further."""
        hide = self._shown.delimiters.hide
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
        hidden = replace(reply, text=hide(reply.text), reasoning=hide(reply.reasoning))
        # Tokens would spell out what is hidden.
        return hidden if hidden.text == reply.text else replace(hidden, tokens=())

    async def count_tokens(self, messages: Sequence[Message], *, timeout: float) -> int | None:
        """Tokens of the messages, as the server counts them."""
        call = ExternalCall(
            kind="endpoint.count_tokens",
            arguments=lambda: self._named({"messages": self._shown.messages(messages)}),
            live=lambda: self._endpoint.count_tokens(messages, timeout=timeout),
            encode=lambda count: count,
            decode=lambda count: None if count is None else int(count),
        )
        try:
            return await self._interceptor.call(call)
        except (Cancelled, TimeoutError):
            return None

    async def info(self) -> ServerInfo:
        """What is known of the server.

        Raises:
            TimeoutError: it does not say what it is within `patience`.
        """
        if self._learnt is None:
            self._learnt = await self._interceptor.call(
                ExternalCall(
                    kind="endpoint.info",
                    arguments=lambda: self._named({}),
                    live=lambda: asyncio.wait_for(self._endpoint.info(), self._patience),
                    encode=lambda info: _INFO.dump_python(info, mode="json"),
                    decode=_INFO.validate_python,
                )
            )
        return self._learnt

    def _named(self, arguments: dict[str, object]) -> dict[str, object]:
        """Arguments of a call, with the server's name where there are several."""
        return {"server": self._server, **arguments} if self._server else arguments

    def learn(self, info: ServerInfo) -> None:
        """Remembers what a probe has shown, here and where later runs will ask."""
        self._learnt = info
        if not isinstance(self._endpoint, NotInReplay):
            self._endpoint.learn(info)

    async def aclose(self) -> None:
        """Leaves the endpoint open: it is its owner's to close."""
