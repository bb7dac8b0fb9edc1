"""Graph build by a served model: every passage is read once, its triples go into the graph.

`graph_estimate` tells the cost beforehand. The triples of a passage are committed in small batches
together with a mark that it was read, so a build that is stopped, killed or out of budget goes on
where it was. A passage whose reply cannot be used is marked as failed and tried again by the next
build, after all others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hoptrail.agents.budget.ledger import Budget
from hoptrail.agents.indexing.batch_runner import NO_LIMIT, CommitBuffer, IndexingStop
from hoptrail.agents.indexing.build_records import BuildReport, shared_fields
from hoptrail.agents.indexing.graph_estimate import GraphBuildEstimate
from hoptrail.agents.indexing.model_build import (
    ModelSession,
    RunBatch,
    build_journal,
    run_build,
)
from hoptrail.agents.indexing.triple_extraction import ExtractionResult, extract_triples
from hoptrail.agents.llm.served_model import AnyModel
from hoptrail.rag.store.graph_index.triples import Extraction, SaveResult
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Passage, Rows

_PAGE = 256
"""Passages that are fetched from the store at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphBuildProgress:
    """Progress of a graph build, in passages."""

    done: int
    total: int
    triples: int
    """New in the graph."""
    tokens: int
    """Spent by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageFailed:
    """A passage whose reply could not be used."""

    document_id: str
    start: int
    end: int
    failure: str
    detail: str


GraphBuildEvent = GraphBuildProgress | PassageFailed
GraphBuildListener = Callable[[GraphBuildEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphBuildReport(BuildReport):
    """Outcome of a graph build. `stop` is `done` when every passage to be read was tried."""

    read: int
    """Passages whose reply was used."""
    gone: int
    """Passages whose document was replaced or deleted while they were read."""
    triples: int
    """New in the graph."""
    invented: int
    """Triples left out, since the passage does not name what they name."""
    unread: int
    """Passages that this model still has to read, the failed ones among them."""


async def build_graph(
    store: Store,
    model: AnyModel,
    plan: GraphBuildEstimate,
    *,
    budget: Budget = NO_LIMIT,
    parallel: int = 16,
    on_event: GraphBuildListener | None = None,
    cancel: asyncio.Event | None = None,
) -> GraphBuildReport:
    """Reads the passages of an estimate and commits their triples to the graph.

    Args:
        store: the one of the estimate.
        model: the one of the estimate.
        plan: the passages to read.
        budget: the most it may spend, a probe of the server included; searches do not count. What
            a killed build with the same limits has spent counts (`model_build.build_ledger`).
        parallel: passages that are read at one time, 1 to 32.
        on_event: called with progress and with passages that failed.
        cancel: once set no passage is begun; those being read are waited for and kept.

    Raises:
        JournalError: another process builds the graph, or what it left is damaged.
        ModelError: the server cannot be used.
        SettingsError: `parallel` out of range.
        StoreBusy, StoreFull: triples cannot be committed; all batches before them are.
    """
    return await run_build(
        partial(_GraphBuild, store, plan.rows, on_event or (lambda event: None)),
        model,
        store.secret,
        budget=budget,
        parallel=parallel,
        cancel=cancel,
        journal=build_journal(store.root, store.tenant, "graph"),
    )


_Job = tuple[int, Passage]
"""A row id and its passage."""


class _GraphBuild:
    """A `Build` of one batch, whose `BatchWork` it is itself; commits run in a thread."""

    def __init__(
        self, store: Store, rows: Rows, notify: GraphBuildListener, session: ModelSession
    ) -> None:
        self._store = store
        self._rows = deque(rows.tolist())
        self._total = len(self._rows)
        self._notify = notify
        self._session = session
        self._fetched: deque[_Job] = deque()
        self._uncommitted: CommitBuffer[Extraction, SaveResult] = CommitBuffer(
            lambda batch: store.save_extractions(session.model, batch)
        )
        self._read = self._gone = self._triples = self._invented = 0

    async def run(self, run_batch: RunBatch) -> IndexingStop:
        """Reads all passages."""
        return await run_batch(self)

    async def report(self, shared: BuildReport) -> GraphBuildReport:
        """The whole report; counts the passages that are still unread."""
        left = await asyncio.to_thread(self._store.unread, shared.model)
        return GraphBuildReport(
            **shared_fields(shared),
            read=self._read,
            gone=self._gone,
            triples=self._triples,
            invented=self._invented,
            unread=len(left.rows),
        )

    async def next(self) -> _Job | None:
        """The next passage that is still in the store."""
        while self._rows and not self._fetched:
            page = [self._rows.popleft() for _ in range(min(_PAGE, len(self._rows)))]
            found = await asyncio.to_thread(self._store.resolve, page)
            there = [(row, one) for row, one in zip(page, found, strict=True) if one is not None]
            self._gone += len(page) - len(there)
            self._fetched.extend(there)
        return self._fetched.popleft() if self._fetched else None

    async def do(self, job: _Job) -> ExtractionResult:
        """Triples of the passage."""
        return await extract_triples(self._session, job[1])

    def take(self, job: _Job, found: ExtractionResult) -> None:
        """Counts the result of a passage and sets it aside to be committed."""
        row, passage = job
        self._invented += found.invented
        self._uncommitted.add(Extraction(row=row, triples=found.triples, failure=found.failure))
        if not found.failure:
            self._read += 1
            return
        self._session.failures[found.failure] += 1
        self._notify(
            PassageFailed(
                document_id=passage.document_id,
                start=passage.start,
                end=passage.end,
                failure=found.failure,
                detail=found.detail,
            )
        )

    async def settle(self, *, last: bool) -> None:
        """Commits results that are due, and reports progress."""
        saved = await self._uncommitted.commit_due(last=last)
        if saved is not None:
            self._triples += saved.added
            self._gone += saved.gone
            self._read -= saved.gone
        if last:
            return
        self._notify(
            GraphBuildProgress(
                done=self._read + self._gone + self._session.failures.total(),
                total=self._total,
                triples=self._triples,
                tokens=self._session.ledger.spent().tokens,
            )
        )
