"""The requests of the chat API: OpenAI's fields as far as they matter; others are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hoptrail.rag.types import Mode, Scalar


class ContentPart(BaseModel):
    """A part of a message; only those of type `text` are read."""

    model_config = ConfigDict(extra="ignore")

    type: str
    text: str | None = None


class ChatMessage(BaseModel):
    """A message of a conversation."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None

    @property
    def text(self) -> str:
        """Its text, without other parts."""
        if isinstance(self.content, str):
            return self.content
        parts = self.content or ()
        return "\n".join(part.text or "" for part in parts if part.type == "text")


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool | None = None


class HoptrailOptions(BaseModel):
    """What hoptrail can do and OpenAI's API has no field for."""

    model_config = ConfigDict(extra="ignore")

    where: dict[str, Scalar] = Field(default_factory=dict)
    """Only documents whose metadata have these values."""
    mode: Mode | None = None
    source_list: bool | None = None
    """Whether the answer ends with a list of its sources; null: as the key's setting has it."""
    events: bool | None = None
    """Whether Open WebUI's events are streamed; null: as the key's setting has it."""


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "example": {
                "model": "hoptrail/auto",
                "messages": [{"role": "user", "content": "Who built the Heron?"}],
            }
        },
    )

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=2_000)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    hoptrail: HoptrailOptions = Field(default_factory=HoptrailOptions)

    @property
    def most_tokens(self) -> int | None:
        """Most tokens of the answer; None: no limit."""
        limits = [one for one in (self.max_tokens, self.max_completion_tokens) if one is not None]
        return min(limits, default=None)

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts before which the answer ends."""
        listed = [self.stop] if isinstance(self.stop, str) else self.stop or ()
        return tuple(one for one in listed if one)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


class Model(BaseModel):
    """A model as `/v1/models` lists it."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "hoptrail"


class ModelList(BaseModel):
    """The body of `GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[Model]


class CompletionUsage(BaseModel):
    """Tokens of a completion."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionMessage(BaseModel):
    """The message of a completion."""

    role: Literal["assistant"] = "assistant"
    content: str
    annotations: list[dict[str, Any]]
    refusal: None = None


class CompletionChoice(BaseModel):
    """The one choice of a completion."""

    index: Literal[0] = 0
    message: CompletionMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class Completion(BaseModel):
    """The answer of `POST /v1/chat/completions` that is not streamed."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage
    hoptrail: dict[str, Any] | None = None
