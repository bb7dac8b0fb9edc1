"""The graph's optional part made by a served model: every passage read once, triples kept.

`estimating` says beforehand what it would cost. What a passage gave is committed in small batches
together with a mark that it was read, so a build that is stopped, killed or out of budget goes on
where it was. A passage whose reply cannot be used is marked as failed and tried again by the next
build, after all others.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Literal

from hoptrail.agents import openie
from hoptrail.agents.asking import Asker
from hoptrail.agents.estimating import Estimate
from hoptrail.agents.exchange import Exchange
from hoptrail.agents.fence import Fence
from hoptrail.agents.ledger import Budget, BudgetStop, Ledger, OutOfBudget, Usage
from hoptrail.agents.models import Endpoint
from hoptrail.agents.openie import Read
from hoptrail.agents.serving import ServedModel, open_endpoint
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.readings import Reading
from hoptrail.rag.scope import Rows
from hoptrail.rag.store import Store
from hoptrail.rag.types import Passage

NO_LIMIT = Budget(calls=10**9, tokens=10**15, seconds=10.0**9)
"""The budget of a build that is to read everything."""

MOST_PARALLEL = 32
"""An endpoint opens no more connections than that."""

BuildStop = Literal["done", "model_unavailable", "interrupted"] | BudgetStop
"""Why a build ended. `done`: every passage that it was to read was tried."""

_PAGE = 256
_BATCH = 32
_BATCH_SECONDS = 2.0
_TIMEOUT = 300.0
_RETRIES = 5
_REFUSALS = 8
"""Passages that a server refuses one after another before it counts as refusing all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """How far a build is."""

    done: int
    total: int
    triples: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageFailed:
    """A passage whose reply could not be used."""

    document_id: str
    start: int
    end: int
    failure: str
    detail: str


BuildEvent = Progressed | PassageFailed
BuildListener = Callable[[BuildEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """What a build did."""

    model: str
    stop: BuildStop
    read: int
    """Passages whose reply was used."""
    failed: int
    failures: Mapping[str, int]
    """How many failed, by kind."""
    gone: int
    """Passages whose document was replaced or deleted while they were read."""
    triples: int
    """New in the graph."""
    invented: int
    """Left out, since the passage does not name what they name."""
    unread: int
    """Passages that this model still has to read, the failed ones among them."""
    usage: Usage
    flags: int
    """Usage reports of the server that could not be believed."""
    without_salt: bool
    """The server refused `cache_salt`: its prompt cache is shared with other tenants."""


async def build(
    store: Store,
    model: ServedModel | Endpoint,
    plan: Estimate,
    *,
    budget: Budget = NO_LIMIT,
    parallel: int = 16,
    on_event: BuildListener | None = None,
    cancel: asyncio.Event | None = None,
) -> BuildReport:
    """Reads the passages of an estimate and keeps what they give.

    Args:
        store: the one of the estimate.
        model: the one of the estimate.
        plan: what to read.
        budget: the most it may spend, a probe of the server included; searches do not count.
        parallel: passages that are read at one time, 1 to 32.
        on_event: hears of progress and of passages that failed.
        cancel: once set nothing more is begun; what is being read is waited for and kept.

    Raises:
        ModelError: the server cannot be used.
        SettingsError: `parallel` out of range.
        StoreBusy, StoreFull: what was read cannot be kept; all batches before it are.
    """
    if not 1 <= parallel <= MOST_PARALLEL:
        raise SettingsError(f"A build reads 1 to {MOST_PARALLEL} at one time, not {parallel!r}.")
    async with AsyncExitStack() as stack:
        endpoint = await open_endpoint(stack, model, store.secret)
        assert endpoint is not None
        ledger = Ledger.open(None, budget)
        asker = Asker(Exchange(endpoint, ledger, retries=_RETRIES, timeout=_TIMEOUT))
        await asker.prepare()
        builder = _Builder(store, asker, ledger, on_event or (lambda event: None))
        stop = await builder.run(plan.rows, parallel, cancel or asyncio.Event())
    left = await asyncio.to_thread(store.unread, asker.server.model)
    return builder.report(stop, len(left.rows))


@dataclass(slots=True)
class _Counts:
    """What a build has come to so far."""

    read: int = 0
    gone: int = 0
    triples: int = 0
    invented: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    without_salt: bool = False

    @property
    def done(self) -> int:
        return self.read + self.gone + self.failures.total()


_Turn = tuple[int, Passage, Read | OutOfBudget]
"""A row, its passage, and what came of trying it."""


class _Builder:
    """One build. Only its own task touches what it holds; commits run in a thread."""

    def __init__(self, store: Store, asker: Asker, ledger: Ledger, on_event: BuildListener) -> None:
        self._store = store
        self._asker = asker
        self._ledger = ledger
        self._tell = on_event
        self._fence = Fence.of(store.secret)
        self._counts = _Counts()
        self._rows: deque[int] = deque()
        self._waiting: deque[tuple[int, Passage]] = deque()
        self._unkept: list[Reading] = []
        self._kept_at = time.monotonic()
        self._short: BudgetStop | None = None
        self._lost = False
        self._refused = 0

    async def run(self, rows: Rows, parallel: int, cancel: asyncio.Event) -> BuildStop:
        """Reads until nothing is left to read or to read with; whatever was read is kept."""
        self._rows.extend(rows.tolist())
        total = len(self._rows)
        tasks: set[asyncio.Task[_Turn]] = set()
        try:
            while await self._feed(tasks, parallel, cancel):
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                turns = [task.result() for task in done]
                # Who found no budget comes first: the others have given some back since.
                for turn in sorted(turns, key=lambda one: not isinstance(one[2], OutOfBudget)):
                    self._take(*turn)
                await self._keep(_BATCH)
                spent = self._ledger.spent().tokens
                self._tell(
                    Progressed(
                        done=self._counts.done,
                        total=total,
                        triples=self._counts.triples,
                        tokens=spent,
                    )
                )
        finally:
            for turn in await _ended(tasks):
                self._take(*turn)
            await self._keep(0)
        return self._reason(cancel)

    def report(self, stop: BuildStop, unread: int) -> BuildReport:
        """What came of it."""
        counts = self._counts
        return BuildReport(
            model=self._asker.server.model,
            stop=stop,
            read=counts.read,
            failed=counts.failures.total(),
            failures=dict(sorted(counts.failures.items())),
            gone=counts.gone,
            triples=counts.triples,
            invented=counts.invented,
            unread=unread,
            usage=self._ledger.spent(),
            flags=len(self._ledger.flags),
            without_salt=counts.without_salt,
        )

    async def _feed(
        self, tasks: set[asyncio.Task[_Turn]], parallel: int, cancel: asyncio.Event
    ) -> bool:
        """Begins as many readings as may run; whether any runs."""
        stopped = cancel.is_set() or self._lost
        # Out of budget with readings in flight: what they leave of their reservations may do yet.
        while not stopped and self._short is None and len(tasks) < parallel:
            if not self._waiting and not await self._fetch():
                break
            tasks.add(asyncio.create_task(self._read(*self._waiting.popleft())))
        return bool(tasks)

    async def _fetch(self) -> bool:
        """Gets the next passages that are still there; False: none is left."""
        while self._rows and not self._waiting:
            page = [self._rows.popleft() for _ in range(min(_PAGE, len(self._rows)))]
            found = await asyncio.to_thread(self._store.resolve, page)
            there = [(row, one) for row, one in zip(page, found, strict=True) if one is not None]
            self._counts.gone += len(page) - len(there)
            self._waiting.extend(there)
        return bool(self._waiting)

    async def _read(self, row: int, passage: Passage) -> _Turn:
        try:
            return row, passage, await openie.read(self._asker, passage, self._fence)
        except OutOfBudget as short:
            return row, passage, short

    def _take(self, row: int, passage: Passage, came: Read | OutOfBudget) -> None:
        """Counts what came of a passage and sets it aside for keeping."""
        if isinstance(came, OutOfBudget):
            self._waiting.appendleft((row, passage))
            self._short = came.stop
            return
        self._short = None
        if came.failure == "unavailable":
            self._waiting.appendleft((row, passage))
            self._lost = True
            return
        self._refused = self._refused + 1 if came.failure == "refused_by_server" else 0
        self._lost |= self._refused >= _REFUSALS
        self._counts.without_salt |= came.without_salt
        self._counts.invented += came.invented
        self._unkept.append(Reading(row=row, triples=came.triples, failure=came.failure))
        if not came.failure:
            self._counts.read += 1
            return
        self._counts.failures[came.failure] += 1
        self._tell(
            PassageFailed(
                document_id=passage.document_id,
                start=passage.start,
                end=passage.end,
                failure=came.failure,
                detail=came.detail,
            )
        )

    async def _keep(self, least: int) -> None:
        """Commits what was read, once it is `least` readings or has waited long enough."""
        waited = time.monotonic() - self._kept_at
        if not self._unkept or (len(self._unkept) < least and waited < _BATCH_SECONDS):
            return
        batch, self._unkept = self._unkept, []
        model = self._asker.server.model
        commit = asyncio.ensure_future(asyncio.to_thread(self._store.keep_readings, model, batch))
        try:
            kept = await asyncio.shield(commit)
        except asyncio.CancelledError:
            await commit  # it is in a thread and goes on: nobody may close the store under it
            raise
        except BaseException:
            self._unkept = batch + self._unkept  # tried once more when the build ends
            raise
        self._kept_at = time.monotonic()
        self._counts.triples += kept.added
        self._counts.gone += kept.gone
        self._counts.read -= kept.gone

    def _reason(self, cancel: asyncio.Event) -> BuildStop:
        if not self._waiting and not self._rows:
            return "done"
        if self._lost:
            return "model_unavailable"
        if self._short is not None:
            return self._short
        assert cancel.is_set()
        return "interrupted"


async def _ended(tasks: set[asyncio.Task[_Turn]]) -> list[_Turn]:
    """Cancels what is still being read, which closes its request; returns what was finished."""
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    return [one for one in ended if not isinstance(one, BaseException)]
