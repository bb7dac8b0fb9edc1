"""Where the questions of one build of a tree are put to its model."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from hoptrail.agents.budget.ledger import Budget, Ledger, Usage
from hoptrail.agents.indexing.batch_runner import (
    NO_LIMIT,
    RETRIES,
    TIMEOUT,
    BatchRunner,
    CommitBuffer,
    IndexingStop,
    check_parallel,
)
from hoptrail.agents.indexing.tree_prompts import LEAST_ROOM, ROOM, Question, question
from hoptrail.agents.llm.client import LLMClient, LLMResult
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.http import ServedModel, open_endpoint
from hoptrail.agents.llm.retry import RetryingEndpoint
from hoptrail.agents.llm.types import Endpoint
from hoptrail.prompts.loader import load
from hoptrail.rag.tree.builders.requests import Builder, Reply, Request, next_requests
from hoptrail.rag.tree.types import Leaves, Tree, TreeSpec


class Drafts(Protocol):
    """Where replies are kept until the tree is whole; `rag.tree.keep.TreeFile` is one."""

    def drafts(self, keys: Iterable[str]) -> Mapping[str, str]:
        """What was kept under those of some keys that anything was kept under."""

    def keep_drafts(self, replies: Mapping[str, str]) -> None:
        """Keeps replies by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionBatch:
    """What a builder asks at once; equal questions are one."""

    keys: tuple[str, ...]
    """Of each ask, in order: what its reply is kept under."""
    questions: Mapping[str, Question[Any]]
    """By key."""

    @classmethod
    def of(cls, asks: Iterable[Request], fence: Delimiters, model: str) -> QuestionBatch:
        """The questions that asks are, for one model."""
        found = [question(ask, fence) for ask in asks]
        keys = tuple(one.key(model) for one in found)
        return cls(keys=keys, questions=dict(zip(keys, found, strict=True)))

    def recalled(self, drafts: Drafts) -> dict[str, Reply]:
        """The replies that an earlier build left, by key; those that can be read."""
        kept = drafts.drafts(self.questions)
        found = {key: self.questions[key].read(draft) for key, draft in kept.items()}
        return {key: reply for key, reply in found.items() if reply is not None}

    def replies(self, found: Mapping[str, Reply]) -> tuple[Reply, ...]:
        """The reply to each ask, in order; None where none was found."""
        return tuple(found.get(key) for key in self.keys)


@dataclass(slots=True)
class Counts:
    """What the questions of a build have come to so far."""

    answered: int = 0
    kept: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    without_salt: bool = False
    room: int = ROOM
    """Characters of data for which the server's window has had room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of asking a question."""

    reply: Reply = None
    draft: str = ""
    """The reply as it is to be kept."""
    failure: str = ""
    detail: str = ""


@dataclass(slots=True)
class ModelSession:
    """Puts questions to a model, out of one budget."""

    asker: LLMClient
    ledger: Ledger
    fence: Delimiters
    counts: Counts = field(default_factory=Counts)

    @classmethod
    async def open(cls, endpoint: Endpoint, secret: bytes, budget: Budget) -> ModelSession:
        """Finds out what the server can do.

        Raises:
            ModelError: it cannot be used.
        """
        ledger = Ledger.open(None, budget)
        asker = LLMClient(RetryingEndpoint(endpoint, ledger, retries=RETRIES, timeout=TIMEOUT))
        await asker.prepare()
        return cls(asker=asker, ledger=ledger, fence=Delimiters.of(secret))

    @property
    def model(self) -> str:
        """Who answers."""
        return self.asker.server.model

    async def ask(self, one: Question[Any]) -> Tried:
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

    def _read(self, one: Question[Any], asked: LLMResult[Any]) -> Tried:
        if asked.value is None:
            detail = self.fence.hide(asked.problems[-1]) if asked.problems else ""
            return Tried(failure=asked.failure or "parse", detail=detail)
        # The model may have repeated the fence: what is kept and used has a placeholder instead.
        draft = self.fence.hide(asked.value.model_dump_json())
        return Tried(reply=one.read(draft), draft=draft)


_BATCH = 32
_BATCH_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeBuildInputs:
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
class TreeBuildProgress:
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


TreeBuildEvent = TreeBuildProgress | AskFailed
PlantingListener = Callable[[TreeBuildEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeBuildReport:
    """What a build came to."""

    tree: Tree | None = field(repr=False)
    """Not saved yet. None: it was stopped before it was whole; the replies are kept as drafts."""
    model: str
    stop: IndexingStop
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


async def build_tree(
    ground: TreeBuildInputs,
    model: ServedModel | Endpoint,
    *,
    budget: Budget = NO_LIMIT,
    parallel: int = 16,
    on_event: PlantingListener | None = None,
    cancel: asyncio.Event | None = None,
) -> TreeBuildReport:
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
        desk = await ModelSession.open(endpoint, ground.secret, budget)
        build = _Build(ground=ground, desk=desk, tell=on_event or (lambda event: None))
        came = await build.run(parallel, cancel or asyncio.Event())
    return build.report(came)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Build:
    """One build."""

    ground: TreeBuildInputs
    desk: ModelSession
    tell: PlantingListener

    async def run(self, parallel: int, cancel: asyncio.Event) -> Tree | IndexingStop:
        """The tree, or what kept it from being whole. The builder computes in a thread."""
        spec = replace(self.ground.spec, model=self.desk.model)
        builder = self.ground.builder(self.ground.leaves, spec)
        came = await asyncio.to_thread(next_requests, builder, None)
        number = 0
        while not isinstance(came, Tree):
            number += 1
            step = await asyncio.to_thread(_Step, self, number, came)
            stop = await BatchRunner(step).run(parallel, cancel)
            if stop != "done":
                return stop
            came = await asyncio.to_thread(next_requests, builder, step.replies())
        return came

    def report(self, came: Tree | IndexingStop) -> TreeBuildReport:
        """What came of it."""
        counts, ledger = self.desk.counts, self.desk.ledger
        return TreeBuildReport(
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

    def __init__(self, build: _Build, number: int, asks: tuple[Request, ...]) -> None:
        self._desk = build.desk
        self._drafts = build.ground.drafts
        self._tell = build.tell
        self._number = number
        self._sheet = QuestionBatch.of(asks, self._desk.fence, self._desk.model)
        self._replies = self._sheet.recalled(self._drafts)
        self._desk.counts.kept += len(self._replies)
        self._left = deque(key for key in self._sheet.questions if key not in self._replies)
        self._done = len(asks) - len(self._left)
        self._unkept: CommitBuffer[tuple[str, str], None] = CommitBuffer(
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
        prompt = load(self._sheet.questions[job].prompt).name
        self._tell(AskFailed(prompt=prompt, failure=found.failure, detail=found.detail))

    async def settle(self, *, last: bool) -> None:
        """Keeps the replies, once they are a batch or have waited long enough."""
        await self._unkept.settle(0 if last else _BATCH, _BATCH_SECONDS)
        if last:
            return
        self._tell(
            TreeBuildProgress(
                step=self._number,
                done=self._done,
                asked=len(self._sheet.keys),
                answered=self._desk.counts.answered,
                tokens=self._desk.ledger.spent().tokens,
            )
        )
