"""A scripted model server, for tests: no network, no model, no clock.

It behaves as a server does where that matters to its callers: it counts tokens, cuts a reply
at `max_tokens` with the finish reason "length", and refuses a prompt longer than its window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from hoptrail.agents.budget.limits import ReportedUsage
from hoptrail.agents.llm.types import AttemptFailed, ChatReply, ChatRequest, Message, ServerInfo
from hoptrail.rag.text.tokens import count_tokens

Line = str | ChatReply | AttemptFailed
"""The next reply of the server: a text, a whole reply, or a failure."""

Script = Sequence[Line | Callable[[ChatRequest], Line]] | Callable[[ChatRequest], Line]
"""Lines in their order (each may be made from the request), or one function for every request."""


def doubled(text: str) -> int:
    """Twice tiktoken's count, as a tokenizer trained on little text counts."""
    return 2 * count_tokens(text)


class ScriptedEndpoint:
    """An `Endpoint` that answers from a script.

    Args:
        script: the replies, in order, to requests that `by_schema` does not name.
        by_schema: a script for each `schema_name`, each with an order of its own.
        model: the name of the model that it reports.
        max_model_len: tokens of prompt and reply together; None: unlimited and not reported.
        enforces_schema: the value in `info()`; None: callers have to probe.
        tokenizes: whether `count_tokens` counts.
        count: the tokenizer, text to number of tokens.
        usage: the usage reported for a reply, made from the true one; for wrong reports.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        by_schema: Mapping[str, Script] | None = None,
        model: str = "scripted",
        max_model_len: int | None = None,
        enforces_schema: bool | None = True,
        tokenizes: bool = False,
        count: Callable[[str], int] = count_tokens,
        usage: Callable[[ReportedUsage], ReportedUsage | None] = lambda honest: honest,
    ) -> None:
        self.requests: list[ChatRequest] = []
        """Every request made, oldest first."""
        self.closed = False
        self._next = _next_line(script)
        self._next_by_schema = {name: _next_line(own) for name, own in (by_schema or {}).items()}
        self._info = ServerInfo(
            model=model,
            max_model_len=max_model_len,
            enforces_schema=enforces_schema,
            tokenizes=tokenizes,
        )
        self._count = count
        self._usage = usage

    async def attempt(
        self,
        request: ChatRequest,
        *,
        timeout: float,
        on_delta: Callable[[str], None] | None = None,
    ) -> ChatReply:
        """The next reply of the script."""
        self.requests.append(request)
        self._refuse_overlong(request)
        line = self._next_by_schema.get(request.schema_name, self._next)(request)
        if isinstance(line, AttemptFailed):
            raise line
        reply = line if isinstance(line, ChatReply) else self._reply(request, line)
        if request.stream and on_delta is not None:
            for start in range(0, len(reply.text), 5):
                on_delta(reply.text[start : start + 5])
        return reply

    async def count_tokens(self, messages: Sequence[Message], *, timeout: float) -> int | None:
        """The tokens of `messages`, if this server tokenizes; else None."""
        return self._prompt_tokens(messages) if self._info.tokenizes else None

    async def info(self) -> ServerInfo:
        """The properties given to the constructor, or set by `learn` since."""
        return self._info

    def learn(self, info: ServerInfo) -> None:
        """Replaces the properties by those that a probe has shown."""
        self._info = info

    async def aclose(self) -> None:
        """Notes that it was closed."""
        self.closed = True

    def _prompt_tokens(self, messages: Sequence[Message]) -> int:
        """A template of four tokens a message, as common ones have."""
        return sum(self._count(message.content) + 4 for message in messages)

    def _refuse_overlong(self, request: ChatRequest) -> None:
        limit = self._info.max_model_len
        wanted = self._prompt_tokens(request.messages) + request.max_tokens
        if limit is not None and wanted > limit:
            raise AttemptFailed("overlong", f"{wanted} tokens wanted of at most {limit}")

    def _reply(self, request: ChatRequest, text: str) -> ChatReply:
        """The reply of a server with this text, cut at `max_tokens`."""
        whole = text
        while self._count(text) > request.max_tokens:
            text = text[: len(text) * 9 // 10]
        honest = ReportedUsage(
            prompt_tokens=self._prompt_tokens(request.messages),
            completion_tokens=self._count(text),
        )
        return ChatReply(
            text=text,
            finish_reason="stop" if text == whole else "length",
            usage=self._usage(honest),
            model=self._info.model,
        )


def _next_line(script: Script) -> Callable[[ChatRequest], Line]:
    """A function that gives the next line of a script, whatever its form."""
    if callable(script):
        return script
    lines = deque(script)

    def next_line(request: ChatRequest) -> Line:
        assert lines, f"the script has ended, but {request.schema_name!r} was asked"
        line = lines.popleft()
        return line(request) if callable(line) else line

    return next_line
