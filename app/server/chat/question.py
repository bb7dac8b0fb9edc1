"""A question in flight: begun, listened to, ended early when its client leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from hoptrail.agents.events import Event
from hoptrail.agents.runs.receipt import Receipt
from hoptrail.app.server.chat.conversation import Conversation
from hoptrail.app.server.links import Links
from hoptrail.app.server.server_settings import ApiKey
from hoptrail.app.server.shared.context import ServerContext
from hoptrail.rag.types import Mode, Scalar

_FIRST_SECONDS = 1.0
"""How long the first event is waited for, so that what is refused at once is an ordinary error."""
_ENDING_SECONDS = 10.0
"""How long a question whose client left may take to end by itself."""

_ENDING: set[asyncio.Task[None]] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked, how, and of whose documents."""

    conversation: Conversation
    strategy: str
    key: ApiKey
    base: str
    """The server's address, for links."""
    where: Mapping[str, Scalar]
    mode: Mode | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A question's receipt, the id under which it is kept, and its tenant's links."""

    receipt: Receipt
    receipt_id: str
    links: Links


class Question:
    """A run of one question, in a task of its own that holds its store and its place."""

    def __init__(self, context: ServerContext, wanted: Wanted) -> None:
        """Takes a place and begins.

        Raises:
            ApiError: there is no place.
        """
        self._context, self._wanted = context, wanted
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._heard = asyncio.Event()
        self._cancel = context.gate.enter(wanted.key)
        self._task = asyncio.create_task(self._run())

    @classmethod
    async def begin(cls, context: ServerContext, wanted: Wanted) -> Question:
        """A question that goes on.

        Raises:
            ApiError, HoptrailError: it was refused at once.
        """
        question = cls(context, wanted)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_SECONDS):
                    await question._heard.wait()
        except BaseException:
            question.close()
            raise
        if question._task.done():
            question._task.result()
        return question

    async def events(self, every: float) -> AsyncIterator[Event | None]:
        """The events as they come; None each time that `every` seconds pass without one."""
        while True:
            try:
                async with asyncio.timeout(every):
                    event = await self._events.get()
            except TimeoutError:
                yield None
                continue
            if event is None:
                return
            yield event

    async def answered(self) -> Answered:
        """The end of the question.

        Raises:
            ApiError, HoptrailError: it failed.
        """
        return await asyncio.shield(self._task)

    def close(self) -> None:
        """Ends the question if it goes on: its model calls at once, itself soon after."""
        self._cancel.set()
        ending = asyncio.create_task(_ended(self._task))
        _ENDING.add(ending)
        ending.add_done_callback(_ENDING.discard)

    def _listen(self, event: Event) -> None:
        self._events.put_nowait(event)
        self._heard.set()

    async def _run(self) -> Answered:
        context, wanted, key = self._context, self._wanted, self._wanted.key
        settings, began = context.settings, time.monotonic()
        try:
            async with context.tenants.reading(key.tenant) as opened:
                receipt = await opened.aask(
                    wanted.conversation.question,
                    history=wanted.conversation.history,
                    strategy=wanted.strategy,
                    model=context.models,
                    budget=key.budget or settings.budget,
                    quota=context.quotas.get(key.name),
                    settings=replace(settings.run, mode=wanted.mode or settings.run.mode),
                    where=wanted.where,
                    on_event=self._listen,
                    cancel=self._cancel,
                )
                secret = opened.secret if settings.keys else None
            context.metrics.count(receipt, time.monotonic() - began)
            return Answered(
                receipt=receipt,
                receipt_id=await context.receipts.put(key.tenant, receipt),
                links=Links(
                    base=wanted.base, tenant=key.tenant, secret=secret, days=settings.link_days
                ),
            )
        finally:
            context.gate.leave(key, self._cancel)
            self._events.put_nowait(None)
            self._heard.set()


async def questions_ended() -> None:
    """Waits for the questions whose clients have left."""
    if _ENDING:
        await asyncio.wait(set(_ENDING))


async def _ended(task: asyncio.Task[Answered]) -> None:
    """Waits for a question that was told to end, and breaks it off if it does not."""
    await asyncio.wait({task}, timeout=_ENDING_SECONDS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
