"""HTTP client of a served model: OpenAI's chat completions, with vLLM's extensions.

One `attempt` is one HTTP request; `retry` makes further ones. A request is closed as soon as its
attempt ends for any reason, a cancelled task included, which makes the server stop generating.
No environment variable is read, neither for keys nor for proxies.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import httpx
from httpx_sse import EventSource

from hoptrail.agents.llm import openai_format as wire
from hoptrail.agents.llm.types import (
    AttemptFailed,
    ChatReply,
    ChatRequest,
    Message,
    ModelUnavailable,
    ServerInfo,
)
from hoptrail.rag.embedders.bounded_answer import MAX_BODY, BodyTooLarge, BoundedBody
from hoptrail.rag.embedders.server_url import check_api_key, server_url
from hoptrail.rag.errors import ModelError

_BODY_BASE, _BODY_EACH = 2**16, 2**10
"""Bytes of a completion after which it is given up, and for each token that it may have: a
streamed token comes in an event of its own."""
_KEEP_ALIVE = 4.0
"""Seconds an idle connection is kept; vLLM's server closes it after 5."""
_CONNECT_TIMEOUT = 5.0
_INFO_TIMEOUT = 10.0
_ANY = (Message(role="user", content="a"),)

_OPTIONAL = {
    "cache_salt": "cache_salt",
    "stream_options": "stream_options",
    "seed": "seed",
    **dict.fromkeys(("logprobs", "top_logprobs"), "logprob"),
    "chat_template_kwargs": "chat_template|enable_thinking",
}
"""Fields that some servers refuse, with what a refusal calls them: dropped for good when a 400
names one; each reply says so."""


class HttpEndpoint:
    """A server of chat completions; an `Endpoint`.

    Args:
        url: its base address, with or without `/v1`.
        model: which of its models; None: the first that it lists.
        api_key: sent as bearer token.
        connections: most requests at one time; more wait for their turn.
        transport: replaces the network, for tests.

    It belongs to the event loop that first uses it.

    Raises:
        SettingsError: `url` is no http address, or `api_key` cannot be sent in a header.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        connections: int = 32,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._root = server_url(url, key_option="--api-key-file").removesuffix("/v1").rstrip("/")
        check_api_key(api_key)
        self._wanted = model
        self._key = api_key
        self._refused: set[str] = set()
        self._info: ServerInfo | None = None
        self._asking = asyncio.Lock()
        self._client = httpx.AsyncClient(
            headers={"authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT),
            limits=httpx.Limits(
                max_connections=connections,
                max_keepalive_connections=connections,
                keepalive_expiry=_KEEP_ALIVE,
            ),
            trust_env=False,
            # Loading the certificates takes longer than a first answer; http needs none.
            verify=self._root.startswith("https:"),
            transport=transport,
        )

    async def attempt(
        self,
        request: ChatRequest,
        *,
        timeout: float,
        on_delta: Callable[[str], None] | None = None,
    ) -> ChatReply:
        """Sends `request` once; see `Endpoint.attempt`."""
        assert self._info is not None, "info() comes first"
        on_delta = on_delta or (lambda text: None)
        model = self._info.model
        body = wire.chat_body(request, model)
        most = min(MAX_BODY, _BODY_BASE + _BODY_EACH * request.max_tokens)
        without = tuple(name for name in _OPTIONAL if name in self._refused and name in body)
        for name in without:
            del body[name]
        try:
            async with (
                asyncio.timeout(timeout),
                self._send("POST", "/v1/chat/completions", body) as answer,
            ):
                if not answer.is_success:
                    raise self._failure(answer, await _read(answer, most), body)
                if request.stream and _is_stream(answer):
                    reply = await _read_events(answer, model, on_delta, most)
                else:
                    reply = wire.parse_reply(await _read(answer, most), model)
                    if request.stream:
                        on_delta(reply.text)
                return replace(reply, without=without)
        except TimeoutError:
            raise AttemptFailed(
                "timeout", f"no answer within {timeout:.3g} s", retryable=True, spent=True
            ) from None
        except AttemptFailed as failed:
            raise self._without_secrets(failed, request.cache_salt) from None

    async def count_tokens(self, messages: Sequence[Message], *, timeout: float) -> int | None:
        """Tokens of `messages` by vLLM's `/tokenize`; None if it does not say within `timeout`."""
        model = self._info.model if self._info is not None else self._wanted
        return await self._count(model, messages, timeout)

    async def info(self) -> ServerInfo:
        """Model, window and abilities; asked of the server once. Runs no model.

        Raises:
            ModelError: it cannot be reached, is no such server, or has no such model.
            ModelUnavailable: it does not answer in time.
        """
        async with self._asking:
            if self._info is None:
                model, window = await self._choose_model()
                count = await self._count(model, _ANY, _INFO_TIMEOUT)
                self._info = ServerInfo(
                    model=model,
                    max_model_len=window,
                    enforces_schema=None,
                    tokenizes=count is not None,
                )
            return self._info

    def learn(self, info: ServerInfo) -> None:
        """Remembers what a probe has shown."""
        self._info = info

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._client.aclose()

    async def _count(
        self, model: str | None, messages: Sequence[Message], timeout: float
    ) -> int | None:
        body = {
            "model": model,
            "messages": wire.message_list(messages),
            "add_generation_prompt": True,
            # Templates write more where thoughts are off: an empty thought.
            "chat_template_kwargs": {"enable_thinking": False},
        }
        try:
            status, data = await self._fetch("POST", "/tokenize", body, timeout)
        except AttemptFailed:
            return None
        count = (wire.parse_object(data) or {}).get("count") if status == 200 else None
        return count if wire.is_whole(count) and count > 0 else None

    async def _choose_model(self) -> tuple[str, int | None]:
        """The model to ask and its window, from the server's list."""
        try:
            status, data = await self._fetch("GET", "/v1/models", None, _INFO_TIMEOUT)
        except AttemptFailed as failed:
            late = failed.kind == "timeout"
            raise (ModelUnavailable if late else ModelError)(
                f"No model server answers at {self._root!r} ({failed.detail}): start it, wait "
                "until it is up, or correct the address; without a model hoptrail answers "
                "in the documents' own words."
            ) from failed
        if status == 404 and self._wanted is not None:
            return self._wanted, None  # a server without a list: the first request will tell
        listed = (wire.parse_object(data) or {}).get("data")
        if status != 200 or not isinstance(listed, list):
            raise ModelError(self._complaint(status, data))
        served = {str(one["id"]): one for one in listed if isinstance(one, dict) and "id" in one}
        name = next(iter(served), None) if self._wanted is None else self._wanted
        if name is None or name not in served:
            raise ModelError(
                f"{self._root!r} serves no model {self._wanted!r}: it has {sorted(served)!r}."
                if self._wanted is not None
                else f"{self._root!r} lists no model: load one, or name the one to ask."
            )
        return name, wire.window_of(served[name])

    def _complaint(self, status: int, data: bytes) -> str:
        """What to tell a user whose server does not list its models."""
        message = self._hide(wire.message_of(data))
        if status in (401, 403):
            return f"{self._root!r} refuses the API key: give the key it was started with."
        if status >= 500:
            return f"{self._root!r} fails with HTTP {status} ({message}): look at its log."
        return (
            f"{self._root!r} is no OpenAI-compatible server: it answers HTTP {status} with "
            f"{message!r}. Check the address; it is the part before '/v1'."
        )

    def _failure(
        self, answer: httpx.Response, data: bytes, body: Mapping[str, Any]
    ) -> AttemptFailed:
        """What an error answer means; an optional field it refuses is left out from now on."""
        failed = wire.failure_of(answer.status_code, answer.headers, data)
        if failed.kind == "bad_request":
            named = [
                name
                for name, said in _OPTIONAL.items()
                if name in body and re.search(said, failed.detail)
            ]
            if named:
                self._refused.update(named)
                failed.retryable = True
        if failed.kind == "unknown_model":
            failed.detail += f" (asked for {body['model']!r})"
        return failed

    def _without_secrets(self, failed: AttemptFailed, salt: str | None) -> AttemptFailed:
        """`failed` with what servers echo of our key or salt taken out."""
        return AttemptFailed(
            failed.kind,
            self._hide(failed.detail, salt),
            retryable=failed.retryable,
            retry_after=failed.retry_after,
            spent=failed.spent,
        )

    def _hide(self, text: str, salt: str | None = None) -> str:
        for secret in (self._key, salt):
            text = text.replace(secret, "***") if secret else text
        return text

    async def _fetch(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float
    ) -> tuple[int, bytes]:
        """Status and body of a request that runs no model."""
        try:
            async with asyncio.timeout(timeout), self._send(method, path, body) as answer:
                return answer.status_code, await _read(answer)
        except TimeoutError:
            raise AttemptFailed("timeout", f"no answer within {timeout:.3g} s") from None

    @asynccontextmanager
    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> AsyncIterator[httpx.Response]:
        """An answer whose body is still to be read; whatever breaks is an `AttemptFailed`."""
        try:
            async with self._client.stream(method, self._root + path, json=body) as answer:
                yield answer
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            raise AttemptFailed(
                "connection", f"cannot connect: {error or 'timed out'}", retryable=True
            ) from error
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise AttemptFailed(
                "connection", f"the connection broke: {reason}", retryable=True, spent=True
            ) from error
        except httpx.HTTPError as error:
            raise AttemptFailed("not_openai", f"unreadable answer: {error}", spent=True) from error


def _is_stream(answer: httpx.Response) -> bool:
    """Whether an answer comes in events; some servers answer whole although asked to stream."""
    kind: str = answer.headers.get("content-type", "")
    return kind.startswith("text/event-stream")


async def _read(answer: httpx.Response, most: int = MAX_BODY) -> bytes:
    """The whole body.

    Raises:
        AttemptFailed: it has more than `most` bytes.
    """
    data = BoundedBody(most)
    async for chunk in answer.aiter_bytes():
        try:
            data.add(chunk)
        except BodyTooLarge as error:
            raise AttemptFailed("oversized", str(error), spent=True) from None
    return data.whole()


async def _read_events(
    answer: httpx.Response, model: str, on_delta: Callable[[str], None], most: int = MAX_BODY
) -> ChatReply:
    """The reply that a stream of events makes up.

    httpx-sse ends lines where the specification does; httpx's own `aiter_lines` would also end
    them at U+2028 or U+0085, which may stand in a reply's text.
    """
    reader = wire.EventReader(model, on_delta)
    bounded = cast(httpx.Response, BoundedText(answer, most))
    async with aclosing(EventSource(bounded).aiter_sse()) as events:
        async for event in events:
            reader.take(event.data)
    return reader.reply()


class BoundedText:
    """The text of an answer as `EventSource` reads it, in whole lines, up to `most` characters.

    A line that comes in many pieces is put together once. At the end is a blank line: some servers
    leave the one after their last event out.
    """

    def __init__(self, answer: httpx.Response, most: int) -> None:
        self.headers = answer.headers
        self._answer = answer
        self._most = most

    async def aiter_text(self) -> AsyncIterator[str]:
        """The text; each piece but the last ends a line or goes on past its end."""
        size, begun = 0, list[str]()
        async for text in self._answer.aiter_text():
            size += len(text)
            if size > self._most:
                raise AttemptFailed(
                    "oversized", f"answers more than {self._most} characters", spent=True
                )
            begun.append(text)
            if "\n" in text or "\r" in text:
                yield "".join(begun)
                begun.clear()
        yield "".join((*begun, "\n\n"))
