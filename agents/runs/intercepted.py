"""Corpus and endpoint behind the interceptor: each call to them is cut, recorded or replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from hoptrail.agents.corpus.protocol import Corpus, Stand, TreeStart
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
from hoptrail.rag.tree.search.types import Opened
from hoptrail.rag.types import Mode, Passage, Ranking, Where

_RANKING = TypeAdapter(Ranking)
_PASSAGES = TypeAdapter(tuple[Passage | None, ...])
_SCORES = TypeAdapter(tuple[float, ...])
_START = TypeAdapter(TreeStart)
_OPENED = TypeAdapter(tuple[Opened, ...])


class NotInReplay:
    """The corpus and endpoint of a replay: whoever reaches them has found a hole in the tape."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        """A method that fails when it is called: a replay touches nothing live."""

        def reached(*_arguments: object, **_options: object) -> object:
            raise AssertionError(f"a replay reached for {name!r} of the live world")

        return reached


class InterceptedCorpus:
    """A corpus whose every call passes a tape."""

    def __init__(self, corpus: Corpus, tape: Interceptor) -> None:
        self._corpus = corpus
        self._tape = tape

    async def generation(self) -> int:
        """The store's newest committed generation."""
        return await self._tape.through(
            ExternalCall(
                kind="corpus.generation",
                arguments=dict,
                live=self._corpus.generation,
                encode=int,
                decode=int,
                short=True,
            )
        )

    async def language(self) -> str:
        """That of the store's analyser."""
        return await self._tape.through(
            ExternalCall(
                kind="corpus.language",
                arguments=dict,
                live=self._corpus.language,
                encode=str,
                decode=str,
                short=True,
            )
        )

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        """The k best passages for a query."""
        return await self._tape.through(
            ExternalCall(
                kind="corpus.search",
                arguments=lambda: {"query": query, "k": k, "mode": mode, "where": dict(where)},
                live=lambda: self._corpus.search(
                    query, k=k, mode=mode, where=where, timeout=timeout
                ),
                encode=lambda ranking: _RANKING.dump_python(ranking, mode="json"),
                decode=_RANKING.validate_python,
            )
        )

    async def similarity(
        self, query: str, texts: Sequence[str], *, timeout: float
    ) -> tuple[float, ...]:
        """The cosine of the query to each text, -1..1."""
        return await self._tape.through(
            ExternalCall(
                kind="corpus.similarity",
                arguments=lambda: {"query": query, "texts": list(texts)},
                live=lambda: self._corpus.similarity(query, texts, timeout=timeout),
                encode=list,
                decode=_SCORES.validate_python,
            )
        )

    async def tree_start(
        self, query: str, found: Sequence[str], *, k: int, where: Where, timeout: float
    ) -> TreeStart:
        """Opens the corpus tree, which is built where there is none."""
        return await self._tape.through(
            ExternalCall(
                kind="corpus.tree_start",
                arguments=lambda: {
                    "query": query,
                    "found": list(found),
                    "k": k,
                    "where": dict(where),
                },
                live=lambda: self._corpus.tree_start(
                    query, found, k=k, where=where, timeout=timeout
                ),
                encode=lambda start: _START.dump_python(start, mode="json"),
                decode=_START.validate_python,
            )
        )

    async def tree_open(
        self, query: str, nodes: Sequence[int], *, stand: Stand, where: Where, timeout: float
    ) -> tuple[Opened, ...]:
        """Nodes of the tree with the children that the filter keeps."""
        return await self._tape.through(
            ExternalCall(
                kind="corpus.tree_open",
                arguments=lambda: {"query": query, "nodes": list(nodes), "where": dict(where)},
                live=lambda: self._corpus.tree_open(
                    query, nodes, stand=stand, where=where, timeout=timeout
                ),
                encode=lambda opened: _OPENED.dump_python(opened, mode="json"),
                decode=_OPENED.validate_python,
            )
        )

    async def tree_passages(self, query: str, leaves: Sequence[int]) -> tuple[Passage | None, ...]:
        """The passage that stands for each leaf of the tree; None for one that is gone."""
        return await self._tape.through(
            ExternalCall(
                kind="corpus.tree_passages",
                arguments=lambda: {"query": query, "leaves": list(leaves)},
                live=lambda: self._corpus.tree_passages(query, leaves),
                encode=lambda found: _PASSAGES.dump_python(found, mode="json"),
                decode=_PASSAGES.validate_python,
                short=True,
            )
        )

    async def passages(self, ids: Sequence[str]) -> tuple[Passage | None, ...]:
        """Passages by id, in order; None for one that is gone."""
        return await self._tape.through(
            ExternalCall(
                kind="corpus.passages",
                arguments=lambda: {"ids": list(ids)},
                live=lambda: self._corpus.passages(ids),
                encode=lambda found: _PASSAGES.dump_python(found, mode="json"),
                decode=_PASSAGES.validate_python,
                short=True,
            )
        )

    async def slice(self, document_id: str, start: int, end: int) -> str | None:
        """`document.text[start:end]`; None when the document is gone."""
        return await self._tape.through(
            ExternalCall(
                kind="corpus.slice",
                arguments=lambda: {"document_id": document_id, "start": start, "end": end},
                live=lambda: self._corpus.slice(document_id, start, end),
                encode=lambda text: text,
                decode=lambda text: text,
                short=True,
            )
        )


_REPLY = TypeAdapter(ChatReply)
_INFO = TypeAdapter(ServerInfo)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A request as a recording shows it: the fence's word hidden."""

    fence: Delimiters

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


async def pause(tape: Interceptor, seconds: float) -> None:
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
        await tape.through(call)
    except Cancelled:
        raise AttemptFailed("cancelled", "the run was cancelled") from None


class InterceptedEndpoint:
    """An endpoint whose every call passes a tape; a cancelled attempt is a failed one."""

    def __init__(self, endpoint: Endpoint, tape: Interceptor, fence: Delimiters) -> None:
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
        call = ExternalCall(
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
        call = ExternalCall(
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
                ExternalCall(
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
        if not isinstance(self._endpoint, NotInReplay):
            self._endpoint.learn(info)

    async def aclose(self) -> None:
        """Leaves the endpoint open: it is its owner's to close."""
