"""The graph's optional part made by a served model: every passage read once, triples kept.

`estimating` says beforehand what it would cost. What a passage gave is committed in small batches
together with a mark that it was read, so a build that is stopped, killed or out of budget goes on
where it was. A passage whose reply cannot be used is marked as failed and tried again by the next
build, after all others.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from hoptrail.agents.budget.ledger import Budget, Ledger, Usage
from hoptrail.agents.indexing import triple_extraction as openie
from hoptrail.agents.indexing.batch_runner import (
    NO_LIMIT,
    RETRIES,
    TIMEOUT,
    BatchRunner,
    CommitBuffer,
    IndexingStop,
    check_parallel,
)
from hoptrail.agents.indexing.graph_estimate import GraphBuildEstimate
from hoptrail.agents.indexing.triple_extraction import ExtractionResult
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.http import ServedModel, open_endpoint
from hoptrail.agents.llm.retry import RetryingEndpoint
from hoptrail.agents.llm.types import Endpoint
from hoptrail.rag.store.graph_index.triples import Extraction, SaveResult
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Passage, Rows

BuildStop = IndexingStop
"""Why a build ended. `done`: every passage that it was to read was tried."""

_PAGE = 256
_BATCH = 32
_BATCH_SECONDS = 2.0


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
class GraphBuildReport:
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


async def build_graph(
    store: Store,
    model: ServedModel | Endpoint,
    plan: GraphBuildEstimate,
    *,
    budget: Budget = NO_LIMIT,
    parallel: int = 16,
    on_event: BuildListener | None = None,
    cancel: asyncio.Event | None = None,
) -> GraphBuildReport:
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
    check_parallel(parallel)
    async with AsyncExitStack() as stack:
        endpoint = await open_endpoint(stack, model, store.secret)
        assert endpoint is not None
        ledger = Ledger.open(None, budget)
        asker = LLMClient(RetryingEndpoint(endpoint, ledger, retries=RETRIES, timeout=TIMEOUT))
        await asker.prepare()
        builder = _Builder(store, asker, ledger, on_event or (lambda event: None), plan.rows)
        stop = await BatchRunner(builder).run(parallel, cancel or asyncio.Event())
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


_Job = tuple[int, Passage]
"""A row and its passage."""


class _Builder:
    """One build. Only its own task touches what it holds; commits run in a thread."""

    def __init__(
        self, store: Store, asker: LLMClient, ledger: Ledger, on_event: BuildListener, rows: Rows
    ) -> None:
        self._store = store
        self._asker = asker
        self._ledger = ledger
        self._tell = on_event
        self._fence = Delimiters.of(store.secret)
        self._counts = _Counts()
        self._rows = deque(rows.tolist())
        self._total = len(self._rows)
        self._waiting: deque[_Job] = deque()
        self._unkept: CommitBuffer[Extraction, SaveResult] = CommitBuffer(
            lambda batch: store.keep_readings(asker.server.model, batch)
        )

    def report(self, stop: BuildStop, unread: int) -> GraphBuildReport:
        """What came of it."""
        counts = self._counts
        return GraphBuildReport(
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

    async def next(self) -> _Job | None:
        """The next passage that is still there."""
        while self._rows and not self._waiting:
            page = [self._rows.popleft() for _ in range(min(_PAGE, len(self._rows)))]
            found = await asyncio.to_thread(self._store.resolve, page)
            there = [(row, one) for row, one in zip(page, found, strict=True) if one is not None]
            self._counts.gone += len(page) - len(there)
            self._waiting.extend(there)
        return self._waiting.popleft() if self._waiting else None

    async def do(self, job: _Job) -> ExtractionResult:
        """Reads it."""
        return await openie.read(self._asker, job[1], self._fence)

    def take(self, job: _Job, came: ExtractionResult) -> None:
        """Counts what came of a passage and sets it aside for keeping."""
        row, passage = job
        self._counts.without_salt |= came.without_salt
        self._counts.invented += came.invented
        self._unkept.add(Extraction(row=row, triples=came.triples, failure=came.failure))
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

    async def settle(self, *, last: bool) -> None:
        """Commits what was read, once it is a batch or has waited long enough."""
        kept = await self._unkept.settle(0 if last else _BATCH, _BATCH_SECONDS)
        if kept is not None:
            self._counts.triples += kept.added
            self._counts.gone += kept.gone
            self._counts.read -= kept.gone
        if not last:
            self._tell(
                Progressed(
                    done=self._counts.done,
                    total=self._total,
                    triples=self._counts.triples,
                    tokens=self._ledger.spent().tokens,
                )
            )
