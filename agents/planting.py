"""A tree built with a served model: its texts, and top-down its shape as well.

The builder asks and this answers: from the drafts that an earlier build left, else by the model.
Replies are kept as they come: a build that was stopped, killed or out of budget asks the next time
only for what is missing. Where a reply cannot be used the builder has words of its own; how often
that was so is in the report. `forecasting` says beforehand what it takes.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from hoptrail.agents.asking import Asked, Asker
from hoptrail.agents.exchange import Exchange
from hoptrail.agents.fence import Fence
from hoptrail.agents.ledger import Budget, Ledger, Usage
from hoptrail.agents.models import Endpoint
from hoptrail.agents.pump import NO_LIMIT, RETRIES, TIMEOUT, Batch, Pump, PumpStop, check_parallel
from hoptrail.agents.serving import ServedModel, open_endpoint
from hoptrail.agents.tree_asks import LEAST_ROOM, ROOM, Question, question
from hoptrail.rag.tree.asks import Ask, Builder, Reply, following
from hoptrail.rag.tree.types import Leaves, Tree, TreeSpec

_PAGE = 256
_BATCH = 32
_BATCH_SECONDS = 2.0


class Drafts(Protocol):
    """Where replies are kept until the tree is whole; `rag.tree.keep.TreeFile` is one."""

    def draft(self, key: str) -> str | None:
        """What was kept under a key."""

    def keep_drafts(self, replies: Mapping[str, str]) -> None:
        """Keeps replies by key."""


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
        ledger = Ledger.open(None, budget)
        asker = Asker(Exchange(endpoint, ledger, retries=RETRIES, timeout=TIMEOUT))
        await asker.prepare()
        desk = _Desk(
            asker=asker,
            ledger=ledger,
            drafts=ground.drafts,
            fence=Fence.of(ground.secret),
            tell=on_event or (lambda event: None),
        )
        came = await _run(ground, desk, parallel, cancel or asyncio.Event())
    return _report(desk, came)


@dataclass(slots=True)
class _Counts:
    """What a build has come to so far."""

    answered: int = 0
    kept: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    without_salt: bool = False
    room: int = ROOM
    """Characters of data for which the server's window has had room."""


@dataclass(slots=True)
class _Desk:
    """Where one build's questions are put to the model."""

    asker: Asker
    ledger: Ledger
    drafts: Drafts
    fence: Fence
    tell: PlantingListener
    counts: _Counts = field(default_factory=_Counts)

    async def ask(self, one: Question[Any]) -> _Tried:
        """Asks, with less and less data where the server's window has no room for it.

        Raises:
            OutOfBudget: nothing is left for it.
        """
        while True:
            room = self.counts.room
            asked = await self.asker.ask(
                node=one.prompt,
                prompt=one.render(room),
                form=one.form,
                max_tokens=one.most,
                # Half is enough for most; with less the reply would be cut and paid in vain.
                min_tokens=one.most // 2,
            )
            self.counts.without_salt |= "cache_salt" in asked.without
            if asked.failure != "overlong" or room <= LEAST_ROOM:
                return self._read(one, asked)
            self.counts.room = min(self.counts.room, room // 2)

    def _read(self, one: Question[Any], asked: Asked[Any]) -> _Tried:
        if asked.value is None:
            detail = self.fence.hide(asked.problems[-1]) if asked.problems else ""
            return _Tried(failure=asked.failure or "parse", detail=detail)
        # The model may have repeated the fence: what is kept and used has a placeholder instead.
        draft = self.fence.hide(asked.value.model_dump_json())
        return _Tried(reply=one.read(draft), draft=draft)


async def _run(
    ground: Ground, desk: _Desk, parallel: int, cancel: asyncio.Event
) -> Tree | PumpStop:
    """The tree, or what kept it from being whole. The builder computes in a thread."""
    spec = replace(ground.spec, model=desk.asker.server.model)
    builder = ground.builder(ground.leaves, spec)
    came = await asyncio.to_thread(following, builder, None)
    number = 0
    while not isinstance(came, Tree):
        number += 1
        step = _Step(desk, number, came)
        stop = await Pump(step).run(parallel, cancel)
        if stop != "done":
            return stop
        came = await asyncio.to_thread(following, builder, step.replies())
    return came


def _report(desk: _Desk, came: Tree | PumpStop) -> PlantingReport:
    """What came of it."""
    return PlantingReport(
        tree=came if isinstance(came, Tree) else None,
        model=desk.asker.server.model,
        stop="done" if isinstance(came, Tree) else came,
        answered=desk.counts.answered,
        kept=desk.counts.kept,
        failed=desk.counts.failures.total(),
        failures=dict(sorted(desk.counts.failures.items())),
        usage=desk.ledger.spent(),
        flags=len(desk.ledger.flags),
        without_salt=desk.counts.without_salt,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One question of a step."""

    place: int
    question: Question[Any]
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """What came of asking it."""

    reply: Reply = None
    draft: str = ""
    failure: str = ""
    detail: str = ""


class _Step:
    """The questions that a builder asks at once; the `Work` of a pump."""

    def __init__(self, desk: _Desk, number: int, asks: tuple[Ask, ...]) -> None:
        self._desk = desk
        self._number = number
        self._left = deque(enumerate(asks))
        self._waiting: deque[_Job] = deque()
        self._replies: list[Reply] = [None] * len(asks)
        self._done = 0
        self._unkept: Batch[tuple[str, str], None] = Batch(
            lambda batch: desk.drafts.keep_drafts(dict(batch))
        )

    def replies(self) -> tuple[Reply, ...]:
        """One for each question, in order."""
        return tuple(self._replies)

    async def next(self) -> _Job | None:
        """The next question that no draft answers."""
        while self._left and not self._waiting:
            page = [self._left.popleft() for _ in range(min(_PAGE, len(self._left)))]
            for job, reply in await asyncio.to_thread(self._known, page):
                if reply is None:
                    self._waiting.append(job)
                    continue
                self._replies[job.place] = reply
                self._done += 1
                self._desk.counts.kept += 1
        return self._waiting.popleft() if self._waiting else None

    async def do(self, job: _Job) -> _Tried:
        """Puts it to the model."""
        return await self._desk.ask(job.question)

    def take(self, job: _Job, found: _Tried) -> None:
        """Counts what came of a question and sets its reply aside for keeping."""
        self._done += 1
        counts = self._desk.counts
        if not found.failure:
            counts.answered += 1
            self._replies[job.place] = found.reply
            self._unkept.add((job.key, found.draft))
            return
        counts.failures[found.failure] += 1
        prompt = job.question.prompt
        self._desk.tell(AskFailed(prompt=prompt, failure=found.failure, detail=found.detail))

    async def settle(self, *, last: bool) -> None:
        """Keeps the replies, once they are a batch or have waited long enough."""
        await self._unkept.settle(0 if last else _BATCH, _BATCH_SECONDS)
        if last:
            return
        self._desk.tell(
            Planted(
                step=self._number,
                done=self._done,
                asked=len(self._replies),
                answered=self._desk.counts.answered,
                tokens=self._desk.ledger.spent().tokens,
            )
        )

    def _known(self, page: list[tuple[int, Ask]]) -> list[tuple[_Job, Reply]]:
        """Questions, each with the reply that an earlier build left, if it can be read."""
        found: list[tuple[_Job, Reply]] = []
        for place, ask in page:
            one = question(ask, self._desk.fence)
            job = _Job(place=place, question=one, key=one.key(self._desk.asker.server.model))
            draft = self._desk.drafts.draft(job.key)
            found.append((job, None if draft is None else one.read(draft)))
        return found
