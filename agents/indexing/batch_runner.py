"""Runs many questions to a served model in parallel, within one budget.

Finished answers are kept whatever ends the run early: the budget, the server, the user or a bug.
Questions without an answer are left for the next run.
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
"""Budget of a build without limits: larger than any build needs."""

MOST_PARALLEL = 32
"""Questions at one time; an endpoint opens no more connections."""

RETRIES = 5
"""Attempts after the first, for one question. More than in a run: a build is not interactive."""
TIMEOUT = 300.0
"""Seconds that one attempt may take."""

IndexingStop = Literal["done", "model_unavailable", "interrupted"] | BudgetStop
"""Reason for the end of a build. `done`: every question was tried."""

_REFUSALS = 8
"""Questions that a server refuses one after another before it counts as refusing all."""

_BATCH = 32
"""Items that are committed together."""
_BATCH_SECONDS = 2.0
"""The longest that an item waits for its commit."""


class JobResult(Protocol):
    """Result of one question."""

    @property
    def failure(self) -> str:
        """Why there is no reply to use (an `agents.llm.client.Failure`); empty: there is one."""


Job = TypeVar("Job")
Found = TypeVar("Found", bound=JobResult)
Item = TypeVar("Item")
Kept = TypeVar("Kept")


class BatchWork(Protocol[Job, Found]):
    """Jobs of a batch, and what happens to their results. Only `do` runs in parallel."""

    async def next(self) -> Job | None:
        """The next job; None: none is left."""

    async def do(self, job: Job) -> Found:
        """The result of a job.

        Raises:
            OutOfBudget: nothing is left for the job; it counts as not tried.
        """

    def take(self, job: Job, found: Found) -> None:
        """Counts a result and sets it aside to be committed."""

    async def settle(self, *, last: bool) -> None:
        """Commits results that were set aside: all of them when `last`."""


def check_parallel(parallel: int) -> None:
    """Checks the number of questions at one time.

    Args:
        parallel: 1 to 32.

    Raises:
        SettingsError: out of range.
    """
    if not 1 <= parallel <= MOST_PARALLEL:
        raise SettingsError(f"A build reads 1 to {MOST_PARALLEL} at one time, not {parallel!r}.")


class BatchRunner(Generic[Job, Found]):
    """Runs jobs in parallel until none is left, or until budget or server give out."""

    def __init__(self, work: BatchWork[Job, Found]) -> None:
        self._work = work
        self._untried: deque[Job] = deque()
        self._out_of_budget: BudgetStop | None = None
        self._server_lost = False
        self._refused = 0

    async def run(self, parallel: int, cancel: asyncio.Event) -> IndexingStop:
        """Runs all jobs; returns why it ended.

        Args:
            parallel: jobs at one time.
            cancel: once set no job is begun; those that run are waited for.
        """
        tasks: set[asyncio.Task[_Outcome[Job, Found]]] = set()
        try:
            while await self._feed(tasks, parallel, cancel):
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                broken = [task for task in done if task.exception() is not None]
                outcomes = [task.result() for task in done.difference(broken)]
                # Jobs without budget come first: the others have given some back since.
                for one in sorted(outcomes, key=lambda pair: not isinstance(pair[1], OutOfBudget)):
                    self._take(*one)
                for task in broken:
                    task.result()  # a bug, raised here
                await self._work.settle(last=False)
        finally:
            for one in await _ended(tasks):
                self._take(*one)
            await self._work.settle(last=True)
        return await self._reason(cancel)

    async def _feed(
        self, tasks: set[asyncio.Task[_Outcome[Job, Found]]], parallel: int, cancel: asyncio.Event
    ) -> bool:
        """Begins as many jobs as may run; returns whether any runs."""
        stopped = cancel.is_set() or self._server_lost
        # Out of budget with jobs in flight: what they leave of their reservations may do yet.
        while not stopped and self._out_of_budget is None and len(tasks) < parallel:
            job = await self._next()
            if job is None:
                break
            tasks.add(asyncio.create_task(self._do(job)))
        return bool(tasks)

    async def _next(self) -> Job | None:
        return self._untried.popleft() if self._untried else await self._work.next()

    async def _do(self, job: Job) -> _Outcome[Job, Found]:
        try:
            return job, await self._work.do(job)
        except OutOfBudget as stop:
            return job, stop

    def _take(self, job: Job, found: Found | OutOfBudget) -> None:
        if isinstance(found, OutOfBudget):
            self._untried.appendleft(job)
            self._out_of_budget = found.stop
            return
        self._out_of_budget = None
        if found.failure == "unavailable":
            self._untried.appendleft(job)
            self._server_lost = True
            return
        self._refused = self._refused + 1 if found.failure == "refused_by_server" else 0
        self._server_lost |= self._refused >= _REFUSALS
        self._work.take(job, found)

    async def _reason(self, cancel: asyncio.Event) -> IndexingStop:
        left = await self._next()
        if left is None:
            return "done"
        self._untried.appendleft(left)
        if self._server_lost:
            return "model_unavailable"
        if self._out_of_budget is not None:
            return self._out_of_budget
        assert cancel.is_set()
        return "interrupted"


class CommitBuffer(Generic[Item, Kept]):
    """Items that wait to be committed together: until they are many or have waited long.

    Args:
        commit: commits items; runs in a thread.
    """

    def __init__(self, commit: Callable[[list[Item]], Kept]) -> None:
        self._commit = commit
        self._items: list[Item] = []
        self._committed_at = time.monotonic()

    def add(self, item: Item) -> None:
        """Adds an item."""
        self._items.append(item)

    async def commit_due(self, *, last: bool) -> Kept | None:
        """Commits items that are a batch or have waited long enough; all of them when `last`."""
        return await self.settle(0 if last else _BATCH, _BATCH_SECONDS)

    async def settle(self, least: int, seconds: float) -> Kept | None:
        """Commits all items, if there are `least` or `seconds` have passed since the last commit.

        Returns:
            What `commit` returned; None: nothing was committed.
        """
        waited = time.monotonic() - self._committed_at
        if not self._items or (len(self._items) < least and waited < seconds):
            return None
        batch, self._items = self._items, []
        commit = asyncio.ensure_future(asyncio.to_thread(self._commit, batch))
        try:
            kept = await asyncio.shield(commit)
        except asyncio.CancelledError:
            await commit  # its thread goes on: the store must not be closed meanwhile
            raise
        except BaseException:
            self._items = batch + self._items  # tried once more when the build ends
            raise
        self._committed_at = time.monotonic()
        return kept


_Outcome = tuple[Job, Found | OutOfBudget]
"""A job, and its result or the lack of budget for it."""


async def _ended(
    tasks: set[asyncio.Task[_Outcome[Job, Found]]],
) -> list[_Outcome[Job, Found]]:
    """Cancels tasks that still run, which closes their requests; returns those that finished."""
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    return [one for one in ended if not isinstance(one, BaseException)]
