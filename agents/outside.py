"""The documents as a run sees them, and how each call to the outside passes its tape.

`Corpus` and `Endpoint` (`models.py`) are all that a run takes from outside its own code, besides
the time, which the tape keeps. Nothing else may reach for a store, an embedder or a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock
from typing import Protocol, TypeVar, runtime_checkable

from pydantic import TypeAdapter

from hoptrail.agents.fence import Fence
from hoptrail.agents.models import (
    AttemptFailed,
    ChatReply,
    ChatRequest,
    Endpoint,
    Message,
    ServerInfo,
)
from hoptrail.agents.tape import Call, Cancelled, Tape
from hoptrail.rag.search import Searcher
from hoptrail.rag.store import Store
from hoptrail.rag.types import Mode, Passage, Ranking, Where

T = TypeVar("T")

THREADS = 4
"""Threads that all runs of a corpus share to enter `rag/`; a search holds one for milliseconds."""

_RANKING = TypeAdapter(Ranking)
_PASSAGES = TypeAdapter(tuple[Passage | None, ...])
_SCORES = TypeAdapter(tuple[float, ...])
_REPLY = TypeAdapter(ChatReply)
_INFO = TypeAdapter(ServerInfo)


@runtime_checkable
class Corpus(Protocol):
    """The documents, as a run sees them."""

    async def generation(self) -> int:
        """The store's newest committed generation."""

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        """The k best passages for a query.

        Raises:
            TimeoutError: not answered within `timeout` seconds.
        """

    async def similarity(
        self, query: str, texts: Sequence[str], *, timeout: float
    ) -> tuple[float, ...]:
        """The cosine of the query to each text, -1..1.

        Raises:
            TimeoutError: not answered within `timeout` seconds.
        """

    async def passages(self, ids: Sequence[str]) -> tuple[Passage | None, ...]:
        """Passages by id, in order; None for one that is gone."""

    async def slice(self, document_id: str, start: int, end: int) -> str | None:
        """`document.text[start:end]`; None when the document is gone."""


class LiveCorpus:
    """A store and its searcher, entered through one bounded pool of threads."""

    def __init__(self, store: Store, searcher: Searcher, *, threads: int = THREADS) -> None:
        self._store = store
        self._searcher = searcher
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hoptrail")
        self._inside = 0
        self._counting = Lock()

    def close(self) -> bool:
        """Ends the threads and says whether none of them is still inside a call.

        A call that ran into its timeout cannot be stopped; it is not waited for, and what it uses
        must stay open.
        """
        self._pool.shutdown(wait=False, cancel_futures=True)
        return self._inside == 0

    async def generation(self) -> int:
        """The store's newest committed generation."""
        return await self._enter(lambda: self._store.generation)

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        """The k best passages for a query."""
        work = self._enter(lambda: self._searcher.search(query, k=k, mode=mode, where=where))
        return await asyncio.wait_for(work, timeout)

    async def similarity(
        self, query: str, texts: Sequence[str], *, timeout: float
    ) -> tuple[float, ...]:
        """The cosine of the query to each text, rounded to 6 digits: recordings stay short."""
        work = self._enter(lambda: self._searcher.similarity(query, texts))
        scores = await asyncio.wait_for(work, timeout)
        return tuple(round(float(score), 6) for score in scores)

    async def passages(self, ids: Sequence[str]) -> tuple[Passage | None, ...]:
        """Passages by id, in order; None for one that is gone."""
        return await self._enter(lambda: self._store.passages(ids))

    async def slice(self, document_id: str, start: int, end: int) -> str | None:
        """`document.text[start:end]`; None when the document is gone."""
        return await self._enter(lambda: self._store.slice(document_id, start, end))

    async def _enter(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._counted, call)

    def _counted(self, call: Callable[[], T]) -> T:
        with self._counting:
            self._inside += 1
        try:
            return call()
        finally:
            with self._counting:
                self._inside -= 1


class Absent:
    """The corpus and endpoint of a replay: whoever reaches them has found a hole in the tape."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        """A method that fails when it is called: a replay touches nothing live."""

        def reached(*_arguments: object, **_options: object) -> object:
            raise AssertionError(f"a replay reached for {name!r} of the live world")

        return reached


class TapedCorpus:
    """A corpus whose every call passes a tape."""

    def __init__(self, corpus: Corpus, tape: Tape) -> None:
        self._corpus = corpus
        self._tape = tape

    async def generation(self) -> int:
        """The store's newest committed generation."""
        return await self._tape.through(
            Call(
                kind="corpus.generation",
                arguments=dict,
                live=self._corpus.generation,
                encode=int,
                decode=int,
                short=True,
            )
        )

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        """The k best passages for a query."""
        return await self._tape.through(
            Call(
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
            Call(
                kind="corpus.similarity",
                arguments=lambda: {"query": query, "texts": list(texts)},
                live=lambda: self._corpus.similarity(query, texts, timeout=timeout),
                encode=list,
                decode=_SCORES.validate_python,
            )
        )

    async def passages(self, ids: Sequence[str]) -> tuple[Passage | None, ...]:
        """Passages by id, in order; None for one that is gone."""
        return await self._tape.through(
            Call(
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
            Call(
                kind="corpus.slice",
                arguments=lambda: {"document_id": document_id, "start": start, "end": end},
                live=lambda: self._corpus.slice(document_id, start, end),
                encode=lambda text: text,
                decode=lambda text: text,
                short=True,
            )
        )


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
