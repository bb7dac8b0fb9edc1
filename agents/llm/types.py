"""Chat requests, replies and failures, and `Endpoint`, the protocol of a model server.

One call of `Endpoint.attempt` is one HTTP attempt. A recording wraps exactly this protocol, so a
replay runs all of our own code (retries, re-asks, budgets, parsing) and replaces only the server.
That is why deadlines are kept *inside* an endpoint: a timeout happens outside our code and has to
be recorded as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Literal, Protocol, Self, runtime_checkable

from hoptrail.agents.budget.limits import ReportedUsage
from hoptrail.rag.errors import ModelError, SettingsError

Role = Literal["system", "user", "assistant"]

FailureKind = Literal[
    "connection",
    "timeout",
    "rate_limited",
    "server_error",
    "bad_request",
    "unauthorised",
    "unknown_model",
    "overlong",
    "not_openai",
    "content_filter",
    "oversized",
    "endpoint_error",
    "cancelled",
]

Failure = Literal[
    "parse",
    "length",
    "overlong",
    "content_filter",
    "endpoint_error",
    "too_slow",
    "refused_by_server",
    "unavailable",
    "cancelled",
]
"""Why a question to a model has no value."""

MESSAGE_OVERHEAD = 64
"""Tokens allowed for the chat template around one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A chat completion request. The API key is the endpoint's."""

    messages: tuple[Message, ...]
    schema: Mapping[str, Any] | None
    """JSON Schema that the reply must fit; None: free text."""
    schema_name: str
    max_tokens: int
    """Most tokens the reply may have, thoughts included."""
    temperature: float = 0.0
    seed: int | None = None
    stream: bool = False
    thinking: bool | None = None
    """Switches a thinking model's thoughts on or off; None: as the server is set."""
    logprobs: int = 0
    """How many likely tokens the reply is to have at each place, with their log probabilities; 0:
    none, and none of its own."""
    cache_salt: str | None = field(default=None, repr=False)
    """Keeps the server's prefix cache apart from other tenants'. A secret: it is not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredToken:
    """A token of a reply, and those that were likely in its place, by natural log probability."""

    text: str
    logprob: float
    likely: Mapping[str, float] = field(default_factory=dict)
    """By text; this one perhaps among them."""

    @classmethod
    def read(cls, record: object) -> Self | None:
        """A token as the protocol has it; None: it is not what OpenAI's API has."""
        own = _logprob(record)
        if own is None or not isinstance(record, dict):
            return None
        listed = record.get("top_logprobs")
        tops = map(_logprob, listed if isinstance(listed, list) else ())
        return cls(text=own[0], logprob=own[1], likely=dict(one for one in tops if one is not None))


def _logprob(record: object) -> tuple[str, float] | None:
    """Text and log probability of a token, of those likely in its place as well."""
    match record:
        case {"token": str(text), "logprob": int() | float() as log} if isfinite(log):
            return text, log
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """The reply of one attempt with a usable HTTP answer; its text is not checked yet."""

    text: str
    finish_reason: str
    """"stop", "length" (cut off: never parse it as whole) or a server's own word."""
    usage: ReportedUsage | None
    """None: the server reported none, or not two integers."""
    model: str
    without: tuple[str, ...] = ()
    """Fields of its request that were left out, since the server refuses them."""
    reasoning: str = ""
    """The model's thoughts, where the server separates them from the text."""
    tokens: tuple[ScoredToken, ...] = ()
    """Those of the text, where they were asked for and the server gives them."""

    def scored(self, logprobs: object) -> ChatReply:
        """The reply with its tokens, from the field of that name of a choice."""
        listed = logprobs.get("content") if isinstance(logprobs, dict) else None
        tokens = [ScoredToken.read(one) for one in (listed if isinstance(listed, list) else ())]
        known = tuple(one for one in tokens if one is not None)
        return replace(self, tokens=known if len(known) == len(tokens) else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """The properties of a model server: model, window, schemas, tokenizer."""

    model: str
    max_model_len: int | None
    """Tokens of prompt and reply together; None: the server does not say."""
    enforces_schema: bool | None
    """Whether replies are constrained to the schema; None: not probed yet."""
    tokenizes: bool
    """Whether the server counts the tokens of a prompt for us."""
    thinks: bool = False
    """Whether the model has been seen to think although thoughts were switched off."""


class ModelUnavailable(ModelError):
    """A model server does not answer in time, or its endpoint fails: one can go on without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """Whether a thinking model may think before it replies, and for how long.

    Raises:
        SettingsError: the limit is no whole number, or negative.
    """

    on: bool = False
    tokens: int = 2_048
    """Most tokens of thoughts, in addition to those of the reply."""

    def __post_init__(self) -> None:
        """Refuses a limit that is none."""
        if not isinstance(self.tokens, int) or isinstance(self.tokens, bool) or self.tokens < 0:
            raise SettingsError(
                f"The limit of {self.tokens!r} tokens for thoughts must be a whole number, at "
                "least 0."
            )


class AttemptFailed(Exception):
    """One attempt failed. `llm.retry` and `llm.client` catch it; it never ends a run.

    Attributes:
        kind: the kind of failure.
        retryable: whether the same request may succeed later.
        detail: for people; at most 400 characters, without secrets.
        retry_after: seconds the server asked us to wait; None: it did not say.
        spent: whether the model may have worked on it, so that its tokens must be counted.
    """

    def __init__(
        self,
        kind: FailureKind,
        detail: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        spent: bool = False,
    ) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind: FailureKind = kind
        self.detail = detail[:400]
        self.retryable = retryable
        self.retry_after = retry_after
        self.spent = spent


@runtime_checkable
class Endpoint(Protocol):
    """The protocol of a server of chat completions."""

    async def attempt(
        self,
        request: ChatRequest,
        *,
        timeout: float,
        on_delta: Callable[[str], None] | None = None,
    ) -> ChatReply:
        """Sends `request` once and returns the reply.

        Args:
            request: the messages, schema and limits.
            timeout: seconds after which the attempt is given up and the request closed.
            on_delta: called with each piece of text as it comes, when `request.stream`.

        Raises:
            AttemptFailed: the server or the network failed.
        """

    async def count_tokens(self, messages: Sequence[Message], *, timeout: float) -> int | None:
        """Tokens of `messages` as the server's template lays them out; None: it cannot say."""

    async def info(self) -> ServerInfo:
        """The properties of the server; asks it the first time. Runs no model.

        Raises:
            ModelError: the server cannot be used; the message says what to do.
            ModelUnavailable: it does not answer in time.
        """

    def learn(self, info: ServerInfo) -> None:
        """Stores the properties that a probe has shown; the next `info()` returns them."""

    async def aclose(self) -> None:
        """Closes every connection."""


def bound_tokens(messages: Sequence[Message]) -> int:
    """Upper bound on the tokens of `messages` for any byte-level tokenizer.

    A token covers at least one byte of UTF-8, and a chat template adds fewer than
    `MESSAGE_OVERHEAD` tokens a message.
    """
    return sum(utf8_len(message.content) + MESSAGE_OVERHEAD for message in messages)


def utf8_len(text: str) -> int:
    """Bytes of `text` in UTF-8; lone surrogates count three, as their replacement would."""
    return len(text.encode("utf-8", "surrogatepass"))
