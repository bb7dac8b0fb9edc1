"""Questions to a served model by the thousand: side by side, out of one budget, none lost.

Whatever ends it early (the budget, the server, the user, a bug), what was answered is handed over
to be kept, and what was not is left for the next time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Literal, Protocol, TypeVar

from hoptrail.agents.budget.ledger import Budget, BudgetStop, OutOfBudget
from hoptrail.rag.errors import SettingsError

NO_LIMIT = Budget(calls=10**9, tokens=10**15, seconds=10.0**9)
"""The budget of a build that is to do everything."""

MOST_PARALLEL = 32
"""An endpoint opens no more connections than that."""

RETRIES = 5
"""Attempts after the first, for one question of a build: nobody waits at a screen for it."""
TIMEOUT = 300.0
"""Seconds that one attempt may take."""

IndexingStop = Literal["done", "model_unavailable", "interrupted"] | BudgetStop
"""Why it ended. `done`: everything was tried."""

_REFUSALS = 8
"""Questions that a server refuses one after another before it counts as refusing all."""


class Tried(Protocol):
    """What came of one question."""

    @property
    def failure(self) -> str:
        """Why there is no reply to use (an `asking.Failure`); empty: there is one."""


Job = TypeVar("Job")
Found = TypeVar("Found", bound=Tried)
Item = TypeVar("Item")
Kept = TypeVar("Kept")


class BatchWork(Protocol[Job, Found]):
    """What is to be done. Only `do` runs side by side."""

    async def next(self) -> Job | None:
        """What to do next; None: nothing is left."""

    async def do(self, job: Job) -> Found:
        """Does it.

        Raises:
            OutOfBudget: nothing is left for it; it counts as not tried.
        """

    def take(self, job: Job, found: Found) -> None:
        """Counts what came of it and sets it aside for keeping."""

    async def settle(self, *, last: bool) -> None:
        """Keeps what was set aside: all of it when this is the last time."""


def check_parallel(parallel: int) -> None:
    """Refuses more questions at one time than an endpoint sends.

    Raises:
        SettingsError: out of range.
    """
    if not 1 <= parallel <= MOST_PARALLEL:
        raise SettingsError(f"A build reads 1 to {MOST_PARALLEL} at one time, not {parallel!r}.")


class BatchRunner(Generic[Job, Found]):
    """Does work until nothing is left, or nothing to do it with."""

    def __init__(self, work: BatchWork[Job, Found]) -> None:
        self._work = work
        self._returned: deque[Job] = deque()
        self._short: BudgetStop | None = None
        self._lost = False
        self._refused = 0

    async def run(self, parallel: int, cancel: asyncio.Event) -> IndexingStop:
        """Works; once `cancel` is set nothing more is begun."""
        tasks: set[asyncio.Task[_Turn[Job, Found]]] = set()
        try:
            while await self._feed(tasks, parallel, cancel):
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                broken = [task for task in done if task.exception() is not None]
                turns = [task.result() for task in done.difference(broken)]
                # Who found no budget comes first: the others have given some back since.
                for turn in sorted(turns, key=lambda one: not isinstance(one[1], OutOfBudget)):
                    self._take(*turn)
                for task in broken:
                    task.result()  # a bug, raised here
                await self._work.settle(last=False)
        finally:
            for turn in await _ended(tasks):
                self._take(*turn)
            await self._work.settle(last=True)
        return await self._reason(cancel)

    async def _feed(
        self, tasks: set[asyncio.Task[_Turn[Job, Found]]], parallel: int, cancel: asyncio.Event
    ) -> bool:
        """Begins as many jobs as may run; whether any runs."""
        stopped = cancel.is_set() or self._lost
        # Out of budget with jobs in flight: what they leave of their reservations may do yet.
        while not stopped and self._short is None and len(tasks) < parallel:
            job = await self._next()
            if job is None:
                break
            tasks.add(asyncio.create_task(self._do(job)))
        return bool(tasks)

    async def _next(self) -> Job | None:
        return self._returned.popleft() if self._returned else await self._work.next()

    async def _do(self, job: Job) -> _Turn[Job, Found]:
        try:
            return job, await self._work.do(job)
        except OutOfBudget as short:
            return job, short

    def _take(self, job: Job, came: Found | OutOfBudget) -> None:
        if isinstance(came, OutOfBudget):
            self._returned.appendleft(job)
            self._short = came.stop
            return
        self._short = None
        if came.failure == "unavailable":
            self._returned.appendleft(job)
            self._lost = True
            return
        self._refused = self._refused + 1 if came.failure == "refused_by_server" else 0
        self._lost |= self._refused >= _REFUSALS
        self._work.take(job, came)

    async def _reason(self, cancel: asyncio.Event) -> IndexingStop:
        left = await self._next()
        if left is None:
            return "done"
        self._returned.appendleft(left)
        if self._lost:
            return "model_unavailable"
        if self._short is not None:
            return self._short
        assert cancel.is_set()
        return "interrupted"


class CommitBuffer(Generic[Item, Kept]):
    """Items set aside until there are enough of them, or the first waits long enough, to commit.

    Args:
        commit: keeps items; runs in a thread.
    """

    def __init__(self, commit: Callable[[list[Item]], Kept]) -> None:
        self._commit = commit
        self._items: list[Item] = []
        self._committed_at = time.monotonic()

    def add(self, item: Item) -> None:
        """Sets one aside."""
        self._items.append(item)

    async def settle(self, least: int, seconds: float) -> Kept | None:
        """Commits, once there are `least` or `seconds` have gone by; None: not yet."""
        waited = time.monotonic() - self._committed_at
        if not self._items or (len(self._items) < least and waited < seconds):
            return None
        batch, self._items = self._items, []
        commit = asyncio.ensure_future(asyncio.to_thread(self._commit, batch))
        try:
            kept = await asyncio.shield(commit)
        except asyncio.CancelledError:
            await commit  # it is in a thread and goes on: nobody may close the store under it
            raise
        except BaseException:
            self._items = batch + self._items  # tried once more when the build ends
            raise
        self._committed_at = time.monotonic()
        return kept


_Turn = tuple[Job, Found | OutOfBudget]
"""A job and what came of trying it."""


async def _ended(
    tasks: set[asyncio.Task[_Turn[Job, Found]]],
) -> list[_Turn[Job, Found]]:
    """Cancels what still runs, which closes its request; returns what was finished."""
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    return [one for one in ended if not isinstance(one, BaseException)]
