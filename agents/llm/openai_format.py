"""The OpenAI chat protocol as bytes: request bodies, replies, streamed events, errors.

Pure functions over what `http` sends and receives, so that every oddity of a server is tested
without one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeGuard

from hoptrail.agents.budget.limits import ReportedUsage
from hoptrail.agents.llm.types import AttemptFailed, ChatReply, ChatRequest, FailureKind, Message

_OVERLONG = re.compile(
    r"maximum context length|context (length|window|size)|prompt is too long"
    r"|too many (input )?tokens|longer than the maximum model length|max_model_len",
    re.IGNORECASE,
)
_KINDS: dict[int, FailureKind] = {
    401: "unauthorised",
    403: "unauthorised",
    429: "rate_limited",
}
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
    if request.cache_salt:
        body["cache_salt"] = request.cache_salt
    if request.thinking is not None:
        body["chat_template_kwargs"] = {"enable_thinking": request.thinking}
    if request.schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": request.schema_name,
                "schema": request.schema,
                "strict": True,
            },
        }
    if request.logprobs:
        body |= {"logprobs": True, "top_logprobs": request.logprobs}
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
    if body is not None and body.get("error"):
        raise _reported_error(body, data, began=False)
    choice = _first_choice(body)
    message = choice.get("message") if choice is not None else None
    if body is None or choice is None or not isinstance(message, dict):
        raise AttemptFailed("not_openai", f"no chat completion: {snippet(data)}", spent=True)
    return _reply(
        texts=_texts_of(message),
        finish_reason=choice.get("finish_reason"),
        usage=body.get("usage"),
        model=body.get("model") or model,
    ).scored(choice.get("logprobs"))


class EventReader:
    """Puts a streamed reply together from the data of its server-sent events.

    Args:
        model: the name to give where the server names none.
        on_delta: called with each piece of text as it comes.
    """

    def __init__(self, model: str, on_delta: Callable[[str], None]) -> None:
        self._model: object = model
        self._on_delta = on_delta
        self._texts: list[_Texts] = []
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
        if event.get("error"):
            raise _reported_error(event, body, began=True)
        self._usage = event.get("usage") or self._usage
        self._model = event.get("model") or self._model
        choice = _first_choice(event)
        if choice is None:
            return
        self._finish = choice.get("finish_reason") or self._finish
        delta = choice.get("delta")
        texts = _texts_of(delta if isinstance(delta, dict) else {})
        self._texts.append(texts)
        if texts.content:
            self._on_delta(clean(texts.content))

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
            texts=_Texts.joined(self._texts),
            finish_reason=self._finish,
            usage=self._usage,
            model=self._model,
        )


def window_of(model: Mapping[str, Any]) -> int | None:
    """Tokens a model reads and writes together, under whichever name a server lists it."""
    found = (model.get(key) for key in ("max_model_len", "context_length", "context_window"))
    return next((n for n in found if is_whole(n) and n > 0), None)


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
        if isinstance(part, list):  # FastAPI's: which field, and what is wrong with it
            message = "; ".join(
                f"{one.get('loc')}: {one.get('msg')}" for one in part if isinstance(one, dict)
            )
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
    if status in _KINDS:
        return _KINDS[status]
    if b"content_filter" in data:
        return "content_filter"
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


def _reported_error(body: Mapping[str, Any], data: bytes, *, began: bool) -> AttemptFailed:
    """What an error in an answer with status 200 means: what its own code would as a status.

    Args:
        body: the object that has an `error`.
        data: the same as bytes.
        began: whether a part of the reply came before it.
    """
    error = body["error"]
    code = str(error.get("code")) if isinstance(error, dict) else ""
    status = int(code) if re.fullmatch(r"[45]\d\d", code) else 500
    message = message_of(data)
    kind = "overlong" if _OVERLONG.search(message) else _kind_of(status, data, message)
    return AttemptFailed(
        kind,
        message,
        retryable=kind in ("rate_limited", "server_error"),
        spent=began or (status >= 500 and status != 503),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Texts:
    """The texts of a message, or of a piece of one."""

    content: str = ""
    reasoning: str = ""
    arguments: str = ""
    """Of a function that the model calls to reply."""

    @classmethod
    def joined(cls, pieces: Sequence[_Texts]) -> _Texts:
        """The texts of a message that came in pieces."""
        return cls(
            content="".join(one.content for one in pieces),
            reasoning="".join(one.reasoning for one in pieces),
            arguments="".join(one.arguments for one in pieces),
        )


def _texts_of(message: Mapping[str, Any]) -> _Texts:
    """The texts of a message: its content may be a text or a list of parts."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    thoughts: list[object] = [message.get("reasoning_content") or message.get("reasoning")]
    texts: list[object] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        (thoughts if kind in ("thinking", "reasoning") else texts).append(_part_text(part))
    calls = message.get("tool_calls")
    call = calls[0] if isinstance(calls, list) and calls else None
    function = call.get("function") if isinstance(call, dict) else message.get("function_call")
    arguments = function.get("arguments") if isinstance(function, dict) else None
    return _Texts(
        content="".join(text for text in texts if isinstance(text, str)),
        reasoning="".join(text for text in thoughts if isinstance(text, str)),
        arguments=arguments if isinstance(arguments, str) else "",
    )


def _part_text(part: object) -> object:
    """The text of one part of a message: a text, or a record of one of several forms."""
    if not isinstance(part, dict):
        return part
    inner = part.get("text") or part.get("thinking")
    if isinstance(inner, list):
        return "".join(text for text in map(_part_text, inner) if isinstance(text, str))
    return inner


def _reply(*, texts: _Texts, finish_reason: object, usage: object, model: object) -> ChatReply:
    if finish_reason in _ABORTED:
        raise AttemptFailed(
            "server_error", "the server gave up on the reply", retryable=True, spent=True
        )
    if finish_reason == "content_filter":
        raise AttemptFailed(
            "content_filter", "the server's content filter stopped the reply", spent=True
        )
    return ChatReply(
        text=clean(texts.content or texts.arguments),
        reasoning=clean(texts.reasoning),
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
