"""A tree built with a served model: its texts, and top-down its shape as well.

The builder asks and this answers: from the drafts that an earlier build left, else by the model.
Replies are kept as they come: a build that was stopped, killed or out of budget asks the next time
only for what is missing. Where a reply cannot be used the builder has words of its own; how often
that was so is in the report. `forecasting` says beforehand what it takes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from hoptrail.agents.budget.ledger import Budget, Usage
from hoptrail.agents.llm.http import ServedModel, open_endpoint
from hoptrail.agents.llm.types import Endpoint
from hoptrail.agents.pump import NO_LIMIT, Batch, Pump, PumpStop, check_parallel
from hoptrail.agents.tree_desk import Desk, Drafts, Sheet, Tried
from hoptrail.rag.tree.builders.requests import Ask, Builder, Reply, following
from hoptrail.rag.tree.types import Leaves, Tree, TreeSpec

_BATCH = 32
_BATCH_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where a tree is planted."""

    leaves: Leaves
    spec: TreeSpec
    """How; its `model` is filled in with the name that the server gives."""
    drafts: Drafts
    secret: bytes = field(repr=False)
    """The store's: the model sees its texts inside the tenant's fence."""
    builder: Callable[[Leaves, TreeSpec], Builder]
    """Begins a build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """How far a build is."""

    step: int
    """Questions that do not wait for each other are one step."""
    done: int
    """Of this step."""
    asked: int
    """In this step."""
    answered: int
    """In all steps."""
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskFailed:
    """A question whose reply could not be used."""

    prompt: str
    """Which kind: the name of its prompt."""
    failure: str
    detail: str


PlantingEvent = Planted | AskFailed
PlantingListener = Callable[[PlantingEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantingReport:
    """What a build came to."""

    tree: Tree | None = field(repr=False)
    """Not saved yet. None: it was stopped before it was whole; the replies are kept as drafts."""
    model: str
    stop: PumpStop
    answered: int
    """By the model, now."""
    kept: int
    """By drafts of an earlier build."""
    failed: int
    """For these the tree has the documents' own words."""
    failures: Mapping[str, int]
    """How many failed, by kind."""
    usage: Usage
    flags: int
    """Usage reports of the server that could not be believed."""
    without_salt: bool
    """The server refused `cache_salt`: its prompt cache is shared with other tenants."""


async def plant(
    ground: Ground,
    model: ServedModel | Endpoint,
    *,
    budget: Budget = NO_LIMIT,
    parallel: int = 16,
    on_event: PlantingListener | None = None,
    cancel: asyncio.Event | None = None,
) -> PlantingReport:
    """Builds a tree with a served model.

    Args:
        ground: what it is built over.
        model: who answers.
        budget: the most it may spend, a probe of the server included; searches do not count.
        parallel: questions at one time, 1 to 32.
        on_event: hears of progress and of questions that failed.
        cancel: once set nothing more is begun; what is being asked is waited for and kept.

    Raises:
        ModelError: the server cannot be used.
        SettingsError: `parallel` out of range, or what the builder raises.
        StoreBusy, StoreFull: replies cannot be kept; all batches before them are.
    """
    check_parallel(parallel)
    async with AsyncExitStack() as stack:
        endpoint = await open_endpoint(stack, model, ground.secret)
        assert endpoint is not None
        desk = await Desk.open(endpoint, ground.secret, budget)
        build = _Build(ground=ground, desk=desk, tell=on_event or (lambda event: None))
        came = await build.run(parallel, cancel or asyncio.Event())
    return build.report(came)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Build:
    """One build."""

    ground: Ground
    desk: Desk
    tell: PlantingListener

    async def run(self, parallel: int, cancel: asyncio.Event) -> Tree | PumpStop:
        """The tree, or what kept it from being whole. The builder computes in a thread."""
        spec = replace(self.ground.spec, model=self.desk.model)
        builder = self.ground.builder(self.ground.leaves, spec)
        came = await asyncio.to_thread(following, builder, None)
        number = 0
        while not isinstance(came, Tree):
            number += 1
            step = await asyncio.to_thread(_Step, self, number, came)
            stop = await Pump(step).run(parallel, cancel)
            if stop != "done":
                return stop
            came = await asyncio.to_thread(following, builder, step.replies())
        return came

    def report(self, came: Tree | PumpStop) -> PlantingReport:
        """What came of it."""
        counts, ledger = self.desk.counts, self.desk.ledger
        return PlantingReport(
            tree=came if isinstance(came, Tree) else None,
            model=self.desk.model,
            stop="done" if isinstance(came, Tree) else came,
            answered=counts.answered,
            kept=counts.kept,
            failed=counts.failures.total(),
            failures=dict(sorted(counts.failures.items())),
            usage=ledger.spent(),
            flags=len(ledger.flags),
            without_salt=counts.without_salt,
        )


class _Step:
    """The questions that a builder asks at once; the `Work` of a pump, whose jobs are their keys.

    Equal ones are put once.
    """

    def __init__(self, build: _Build, number: int, asks: tuple[Ask, ...]) -> None:
        self._desk = build.desk
        self._drafts = build.ground.drafts
        self._tell = build.tell
        self._number = number
        self._sheet = Sheet.of(asks, self._desk.fence, self._desk.model)
        self._replies = self._sheet.recalled(self._drafts)
        self._desk.counts.kept += len(self._replies)
        self._left = deque(key for key in self._sheet.questions if key not in self._replies)
        self._done = len(asks) - len(self._left)
        self._unkept: Batch[tuple[str, str], None] = Batch(
            lambda batch: self._drafts.keep_drafts(dict(batch))
        )

    def replies(self) -> tuple[Reply, ...]:
        """One for each question, in order."""
        return self._sheet.replies(self._replies)

    async def next(self) -> str | None:
        """The next question that no draft answers."""
        return self._left.popleft() if self._left else None

    async def do(self, job: str) -> Tried:
        """Puts it to the model."""
        return await self._desk.ask(self._sheet.questions[job])

    def take(self, job: str, found: Tried) -> None:
        """Counts what came of a question and sets its reply aside for keeping."""
        self._done += 1
        counts = self._desk.counts
        if not found.failure:
            counts.answered += 1
            self._replies[job] = found.reply
            self._unkept.add((job, found.draft))
            return
        counts.failures[found.failure] += 1
        prompt = self._sheet.questions[job].prompt
        self._tell(AskFailed(prompt=prompt, failure=found.failure, detail=found.detail))

    async def settle(self, *, last: bool) -> None:
        """Keeps the replies, once they are a batch or have waited long enough."""
        await self._unkept.settle(0 if last else _BATCH, _BATCH_SECONDS)
        if last:
            return
        self._tell(
            Planted(
                step=self._number,
                done=self._done,
                asked=len(self._sheet.keys),
                answered=self._desk.counts.answered,
                tokens=self._desk.ledger.spent().tokens,
            )
        )
