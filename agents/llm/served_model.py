"""Models that a run may be given: an address, a client that runs share, an endpoint of one's own.

`open_endpoint` makes of each the endpoint of one tenant: it salts the server's prefix cache, keeps
the deadline, and makes any error of an endpoint a failed attempt, so that none ends a run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Self

from hoptrail.agents.budget.ledger import Ledger
from hoptrail.agents.budget.limits import Budget
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import cache_salt
from hoptrail.agents.llm.http import HttpEndpoint
from hoptrail.agents.llm.openai_format import snippet
from hoptrail.agents.llm.retry import RetryingEndpoint
from hoptrail.agents.llm.types import (
    AttemptFailed,
    ChatReply,
    ChatRequest,
    Endpoint,
    Message,
    ModelUnavailable,
    ServerInfo,
)
from hoptrail.rag.errors import HoptrailError, SettingsError

_PROBE_TOKENS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model behind an OpenAI-compatible server."""

    url: str
    name: str | None = None
    """None: the first that the server lists."""
    api_key: str | None = field(default=None, repr=False)


class ModelClient:
    """A served model opened once, for many runs and tenants of one event loop.

        async with ModelClient(ServedModel(url="http://127.0.0.1:8000/v1")) as client:
            receipt = await aask(question, knowledge_base, model=client)

    Its runs share the connections, the list of models and what a probe has shown; each request has
    the salt of its own tenant, so the server's prefix cache stays apart.

    Args:
        model: the server's address, model and key.
        connections: most requests at one time; more wait for their turn.
        seconds: the longest that opening may take.

    Raises:
        SettingsError: the address or key is none.
    """

    def __init__(self, model: ServedModel, *, connections: int = 64, seconds: float = 60.0) -> None:
        self.model = model
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._endpoint = HttpEndpoint(
            model.url, model=model.name, api_key=model.api_key, connections=connections
        )

    async def open(self) -> ServerInfo:
        """Asks the server for its models and probes the one that was chosen; runs need not.

        Raises:
            ModelError: the server cannot be used; the message says what to do.
            ModelUnavailable: it does not answer within `seconds`.
        """
        self._loop = asyncio.get_running_loop()
        budget = Budget(calls=8, tokens=_PROBE_TOKENS, seconds=self._seconds)
        ledger = Ledger.open(None, budget)
        try:
            async with asyncio.timeout(self._seconds):
                return await LLMClient(RetryingEndpoint(self._endpoint, ledger)).prepare()
        except TimeoutError as error:
            raise ModelUnavailable(
                f"The model server at {self.model.url!r} did not answer within "
                f"{self._seconds:g} s: look at its log, or give it more seconds."
            ) from error

    async def aclose(self) -> None:
        """Closes every connection; no run may use it any more."""
        await self._endpoint.aclose()

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def for_tenant(self, secret: bytes) -> Endpoint:
        """The endpoint of the tenant that has this secret.

        Raises:
            SettingsError: it is not open, or was opened in another event loop.
        """
        if self._loop is not asyncio.get_running_loop():
            raise SettingsError(
                "The ModelClient is not open in this event loop: use it within `async with`, and "
                "with aask(); ask() has a loop of its own and takes a ServedModel."
            )
        return TenantEndpoint(self._endpoint, cache_salt(secret))


AnyModel = ServedModel | ModelClient | Endpoint
"""A model as a run may be given it."""


async def open_endpoint(
    stack: AsyncExitStack, model: AnyModel | None, secret: bytes
) -> Endpoint | None:
    """The endpoint of a model, closed with the stack; one that is open already stays its owner's.

    Args:
        stack: closes what is opened here.
        model: None: no model.
        secret: the tenant's; its prompts share no prefix cache with another's.
    """
    match model:
        case None | TenantEndpoint():
            return model
        case ModelClient():
            return model.for_tenant(secret)
        case ServedModel():
            endpoint = HttpEndpoint(model.url, model=model.name, api_key=model.api_key)
            stack.push_async_callback(endpoint.aclose)
            return TenantEndpoint(endpoint, cache_salt(secret))
        case _:
            return TenantEndpoint(model, cache_salt(secret))


class TenantEndpoint:
    """An endpoint as the runs of one tenant use it.

    Args:
        endpoint: the server; it stays its owner's to close.
        salt: keeps the server's prefix cache apart from other tenants'.
    """

    def __init__(self, endpoint: Endpoint, salt: str) -> None:
        self._endpoint = endpoint
        self._salt = salt

    async def attempt(
        self,
        request: ChatRequest,
        *,
        timeout: float,
        on_delta: Callable[[str], None] | None = None,
    ) -> ChatReply:
        """Sends `request` once; see `Endpoint.attempt`. A bug in the endpoint is a failure too."""
        salted = replace(request, cache_salt=self._salt)
        listener = _Listener(on_delta)
        try:
            async with asyncio.timeout(timeout):
                reply: object = await self._endpoint.attempt(
                    salted, timeout=timeout, on_delta=listener if on_delta else None
                )
        except TimeoutError:
            raise AttemptFailed(
                "timeout", f"no answer within {timeout:.3g} s", retryable=True, spent=True
            ) from None
        except (AttemptFailed, HoptrailError):
            raise
        except Exception as error:
            if error is listener.error:
                raise
            raise AttemptFailed("endpoint_error", _described(error), spent=True) from error
        if not isinstance(reply, ChatReply):
            raise AttemptFailed(
                "endpoint_error", f"replies with {type(reply).__name__}, no ChatReply", spent=True
            )
        return reply

    async def count_tokens(self, messages: Sequence[Message], *, timeout: float) -> int | None:
        """Tokens of `messages`; None: the endpoint cannot say."""
        try:
            async with asyncio.timeout(timeout):
                return await self._endpoint.count_tokens(messages, timeout=timeout)
        except HoptrailError:
            raise
        except Exception:  # a count is a convenience: bytes bound the prompt as well
            return None

    async def info(self) -> ServerInfo:
        """The properties of the server.

        Raises:
            ModelError: the server cannot be used.
            ModelUnavailable: the endpoint fails otherwise.
        """
        try:
            return await self._endpoint.info()
        except HoptrailError:
            raise
        except Exception as error:
            raise ModelUnavailable(f"The endpoint fails with {_described(error)}.") from error

    def learn(self, info: ServerInfo) -> None:
        """Stores the properties that a probe has shown."""
        self._endpoint.learn(info)

    async def aclose(self) -> None:
        """Leaves the endpoint open: it is its owner's to close."""


class _Listener:
    """A listener that remembers its own error, so that it is not taken for the endpoint's."""

    def __init__(self, on_delta: Callable[[str], None] | None) -> None:
        self._on_delta = on_delta
        self.error: Exception | None = None

    def __call__(self, text: str) -> None:
        try:
            if self._on_delta is not None:
                self._on_delta(text)
        except Exception as error:
            self.error = error
            raise


def _described(error: Exception) -> str:
    """An exception on one line."""
    return snippet(f"{type(error).__name__}: {error}".encode("utf-8", "replace"))
