"""The OpenAI chat protocol as bytes: request bodies, replies, streamed events, errors.

Pure functions over what `http` sends and receives, so that every oddity of a server is tested
without one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, TypeGuard

from hoptrail.agents.budget.limits import ReportedUsage
from hoptrail.agents.llm.types import AttemptFailed, ChatReply, ChatRequest, FailureKind, Message

_OVERLONG = re.compile(
    r"maximum context length|context (length|window|size)|prompt is too long"
    r"|too many (input )?tokens|longer than the maximum model length|max_model_len",
    re.IGNORECASE,
)
_ABORTED = frozenset({"abort", "error"})
"""Finish reasons with which vLLM ends a reply that it could not finish."""


def chat_body(request: ChatRequest, model: str) -> dict[str, Any]:
    """The JSON body of a chat completion."""
    body: dict[str, Any] = {
        "model": model,
        "messages": message_list(request.messages),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": request.schema_name,
                "schema": request.schema,
                "strict": True,
            },
        }
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return body


def message_list(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as the protocol writes them."""
    return [{"role": message.role, "content": clean(message.content)} for message in messages]


def parse_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object in a body, or None if it is something else."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def parse_reply(data: bytes, model: str) -> ChatReply:
    """The reply in the body of a whole (not streamed) answer.

    Raises:
        AttemptFailed: it is not what OpenAI's API answers, or the server gave up on it.
    """
    body = parse_object(data)
    choice = _first_choice(body)
    message = choice.get("message") if choice is not None else None
    if body is None or choice is None or not isinstance(message, dict):
        raise AttemptFailed("not_openai", f"no chat completion: {snippet(data)}", spent=True)
    content = message.get("content")
    return _reply(
        text=content if isinstance(content, str) else "",
        finish_reason=choice.get("finish_reason"),
        usage=body.get("usage"),
        model=body.get("model") or model,
    )


class EventReader:
    """Puts a streamed reply together from the data of its server-sent events.

    Args:
        model: the name to give where the server names none.
        on_delta: called with each piece of text as it comes.
    """

    def __init__(self, model: str, on_delta: Callable[[str], None]) -> None:
        self._model: object = model
        self._on_delta = on_delta
        self._texts: list[str] = []
        self._finish: object = None
        self._usage: object = None

    def take(self, data: str) -> None:
        """Takes the data of the next event.

        Raises:
            AttemptFailed: the server reports an error in the stream, or sends something else.
        """
        if not data or data.strip() == "[DONE]":
            return
        body = data.encode("utf-8", "replace")
        event = parse_object(body)
        if event is None:
            raise AttemptFailed("not_openai", f"no event: {snippet(body)}", spent=True)
        if "error" in event:
            raise AttemptFailed("server_error", message_of(body), retryable=True, spent=True)
        self._usage = event.get("usage") or self._usage
        self._model = event.get("model") or self._model
        choice = _first_choice(event)
        if choice is None:
            return
        self._finish = choice.get("finish_reason") or self._finish
        delta = choice.get("delta")
        text = delta.get("content") if isinstance(delta, dict) else None
        if isinstance(text, str) and text:
            self._texts.append(text)
            self._on_delta(clean(text))

    def reply(self) -> ChatReply:
        """The reply, once the stream has ended.

        Raises:
            AttemptFailed: it ended before the reply did.
        """
        if self._finish is None:
            raise AttemptFailed(
                "connection", "the stream ended in the middle", retryable=True, spent=True
            )
        return _reply(
            text="".join(self._texts),
            finish_reason=self._finish,
            usage=self._usage,
            model=self._model,
        )


def failure_of(status: int, headers: Mapping[str, str], data: bytes) -> AttemptFailed:
    """What an answer with a status other than 2xx means.

    Only 429 and 5xx can be retried. A refusal (4xx) and 503 mean that the model did no work.
    """
    message = message_of(data)
    if 300 <= status < 400:
        where = headers.get("location", "elsewhere")
        return AttemptFailed("not_openai", f"redirects to {where!r}: give that address instead")
    kind = _kind_of(status, data, message)
    return AttemptFailed(
        kind,
        f"HTTP {status}: {message}",
        retryable=kind in ("rate_limited", "server_error"),
        retry_after=retry_after(headers),
        spent=status >= 500 and status != 503,
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header Retry-After asks for, given as such or as a date.

    A date counts from the answer's own Date, so that no clock of ours is asked.
    """
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
            seconds = (then - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def message_of(data: bytes) -> str:
    """The error message in a body: `error.message` as OpenAI has it, or the body's beginning."""
    body = parse_object(data) or {}
    for part in (body.get("error"), body.get("message"), body.get("detail")):
        message = part.get("message") if isinstance(part, dict) else part
        if isinstance(message, str) and message.strip():
            return snippet(message.encode("utf-8", "replace"))
    return snippet(data)


def snippet(data: bytes) -> str:
    """The beginning of a body on one line, for people."""
    text = data[:1_000].decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200] or "nothing"


def clean(text: str) -> str:
    """`text` without lone surrogates, which JSON can write and nothing can encode."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _kind_of(status: int, data: bytes, message: str) -> FailureKind:
    if status == 429:
        return "rate_limited"
    if status in (401, 403):
        return "unauthorised"
    if status >= 500:
        return "server_error"
    if status == 413 or _OVERLONG.search(message):
        return "overlong"
    if status == 404:
        return "unknown_model" if "model" in message.lower() else "not_openai"
    return "bad_request" if parse_object(data) is not None else "not_openai"


def _first_choice(body: dict[str, Any] | None) -> dict[str, Any] | None:
    choices = body.get("choices") if body is not None else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _reply(*, text: str, finish_reason: object, usage: object, model: object) -> ChatReply:
    if finish_reason in _ABORTED:
        raise AttemptFailed(
            "server_error", "the server gave up on the reply", retryable=True, spent=True
        )
    return ChatReply(
        text=clean(text),
        finish_reason=finish_reason if isinstance(finish_reason, str) else "stop",
        usage=_usage(usage),
        model=clean(str(model)),
    )


def _usage(reported: object) -> ReportedUsage | None:
    """The two counts, unchecked but for being whole numbers; None if either is not."""
    if not isinstance(reported, dict):
        return None
    prompt: object = reported.get("prompt_tokens")
    completion: object = reported.get("completion_tokens")
    if not is_whole(prompt) or not is_whole(completion):
        return None
    return ReportedUsage(prompt_tokens=prompt, completion_tokens=completion)


def is_whole(count: object) -> TypeGuard[int]:
    """Whether something from JSON is a whole number (there, `true` is not)."""
    return isinstance(count, int) and not isinstance(count, bool)
